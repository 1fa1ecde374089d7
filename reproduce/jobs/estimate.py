"""What a command would do: hours and disk beforehand, a line a run. Trains nothing."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from reproduce.config.device import on_gpu, set_threads
from reproduce.config.load import resolve
from reproduce.config.run import RESULTS, Run
from reproduce.models import complexity
from reproduce.models.build import build_net, build_training_net
from reproduce.training.run import data_set_of, is_done
from reproduce.utils.console import table
from reproduce.utils.environment import cores, device_name
from reproduce.utils.files import read_json
from reproduce.utils.precision import autocast, computed, set_precision


@dataclass(frozen=True)
class Probe:
    """The net and batch whose training steps are timed for the runs of one recipe."""

    depth: int
    batch: int  # on a CPU; a GPU takes its share of the recipe's: a small one would leave it waiting for launches
    size: int  # side of its images in pixels


PROBES = {"cifar-resnet": Probe(20, 32, 32), "imagenet-resnet": Probe(18, 8, 224)}


def multiply_adds_per_second(run: Run, steps: int = 4) -> float:
    """Multiply-adds of training (three times the forward ones) per second: the fastest of some steps of a small net."""
    set_threads(run.config)
    set_precision(run.config.train.precision)
    device, probe = run.device, PROBES[run.config.model.name]
    batch = run.images_per_process if device.type == "cuda" else probe.batch
    # The batch that is timed need be no multiple of a BN group.
    shallow = {"model.depth": probe.depth, "model.block": "auto", "model.bn_group": "device"}
    net = build_training_net(run.config.replaced(shallow)).to(device)
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
    return 3 * batch * complexity.multiply_adds(net, probe.size) / min(seconds)


START = 0.7  # minutes of the demo that train nothing: starting processes, drawing images, the report
SHORTEST = 0.01  # hours of a finished training from which something can be inferred


def finished_speeds(run: Run) -> dict[str, list[float]]:
    """Multiply-adds of training per second that finished trainings of the same recipe reached, by name of the run.

    Those on this kind of device, in the same precision, on as many processes and threads; tests and reading count in.
    """
    set_threads(run.config)
    device = run.device
    same: dict[str, Any] = {"device": device_name(device), "precision": computed(run.config.train.precision, device)}
    same |= {"threads": torch.get_num_threads(), "processes": run.processes}
    found: dict[str, list[float]] = {}
    for path in sorted(RESULTS.glob("*/*/seed-*/result.json")):
        result = read_json(path) or {}
        origin = result.get("provenance", {})
        if data_set_of(result) == run.config.data.name and _alike(origin, same) and origin.get("hours", 0) >= SHORTEST:
            device_seconds = 3600 * origin["hours"] * origin["processes"]
            found.setdefault(result["run"], []).append(_reached(run, result) / device_seconds)
    return found


def _alike(origin: dict[str, Any], same: dict[str, Any]) -> bool:
    """Whether all starts of a training were made like that."""
    starts = [{key: start.get(key, same[key]) for key in same} for start in origin.get("starts", [])]
    return all(part == same for part in [{key: origin.get(key) for key in same}, *starts])


def _reached(run: Run, result: dict[str, Any]) -> float:
    """Multiply-adds of a finished training of the same recipe as `run`."""
    config = result["provenance"]["config"]
    size = config["data"].get("crop") or config["data"].get("side") or run.config.data.paper_size
    scale: float = (size / run.config.data.paper_size) ** 2
    return 3 * result["multiply_adds"] * scale * config["train"]["batch_size"] * result["iterations"]


def hours(run: Run, multiply_adds: int, speed: float) -> float:
    t, d = run.config.train, run.config.data
    scale = (d.size / d.paper_size) ** 2
    return 3 * multiply_adds * scale * t.batch_size * t.iterations / speed / 3600


def about(number: float) -> str:
    """Two digits are all that an estimate has: 0.037, 4.1, 60,000."""
    return f"{float(f'{number:.2g}'):,.10g}" if number >= 0.01 or not number else "below 0.01"


def gigabytes(parameters: int) -> float:
    """Two states (weights and momentum, fp32), a third while it is written, and the final weights."""
    return (3 * 2 + 1) * 4 * parameters / 1e9


class Speeds:
    """Multiply-adds per second to be expected of a run: from finished trainings, else from a few timed steps."""

    def __init__(self) -> None:
        self.finished: dict[str, dict[str, list[float]]] = {}
        self.timed: dict[str, float] = {}
        self.load = os.getloadavg()[0]  # of the last minute, before anything is timed

    def of(self, run: Run) -> float:
        """Of the same run (other seeds, another length) if there is one, else of all runs of its recipe."""
        name, images = run.config.model.name, run.config.data.name
        if images not in self.finished:
            self.finished[images] = finished_speeds(run)
        by_run = self.finished[images]
        if by_run:
            return median(by_run.get(run.name) or [median(speeds) for speeds in by_run.values()])
        if name not in self.timed:
            self.timed[name] = multiply_adds_per_second(run)
        return self.timed[name]

    def origin(self) -> list[str]:
        """Where the hours come from, and what may be wrong with them."""
        known = sum(map(len, (speeds for by_run in self.finished.values() for speeds in by_run.values())))
        many = "s" * (known > 1)
        lines = [f"(device-hours, from {known} finished training{many} on this kind of device)"] if known else []
        if self.timed:
            what = "from a few timed steps of ResNet-20 or ResNet-18; tests and reading of images not counted"
            lines.append(f"(device-hours, {what})")
        return lines + ([self.busy] if self.timed and self.busy else [])

    @property
    def busy(self) -> str:
        """A warning, where the machine did other things while the steps were timed."""
        if self.load <= cores() / 2:
            return ""
        busy = f"this machine is busy (load {self.load:.1f} on {cores()} cores)"
        return f"{busy}: the steps took longer than they would alone, so the time is too long"


FOUR = ("cifar10-plain-20", "cifar10-plain-56", "cifar10-resnet-20", "cifar10-resnet-56")  # of the demo and Figure 1


def forecast() -> str:
    """How long the demo, and the same four nets at a tenth of the paper's length, would take here: a sentence."""
    speeds = Speeds()
    demo, short = (_two_at_a_time(profile) for profile in ("demo", "short"))
    text = f"make demo takes about {about(60 * demo + START)} minutes here"
    text += f", and its four nets with PROFILE=short JOBS=2 {about(short)} hours"
    return f"{text} (from a few timed steps{'; ' + speeds.busy if speeds.busy else ''})"


def _two_at_a_time(profile: str) -> float:
    """Hours of the four nets, each on one core."""
    runs = [resolve(name, profile, ["execution.threads=1"]) for name in FOUR]
    speed = multiply_adds_per_second(runs[0])
    needed = sum(hours(run, complexity.multiply_adds(build_net(run.config)), speed) for run in runs)
    return needed / min(2, cores())


def plan(runs: Sequence[Run]) -> str:
    """A table of the runs: done or to be trained, hours on this machine's first device, gigabytes."""
    speeds = Speeds()
    rows, total_hours, total_disk = [], 0.0, 0.0
    for run in runs:
        rows.append([run.name, f"seed {run.seed}", f"{run.config.train.iterations} iterations", "done", ""])
        if not is_done(run):
            net = build_net(run.config)
            needed = hours(run, complexity.multiply_adds(net, run.config.data.paper_size), speeds.of(run))
            disk = gigabytes(complexity.parameters(net))
            total_hours, total_disk = total_hours + needed, total_disk + disk
            rows[-1][3:] = f"{about(needed)} h", f"{disk:.3f} GB"
    device = "this GPU" if on_gpu(runs[0].config) else f"this CPU, {torch.get_num_threads()} threads"
    total = f"total: {about(total_hours)} h on {device} one after the other, {total_disk:.2f} GB"
    return "\n".join([table(rows, right=(2, 3, 4)), f"{total}; results/{runs[0].profile}/", *speeds.origin()])
