"""Is there room for what is to be trained? Disk for states and weights, memory for a step of the largest net."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from reproduce import count
from reproduce.build import build_net
from reproduce.config import Run
from reproduce.doctor import Finding
from reproduce.plan import gigabytes
from reproduce.record import RESULTS

PROCESS = 1.0  # GB of Python, torch and Lightning
CIFAR = 0.4  # GB of the images in memory, once as uint8 and once while they are read


def findings(runs: Sequence[Run], folder: Path = Path()) -> list[Finding]:
    """A line on disk and one on memory, for those of the runs that are not done."""
    missing = [run for run in runs if not (RESULTS / run.folder / "result.json").is_file()]
    return [disk(missing, folder.resolve()), memory(missing)] if missing else []


def disk(runs: Sequence[Run], folder: Path) -> Finding:
    parameters: dict[str, int] = {}
    for run in runs:
        if run.name not in parameters:
            parameters[run.name] = count.parameters(_on_meta(run))
    needed, free = sum(gigabytes(parameters[run.name]) for run in runs), shutil.disk_usage(folder).free / 1e9
    text = f"{needed:.1f} GB of disk for {_these(runs)}, {free:.1f} GB free in {folder}"
    if needed > free:
        return Finding("error", f"{text}: free some, or start from a folder on a larger disk")
    return Finding("ok", text)


def memory(runs: Sequence[Run]) -> Finding:
    """Of the net that takes most, on each GPU or, for all processes together, of the machine."""
    largest = max(_one_per_name(runs), key=step_gigabytes)
    execution, gpu = largest.config.execution, _gpu_gigabytes(largest)
    processes = execution.devices * min(execution.jobs, len(runs))
    step = step_gigabytes(largest)
    needed = step if gpu else processes * (step + PROCESS + (CIFAR if largest.config.net.stem == "cifar" else 0))
    there, place = (gpu, "on a GPU") if gpu else (available_gigabytes(), f"for {processes} process(es)")
    text = f"{needed:.1f} GB of memory {place} for {largest.name}, {there:.1f} GB there"
    if needed > there:
        return Finding("error", f"{text}: more GPUS, fewer JOBS, or SET=train.batch_size=... (then another recipe)")
    return Finding("ok", text)


def step_gigabytes(run: Run) -> float:
    """One process's training step: weights, gradient and momentum, and what the backward pass needs of its images."""
    t, e = run.config.train, run.config.execution
    net = _on_meta(run)
    share = max(1, t.batch_size // (e.devices * e.nodes))
    return (12 * count.parameters(net) + share * kept_bytes(net, run.config.data.crop or 32)) / 1e9


def kept_bytes(net: torch.nn.Module, size: int) -> int:
    """Bytes that a forward pass of one image [3, size, size] keeps for the backward pass, in fp32."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
            held.append(tensor)  # so that no storage's address is used twice
        return tensor

    held: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net.train()(torch.zeros(2, 3, size, size, device="meta"))
    return sum(kept.values()) // 2


def available_gigabytes() -> float:
    """What this machine, or the container's limit, has left."""
    free = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path, unit in (("/proc/meminfo", 1024), ("/sys/fs/cgroup/memory.max", 1)):
        try:
            lines = Path(path).read_text().splitlines()
        except OSError:
            continue
        words = next((line.split() for line in lines if line.startswith("MemAvailable") or line.isdigit()), [])
        free += [int(word) * unit for word in words if word.isdigit()]
    return min(free) / 1e9


def _gpu_gigabytes(run: Run) -> float:
    if run.config.execution.accelerator == "cpu" or not torch.cuda.is_available():
        return 0.0
    return float(min(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count()))) / 1e9


def _on_meta(run: Run) -> torch.nn.Module:
    """The net without its numbers."""
    config = replace(run.config, net=replace(run.config.net, bn_group="device"))
    with torch.device("meta"):
        return build_net(config)


def _one_per_name(runs: Sequence[Run]) -> list[Run]:
    return list({run.name: run for run in runs}.values())


def _these(runs: Sequence[Run]) -> str:
    return runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
