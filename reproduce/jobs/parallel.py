"""Several trainings at a time, as processes of their own that share the cores and the GPUs (JOBS=k)."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress

from reproduce.config.run import Run
from reproduce.jobs.mps import mps
from reproduce.utils.console import Display, Remaining, log
from reproduce.utils.environment import cores
from reproduce.utils.signals import PATIENCE, Stopped, as_parent

PYTHON = [sys.executable, "-m", "reproduce"]


def labels_of(runs: Sequence[Run]) -> list[str]:
    """What a training is called in the lines about it: [1/4] cifar10-plain-56 seed 0."""
    return [f"[{number}/{len(runs)}] {run.name} seed {run.seed}" for number, run in enumerate(runs, 1)]


def work_of(run: Run) -> float:
    """Layers x images x iterations: about how long a training takes beside others of its family."""
    return float(run.config.model.depth * run.config.train.batch_size * run.config.train.iterations)


def run_in_parallel(runs: Sequence[Run], on_stop: Callable[[Stopped], int]) -> list[int]:
    """`jobs` at a time, each a command line of its own with its share of the cores and, one each, of the GPUs.

    Returns their exit codes. Where a signal asks for the end, `on_stop` is called, and its code is the last one.
    """
    waiting = [(number, run) for number, run in enumerate(runs, 1)]
    jobs = min(runs[0].config.execution.jobs, len(runs))
    running: dict[int, tuple[subprocess.Popen[bytes], Run]] = {}  # slot -> process
    codes: list[int] = []
    labels = labels_of(runs)
    remaining = Remaining(dict(zip(labels, map(work_of, runs), strict=True)))
    with _sharing(runs[0], jobs) as environment, Display(remaining) as display:
        try:
            while waiting or running:
                for slot in range(jobs):
                    if slot not in running and waiting:
                        number, run = waiting.pop(0)
                        running[slot] = _start(run, labels[number - 1], slot, jobs, environment), run
                time.sleep(0.5)
                for slot, (process, run) in list(running.items()):
                    _show(display, run)
                    if process.poll() is not None:
                        codes.append(_ended(process, run))
                        del running[slot]
        except Stopped as stopped:
            codes.append(on_stop(stopped))
            _end([process for process, _ in running.values()])
    return codes


def _sharing(run: Run, jobs: int) -> AbstractContextManager[dict[str, str]]:
    """Where it is wished for, and GPUs are shared: MPS. Gives what the processes find in their environment."""
    e = run.config.execution
    shared = e.mps and e.nodes == 1 and e.accelerator != "cpu" and jobs * e.devices > len(_visible_gpus()) > 0
    return mps() if shared else nullcontext({})


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """They save and leave by themselves; what has not left by then is killed."""
    for process in processes:
        process.terminate()
    end = time.monotonic() + PATIENCE + 1
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _start(run: Run, label: str, slot: int, jobs: int, shared: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    e = run.config.execution
    threads = e.threads or max(1, cores() // (jobs * e.devices))
    gpus = _visible_gpus() if jobs > 1 and e.nodes == 1 and e.accelerator != "cpu" else []
    device = {"accelerator": "gpu"} if gpus else {}  # a GPU that is refused must not become a training on the CPU
    command = [*PYTHON, *run.arguments(jobs=1, threads=threads, **device)]
    environment = os.environ | shared | as_parent() | {"OMP_NUM_THREADS": str(threads), "REPRODUCE_LABEL": label}
    if gpus:
        own = [gpus[(slot * e.devices + i) % len(gpus)] for i in range(e.devices)]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(own)
    run.workdir.mkdir(parents=True, exist_ok=True)
    with (run.workdir / "log.txt").open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)


def _visible_gpus() -> list[str]:
    import torch

    if not torch.cuda.is_available():  # the variable may name none ("-1"), or some that are not here
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]


def _show(display: Display, run: Run) -> None:
    with suppress(OSError, json.JSONDecodeError):  # not begun
        display.show(json.loads((run.workdir / "progress.json").read_text()))


def _ended(process: "subprocess.Popen[bytes]", run: Run) -> int:
    if process.returncode:
        path = run.workdir / "log.txt"
        last = next(reversed(path.read_text(errors="replace").strip().splitlines()), "nothing in its log")
        if process.returncode == -signal.SIGKILL:  # it could not say so itself; most often memory was short
            (path.parent / "error.txt").write_text("killed by SIGKILL\n")
        log(f"{run.name} seed {run.seed}: exit code {process.returncode}: {last} ({path})")
    return abs(process.returncode)
