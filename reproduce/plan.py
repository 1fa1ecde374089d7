"""What a command would do: hours and disk beforehand, a line a run. Trains nothing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import cross_entropy

from reproduce import count
from reproduce.build import build_net, build_training_net, device_of, image_size, on_gpu, set_threads
from reproduce.config import Run
from reproduce.precision import autocast, set_precision
from reproduce.train import is_done


@dataclass(frozen=True)
class Probe:
    """The net and batch whose training steps are timed for the runs of one recipe."""

    depth: int
    batch: int  # on a CPU; a GPU takes its share of the recipe's: a small one would leave it waiting for launches
    size: int  # side of its images in pixels


PROBES = {"cifar": Probe(20, 32, 32), "imagenet": Probe(18, 8, 224)}


def multiply_adds_per_second(run: Run, steps: int = 4) -> float:
    """Multiply-adds of training (three times the forward ones) per second: the fastest of some steps of a small net."""
    set_threads(run.config)
    set_precision(run.config.train.precision)
    device, probe = device_of(run.config), PROBES[run.config.net.stem]
    share = run.config.train.batch_size // (run.config.execution.devices * run.config.execution.nodes)
    batch = max(1, share) if device.type == "cuda" else probe.batch
    # The batch that is timed need be no multiple of a BN group.
    shallow = replace(run.config.net, depth=probe.depth, block="auto", bn_group="device")
    net = build_training_net(replace(run.config, net=shallow)).to(device)
    images = torch.zeros(batch, 3, probe.size, probe.size, device=device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    seconds = []
    for _ in range(steps):
        began = time.perf_counter()
        with autocast(run.config.train.precision, device):
            loss = cross_entropy(net(images).float(), labels)
        loss.backward()
        loss.item()
        seconds.append(time.perf_counter() - began)
    return 3 * batch * count.multiply_adds(net, probe.size) / min(seconds)


def hours(run: Run, multiply_adds: int, speed: float) -> float:
    t, size = run.config.train, run.config.data.crop or run.config.data.side or PROBES["cifar"].size
    scale = (size / image_size(run.config)) ** 2
    return 3 * multiply_adds * scale * t.batch_size * t.iterations / speed / 3600


def gigabytes(parameters: int) -> float:
    """Two states (weights and momentum, fp32), a third while it is written, and the final weights."""
    return (3 * 2 + 1) * 4 * parameters / 1e9


def plan(runs: Sequence[Run]) -> str:
    """A table of the runs: done or to be trained, hours on this machine's first device, gigabytes."""
    speeds: dict[str, float] = {}
    lines, total_hours, total_disk = [], 0.0, 0.0
    for run in runs:
        net, stem = build_net(run.config), run.config.net.stem
        if stem not in speeds:
            speeds[stem] = multiply_adds_per_second(run)
        needed = 0.0 if is_done(run) else hours(run, count.multiply_adds(net, image_size(run.config)), speeds[stem])
        disk = 0.0 if is_done(run) else gigabytes(count.parameters(net))
        total_hours, total_disk = total_hours + needed, total_disk + disk
        state = "done" if is_done(run) else f"{needed:9.2f} h {disk:7.3f} GB"
        lines.append(f"{run.name:32} seed {run.seed}  {run.config.train.iterations:>7} iterations  {state}")
    place = "this GPU" if on_gpu(runs[0].config) else f"this CPU, {torch.get_num_threads()} threads"
    lines.append(
        f"total: {total_hours:.2f} h on {place} one after the other, {total_disk:.2f} GB; results/{runs[0].profile}/"
    )
    lines.append(
        "(device-hours, from a few timed steps of ResNet-20 or ResNet-18; tests and reading of images not counted)"
    )
    return "\n".join(lines)
