"""Trained or published weights -> their error on every test image, each counted once, under a protocol of the paper."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

from reproduce.config.device import on_gpu, set_threads
from reproduce.config.run import Run, digest
from reproduce.config.schema import Config
from reproduce.data.build import Data, build_data
from reproduce.data.imagenet.datamodule import ImageNetDataModule
from reproduce.evaluation.protocols import Member, Protocol, count
from reproduce.evaluation.sources import source_of
from reproduce.metrics.classification import ErrorCounter, count_errors
from reproduce.models import pretrained
from reproduce.models.build import build_net_to_fill
from reproduce.models.pretrained import weights_sha256
from reproduce.training.results import recompute_bn
from reproduce.training.trainer import environment
from reproduce.utils.console import log
from reproduce.utils.errors import UserError
from reproduce.utils.files import read_json, write_json
from reproduce.utils.precision import computed
from reproduce.utils.signals import as_parent


def final_weights(run: Run) -> Path:
    """The weights that training left. Errors: UserError with the command that makes them."""
    path = run.workdir / "final.safetensors"
    if not path.is_file():
        raise UserError(f"{path}: no trained weights yet; `{run.command()}` makes them, or give --weights FILE")
    return path


def load_net(run: Run, weights: Path) -> tuple[nn.Module, Run]:
    """The run's net with the weights of a file, ours or published, and the run as those weights need it.

    Errors: UserError for a file that does not fit, that is not what the run's own result was measured on, or, from
    elsewhere, that holds NaN or infinity (a training of ours that diverged may).
    """
    layout, state = pretrained.read_state(weights)
    own = weights == run.workdir / "final.safetensors"
    if not own and (bad := next((key for key, value in state.items() if not value.isfinite().all()), None)):
        raise UserError(f"{weights}: {bad} holds NaN or infinity; get the file again")
    run = as_published(run, weights, layout)
    net = build_net_to_fill(run.config)
    pretrained.load_state(net, layout, state, weights)
    if own:
        _check_own(run, weights, net)
    return net, run


def as_published(run: Run, weights: Path, layout: str) -> Run:
    """The run with the padding and normalisation that published weights were trained with; it says what it changes.

    Of a file that is not in configs/published.yaml only akamaster's layout says something: how its shortcuts pad.
    Errors: UserError where the file is known to be another net.
    """
    source = source_of(weights)
    if source and not source.fits(run):
        net = run.config.model
        what = f"a net of {net.depth} layers, {'plain' if net.shortcut == 'none' else 'with shortcuts'}"
        raise UserError(f"{weights}: this is {source.publisher}'s net for {source.run}, not {what} ({run.name})")
    if source is None and layout != "akamaster":
        return run
    settings = source.settings if source else {"model.zero_padding": "both"}
    config = run.config.replaced(settings)
    if config != run.config:
        words = ", ".join(source.overrides if source else ["model.zero_padding=both"])
        log(f"{weights}: {source.publisher if source else layout}'s weights: {words}, as they were trained")
    return replace(run, config=config)


def _check_own(run: Run, weights: Path, net: nn.Module) -> None:
    result = run.results / "result.json"
    recorded = (read_json(result) or {}).get("weights_sha256")
    if recorded and weights_sha256(net.state_dict()) != recorded:
        raise UserError(f"{weights}: not the weights of {result} (another SHA-256); move both away and train again")


def open_data(run: Run) -> Data:
    data = build_data(run.config)
    data.prepare_data()
    data.setup("test")
    return data


def protocol_of(config: Config, name: str) -> Protocol:
    """The protocol with the sizes of a configuration. Errors: UserError for one that is not for this data set."""
    d, e = config.data, config.eval
    if name not in d.protocols:
        raise UserError(f"--protocol {name}: nets for {d.name} are tested by {', '.join(d.protocols)} (Sec. 4.2)")
    return Protocol(name, d.size, d.tested_side, e.test_sides or (), e.precision)


def launch(config: Config) -> Fabric:
    """As many processes as the configuration has devices; under torchrun or SLURM those that are there."""
    set_threads(config)
    e = config.execution
    several: dict[str, Any] = {"strategy": "ddp"} if e.devices * e.nodes > 1 else {}
    accelerator, plugins = "gpu" if on_gpu(config) else "cpu", environment(config)
    fabric = Fabric(accelerator=accelerator, devices=e.devices, num_nodes=e.nodes, plugins=plugins, **several)
    if fabric.world_size > 1:
        os.environ |= as_parent()  # the processes that it starts do not outlive this one
    fabric.launch()
    return fabric


def evaluate(
    run: Run, weights: Path | None = None, name: str = "single", fabric: Fabric | None = None
) -> dict[str, Any]:
    """Test error (percent, unrounded) of a run's final weights, or of a file. Only the former is kept under results/.

    `name`: a protocol: single, 10-crop, multi-scale. Errors: UserError for weights that do not fit or data that is not
    there.
    """
    fabric = fabric or launch(run.config)
    protocol_of(run.config, name)  # an error before anything is read
    net, loaded = load_net(run, weights or final_weights(run))
    digest_of_weights = {"weights_sha256": weights_sha256(net.state_dict())}
    data = open_data(loaded)
    net = as_tested(run, to_device(net, fabric.device), fabric.device, data)
    result = {"run": run.name} | measured([net], run, name, data, fabric, [run] if weights is None else [])
    result |= digest_of_weights
    if weights and (source := source_of(weights)):
        result |= {"name": source.name, "claimed": source.claimed, "claim": source.claim}
    if weights is None and fabric.is_global_zero:
        keep(run.results, result)
    return result


def to_device(net: nn.Module, device: torch.device) -> nn.Module:
    return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def as_tested(run: Run, net: nn.Module, device: torch.device, data: Data | None = None) -> nn.Module:
    """The net with the BN statistics that its run is tested with, which may change it. `data`: where it is open."""
    if run.config.eval.bn_statistics == "recomputed":
        recompute_bn(run, net, data or open_data(run), device)
    return net


def conditions(config: Config, name: str) -> dict[str, Any]:
    """What an error under a protocol depends on, beside weights and images."""
    protocol = protocol_of(config, name)
    return {"sides": protocol.sides, "precision": protocol.precision, "bn_statistics": config.eval.bn_statistics}


def changed(run: Run, facts: Callable[[Config], dict[str, Any]]) -> dict[str, Any]:
    """Those of the facts about a run's configuration that eval.* of the command line has changed."""
    own = facts(run.config.model_copy(update={"eval": run.own_eval}))
    return {key: value for key, value in facts(run.config).items() if value != own[key]}


def other_images(trained: Sequence[Run], data: Data) -> dict[str, Any]:
    """The fingerprint of the images, where it is not that of a training which these weights come from."""
    results = [read_json(run.results / "result.json") or {} for run in trained]
    known = {result["provenance"].get("data", {}).get("fingerprint") for result in results if result}
    return {"fingerprint": data.fingerprint} if known - {None, data.fingerprint} else {}


def measured(
    nets: Sequence[nn.Module], run: Run, name: str, data: Data, fabric: Fabric, trained: Sequence[Run] = ()
) -> dict[str, Any]:
    """The errors of one net, or of several averaged, over all processes, and the conditions that they hold under.

    `run`: whose eval.* counts. `trained`: those whose own weights the nets have. `deviations`: in what this is not the
    test that the run's configuration asks for.
    """
    counts = count_on(nets, data, protocol_of(run.config, name), fabric)
    if counts.n != data.n_test:
        raise RuntimeError(f"{counts.n} test images were counted instead of {data.n_test}")
    found: dict[str, Any] = {"protocol": name, "n": counts.n, "top1_error": counts.error}
    found |= {"top5_error": counts.top5_error} if run.config.data.top5 else {}
    found |= conditions(run.config, name) | {"precision": computed(run.config.eval.precision, fabric.device)}
    found |= {"deviations": changed(run, partial(conditions, name=name)) | other_images(trained, data)}
    images = {"description": data.description, "fingerprint": data.fingerprint, "official": data.is_official}
    return found | {"data": images | {"source": data.source}}


def keep(folder: Path, result: dict[str, Any]) -> None:
    """eval-<protocol>.json; a test that deviates from the configured one lies beside it and never in its place."""
    write_json(folder / f"eval-{result['protocol']}{suffix(result['deviations'])}.json", result)


def suffix(deviations: dict[str, Any]) -> str:
    """Of a file's name: nothing, or +<hash8> of what deviates."""
    return f"+{digest(deviations)[:8]}" if deviations else ""


def count_on(
    nets: Sequence[nn.Module], data: Data, protocol: Protocol, fabric: Fabric, split: str = "test"
) -> ErrorCounter:
    """The errors on all processes' shares of the images of a split; of ImageNet on the test images only."""
    rank, world = fabric.global_rank, fabric.world_size
    if isinstance(data, ImageNetDataModule):
        members = [Member(net, lambda x: data.normalise(x, fabric.device)) for net in nets]
        own = count(members, data.test_images(rank, world), protocol, fabric.device)
    else:
        [net] = nets
        own = count_errors(net, data.test_batches(fabric.device, rank, world, split=split), protocol.precision)
    total = fabric.all_reduce(own.tensor(fabric.device), reduce_op="sum")
    assert isinstance(total, torch.Tensor)
    return ErrorCounter(*total.tolist())
