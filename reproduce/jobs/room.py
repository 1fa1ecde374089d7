"""Is there room for what is to be trained? Disk for states, memory for a step, shared memory for loader workers."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch._subclasses import FakeTensorMode

from reproduce.config.device import on_gpu
from reproduce.config.run import Run
from reproduce.config.schema import Config
from reproduce.data.build import chunk_of, workers
from reproduce.data.imagenet.datamodule import ImageNetDataModule
from reproduce.jobs.doctor import Finding
from reproduce.jobs.estimate import gigabytes
from reproduce.models import complexity
from reproduce.models.build import build_net, build_training_net
from reproduce.models.complexity import step_bytes
from reproduce.utils.files import free_bytes
from reproduce.utils.precision import computed

PROCESS = 1.0  # GB of Python, torch and Lightning
CONTEXT = 0.6  # GB of a CUDA context and the workspaces of cuDNN and cuBLAS: assumed, not measured
CHUNK = 65e-6  # GB for an image of a chunk of CIFAR-10's batches: 53 kB counted while it is made, 12 kB of the last one
SHM = Path("/dev/shm")  # where loader workers put their batches
PREFETCHED = 2  # batches that torch's DataLoader has each worker make ahead
CIFAR = 0.4  # GB of the images in memory, once as uint8 and once while they are read


def findings(runs: Sequence[Run], folder: Path = Path()) -> list[Finding]:
    """Lines on disk, memory and, where images are decoded, shared memory, for those of the runs that are not done."""
    missing = [run for run in runs if not (run.results / "result.json").is_file()]
    if not missing:
        return []
    found = [disk(missing, folder.resolve()), memory(missing), shared_memory(missing)]
    return [finding for finding in found if finding is not None]


def disk(runs: Sequence[Run], folder: Path) -> Finding:
    each = {name: gigabytes(complexity.parameters(_on_meta(run))) for name, run in _by_name(runs).items()}
    needed, free = sum(each[run.name] for run in runs), free_bytes(folder) / 1e9
    these = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    text = f"{needed:.1f} GB of disk for {these}, {free:.1f} GB free in {folder}"
    return _compared(needed, free, text, "free some, or start from a folder on a larger disk")


def memory(runs: Sequence[Run]) -> Finding:
    """Of the nets that take most, as many as share a memory: each GPU's, or the machine's."""
    heaviest = sorted(runs, key=_size, reverse=True)
    t, e = heaviest[0].config.train, heaviest[0].config.execution
    gpus = [] if e.accelerator == "cpu" else _gpus_gigabytes()
    jobs = min(e.jobs, len(runs))
    together, each = (-(-jobs * e.devices // len(gpus)), 1) if gpus else (jobs, e.devices)  # runs, processes of a run
    sharing, processes = heaviest[:together], each * together
    sizes = {name: _process_gigabytes(run, bool(gpus)) for name, run in _by_name(sharing).items()}
    needed, there = each * sum(sizes[run.name] for run in sharing), min(gpus) if gpus else available_gigabytes()
    how = computed(t.precision, _kind(bool(gpus))) + (", recomputing" if e.activation_checkpointing else "")
    text = f"{needed:.1f} GB of memory {'on a GPU, ' if gpus else ''}for {processes} process(es) for {', '.join(sizes)}"
    text += f" (batch {t.batch_size}, {how}), {there:.1f} GB there"
    if gpus:
        own = f"{processes * CONTEXT:.1f} GB of these"
        text += f"; {own}, for CUDA's context and workspaces, are assumed, not measured"
    saving = "SET=execution.activation_checkpointing=true (the same numbers, more time), "
    saving = "" if e.activation_checkpointing or t.compile else saving
    cure = f"{saving}MICRO_BATCH=..., more GPUS, fewer JOBS, or SET=train.batch_size=... (then another recipe)"
    return _compared(needed, there, text, cure)


def shared_memory(runs: Sequence[Run], folder: Path = SHM) -> Finding | None:
    """What loader workers hold in shared memory: each two batches ahead. None where there are no workers or no such."""
    sizes = [(_ahead_gigabytes(run), run) for run in runs if not run.config.data.in_memory]
    needed, run = max(sizes, key=lambda pair: pair[0], default=(0.0, None))
    if run is None or not needed or not folder.is_dir():
        return None
    e, jobs = run.config.execution, min(run.config.execution.jobs, len(sizes))
    needed, free = jobs * needed, free_bytes(folder) / 1e9
    text = f"{needed:.2f} GB of shared memory for {jobs * e.devices * workers(run.config)} loader workers"
    text += f", {free:.2f} GB free in {folder}"
    docker = f"docker run --shm-size={max(1, round(2 * needed))}g (Docker's default is 64 MB)"
    return _compared(needed, free, text, f"{docker}, or SET=execution.workers=0 (slower)")


def _by_name(runs: Sequence[Run]) -> dict[str, Run]:
    """One of each name: seeds need the same."""
    return {run.name: run for run in runs}


def _compared(needed: float, there: float, text: str, cure: str) -> Finding:
    return Finding("ok", text) if needed <= there else Finding("error", f"{text}: {cure}")


def _ahead_gigabytes(run: Run) -> float:
    """Of one run on this machine: an image is as many bytes as its crop has values."""
    e, d = run.config.execution, run.config.data
    in_threads = getattr(d, "predecoded", None) and on_gpu(run.config)  # then workers make the test's batches only
    images = ImageNetDataModule.test_size
    images = images if in_threads else max(run.images_per_process, images)
    return e.devices * workers(run.config) * PREFETCHED * images * 3 * d.size**2 / 1e9


def _process_gigabytes(run: Run, gpu: bool) -> float:
    step = step_gigabytes(run, computed(run.config.train.precision, _kind(gpu))) + (CONTEXT if gpu else PROCESS)
    if not run.config.data.in_memory:
        return step
    return step + CHUNK * run.images_per_process * chunk_of(run.config) + (CIFAR / 2 if gpu else CIFAR)


def _kind(gpu: bool) -> str:
    return "cuda" if gpu else "cpu"


def _size(run: Run) -> int:
    """Grows with the memory of a step, and takes no time to find."""
    return run.config.model.depth * run.images_per_process * run.config.data.size**2


def step_gigabytes(run: Run, precision: str) -> float:
    """One process's training step: weights, momentum, and the most that forward and backward pass hold at a time.

    `precision`: that of the device to be counted for, which may be another than this machine's.
    """
    with FakeTensorMode(), torch.device("cpu"):  # of the CPU, for autocast knows no "meta"
        net = build_training_net(_countable(run))
        micro_batch = run.config.execution.micro_batch
        step = step_bytes(net, micro_batch or run.images_per_process, run.config.data.size, bf16=precision == "bf16")
    held = 12 if micro_batch else 8  # bytes a weight: itself, its momentum, and the gradient of the parts before
    return (held * complexity.parameters(net) + step) / 1e9


def available_gigabytes() -> float:
    """What this machine, or the container's limit, has left."""
    free = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path, unit in (("/proc/meminfo", 1024), ("/sys/fs/cgroup/memory.max", 1)):
        try:
            lines = Path(path).read_text().splitlines()
        except OSError:
            continue
        line = next((line for line in lines if line.startswith("MemAvailable") or line.isdigit()), "")
        free += [int(part) * unit for part in line.split() if part.isdigit()]
    return min(free) / 1e9


def _gpus_gigabytes() -> list[float]:
    """Of each visible GPU."""
    return [torch.cuda.get_device_properties(i).total_memory / 1e9 for i in range(torch.cuda.device_count())]


def _on_meta(run: Run) -> torch.nn.Module:
    """The net without its numbers."""
    with torch.device("meta"):
        return build_net(_countable(run))


def _countable(run: Run) -> Config:
    """Without grouped BN and channels_last: neither changes the memory, and tensors without contents cannot do them."""
    return run.config.replaced({"model.bn_group": "device", "train.channels_last": False})
