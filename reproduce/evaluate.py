"""Trained or published weights -> their error on every test image, each counted once, under a protocol of the paper."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

from reproduce import measure, stop
from reproduce.build import Data, build_data, build_net, environment, on_gpu, set_threads
from reproduce.config import Config, Run
from reproduce.data.imagenet import ImageNet
from reproduce.errors import UserError
from reproduce.nets import published
from reproduce.outcome import recompute_bn
from reproduce.protocols import Counts, Member, Protocol, count
from reproduce.record import RESULTS, RUNS, read_json, say, weights_sha256, write_json


def final_weights(run: Run) -> Path:
    """The weights that training left. Errors: UserError with the command that makes them."""
    path = RUNS / run.folder / "final.safetensors"
    if not path.is_file():
        raise UserError(f"{path}: no trained weights yet; `{run.command()}` makes them, or give --weights FILE")
    return path


def load_net(run: Run, weights: Path) -> tuple[nn.Module, Run]:
    """The run's net with the weights of a file, ours or published; for akamaster's layout with its zero-padding.

    Errors: UserError for a file that does not fit, that is not what the run's own result was measured on, or, from
    elsewhere, that holds NaN or infinity (a training of ours that diverged may).
    """
    layout, state = published.read_state(weights)
    own = weights == RUNS / run.folder / "final.safetensors"
    if not own and (bad := next((key for key, value in state.items() if not value.isfinite().all()), None)):
        raise UserError(f"{weights}: {bad} holds NaN or infinity; get the file again")
    if layout == "akamaster" and run.config.net.zero_padding != "both":
        say(f"{weights}: akamaster's layout: net.zero_padding set to `both`, as its shortcuts pad")
        config = replace(run.config, net=replace(run.config.net, zero_padding="both"))
        run = replace(run, config=config)
    net = build_net(run.config)
    published.load_state(net, layout, state, weights)
    if own:
        _check_own(run, weights, net)
    return net, run


def _check_own(run: Run, weights: Path, net: nn.Module) -> None:
    result = RESULTS / run.folder / "result.json"
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
    if d.crop is None or d.test_side is None or e.test_sides is None:
        if name != "single":
            raise UserError(
                f"--protocol {name}: CIFAR-10 is tested by the `single` view of the original image (Sec. 4.2)"
            )
        return Protocol(name, 32, 32, (), e.precision)
    return Protocol(name, d.crop, d.test_side, e.test_sides, e.precision)


def launch(config: Config) -> Fabric:
    """As many processes as the configuration has devices; under torchrun or SLURM those that are there."""
    set_threads(config)
    e = config.execution
    strategy = "ddp" if e.devices * e.nodes > 1 else "auto"
    accelerator = "gpu" if on_gpu(config) else "cpu"
    fabric = Fabric(
        accelerator=accelerator,
        devices=e.devices,
        num_nodes=e.nodes,
        strategy=strategy,
        plugins=environment(config),
    )
    if fabric.world_size > 1:
        os.environ |= stop.as_parent()  # the processes that it starts do not outlive this one
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
    protocol = protocol_of(run.config, name)
    net, shown = load_net(run, weights or final_weights(run))
    digest = weights_sha256(net.state_dict())
    data = open_data(shown)
    net = to_device(net, fabric.device)
    if run.config.eval.bn_statistics == "recomputed":
        recompute_bn(run, net, data, fabric.device)
    result = {"run": run.name} | measured([net], data, protocol, fabric, run.config.eval.bn_statistics)
    result |= {"weights_sha256": digest}
    if weights is None and fabric.is_global_zero:
        recomputed = run.config.eval.bn_statistics == "recomputed"
        write_json(RESULTS / run.folder / f"eval-{name}{'+recomputed' if recomputed else ''}.json", result)
    return result


def to_device(net: nn.Module, device: torch.device) -> nn.Module:
    return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def measured(
    nets: Sequence[nn.Module], data: Data, protocol: Protocol, fabric: Fabric, bn_statistics: str
) -> dict[str, Any]:
    """The errors of one net, or of several averaged, over all processes, and what they were measured on."""
    counts = _total(_count(nets, data, protocol, fabric), fabric)
    if counts.n != data.n_test:
        raise RuntimeError(f"{counts.n} test images were counted instead of {data.n_test}")
    found: dict[str, Any] = {"protocol": protocol.name, "n": counts.n, "top1_error": 100 * counts.top1 / counts.n}
    if isinstance(data, ImageNet):
        found |= {"top5_error": 100 * counts.top5 / counts.n}
        found |= {"sides": list(protocol.test_sides) if protocol.name == "multi-scale" else [protocol.test_side]}
    return found | {
        "precision": protocol.precision,
        "bn_statistics": bn_statistics,
        "data": {
            "description": data.description,
            "fingerprint": data.fingerprint,
            "official": data.is_official,
        },
    }


def _count(nets: Sequence[nn.Module], data: Data, protocol: Protocol, fabric: Fabric) -> Counts:
    """The errors on this process's share of the test images."""
    place = fabric.global_rank, fabric.world_size
    if isinstance(data, ImageNet):
        members = [Member(net, lambda x: data.normalise(x, fabric.device)) for net in nets]
        return count(members, data.test_images(*place), protocol, fabric.device)
    [net] = nets
    sums = measure.count_errors(net, data.test_batches(fabric.device, *place), protocol.precision)
    return Counts(sums.n, int(sums.errors))


def _total(counts: Counts, fabric: Fabric) -> Counts:
    own = torch.tensor([counts.n, counts.top1, counts.top5], dtype=torch.int64, device=fabric.device)
    total = fabric.all_reduce(own, reduce_op="sum")
    assert isinstance(total, torch.Tensor)
    return Counts(*map(int, total.tolist()))
