"""Several trained nets as one (Table 5): the average of their class probabilities under a protocol."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric

from reproduce.config.run import RESULTS, Run, digest
from reproduce.evaluation.classification import (
    as_tested,
    final_weights,
    keep,
    load_net,
    measured,
    open_data,
    protocol_of,
    to_device,
)
from reproduce.models.pretrained import weights_sha256
from reproduce.utils.errors import UserError

Pair = tuple[Run, Path | None]  # a run, and a checkpoint instead of its own final weights


def ensemble(members: Sequence[Pair], name: str, fabric: Fabric) -> dict[str, Any]:
    """Errors in percent of the ensemble under the protocol `name`; kept under results/ if all weights are our own.

    All members see the same images through the same normalisation: they must agree in data.* and eval.*.
    Errors: UserError where they do not, or where weights do not fit.
    """
    runs = [run for run, _ in members]
    first = runs[0].config
    for run in runs[1:]:
        if run.config.data != first.data or run.config.eval != first.eval or run.profile != runs[0].profile:
            raise UserError(f"ensemble: {run.name} and {runs[0].name} differ in profile, data.* or eval.*")
    protocol_of(first, name)
    nets = [load_net(run, weights or final_weights(run))[0] for run, weights in members]
    digests = [weights_sha256(net.state_dict()) for net in nets]
    if first.data.protocols == ("single",):
        raise UserError("ensemble: Table 5 is about ImageNet; name imagenet-... runs")
    data = open_data(runs[0])
    nets = [as_tested(run, to_device(net, fabric.device), fabric.device) for run, net in zip(runs, nets, strict=True)]
    own = [run for run, weights in members if weights is None]
    found = measured(nets, runs[0], name, data, fabric, own)
    shown = [{"run": run.name, "seed": run.seed, "weights_sha256": sha} for run, sha in zip(runs, digests, strict=True)]
    result = {"ensemble": name_of(members), "members": shown} | found
    if fabric.is_global_zero and len(own) == len(members):
        keep(RESULTS / runs[0].profile / "ensembles" / name_of(members), result)
    return result


def name_of(members: Sequence[Pair]) -> str:
    """Readable and one to one: how many nets, and a digest of which."""
    return f"{len(members)}-nets-{digest(sorted(f'{run.name}/{run.seed}/{weights}' for run, weights in members))[:8]}"
