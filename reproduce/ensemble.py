"""Several trained nets as one (Table 5): the average of their class probabilities under a protocol."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric

from reproduce.config import Run, digest
from reproduce.data.imagenet import ImageNet
from reproduce.errors import UserError
from reproduce.evaluate import final_weights, load_net, measured, open_data, protocol_of, to_device
from reproduce.record import RESULTS, weights_sha256, write_json

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
    nets = [load_net(run, weights or final_weights(run))[0] for run, weights in members]
    digests = [weights_sha256(net.state_dict()) for net in nets]
    data = open_data(runs[0])
    if not isinstance(data, ImageNet):
        raise UserError("ensemble: Table 5 is about ImageNet; name imagenet-... runs")
    nets = [to_device(net, fabric.device) for net in nets]
    found = measured(nets, data, protocol_of(first, name), fabric, first.eval.bn_statistics)
    shown = [{"run": run.name, "seed": run.seed, "weights_sha256": sha} for run, sha in zip(runs, digests, strict=True)]
    result = {"ensemble": name_of(members), "members": shown} | found
    if fabric.is_global_zero and all(weights is None for _, weights in members):
        folder = RESULTS / runs[0].profile / "ensembles" / name_of(members)
        write_json(folder / f"eval-{name}.json", result)
    return result


def name_of(members: Sequence[Pair]) -> str:
    """Readable and one to one: how many nets, and a digest of which."""
    return f"{len(members)}-nets-{digest(sorted(f'{run.name}/{run.seed}/{weights}' for run, weights in members))[:8]}"
