"""Many trainings: one after the other in this process, or side by side as processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType

from reproduce import checkpoint
from reproduce.config import Run
from reproduce.display import Display
from reproduce.errors import UserError
from reproduce.record import RUNS, cores, is_first_process, say


def outside_launcher() -> bool:
    """Whether torchrun, SLURM or Lightning started this process as one of several."""
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_NTASKS", "1")) > 1


def train_all(runs: Sequence[Run]) -> int:
    """Train what is missing of `runs`. One failed run does not stop the others.

    Returns the exit code: 0, 1 when a run failed, 2 when the user's input was at fault for all of them, 130 or 143.
    """
    if outside_launcher():  # the processes of one run must all go through the same list; the first decides for each run
        _check_world(runs[0])
        return _in_turn(runs)
    execution = runs[0].config.execution
    several = len(runs) > 1 and (execution.jobs > 1 or execution.devices * execution.nodes > 1)
    missing = _missing(runs)
    return (_as_processes if several else _in_turn)(missing) if missing else 0


def _check_world(run: Run) -> None:
    """As many processes must have been started as the configuration says, else each would train on its own."""
    execution = run.config.execution
    started = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS", "1"))
    if started != execution.devices * execution.nodes:
        asked = f"execution.devices={execution.devices} execution.nodes={execution.nodes}"
        raise UserError(f"{started} processes were started for {asked}; name what the launcher starts")


def _missing(runs: Sequence[Run]) -> list[Run]:
    from reproduce.train import is_done

    done = [run for run in runs if is_done(run)]
    for run in done:
        say(f"{run.name} seed {run.seed}: done already, results/{run.folder}")
    return [run for run in runs if run not in done]


def _in_turn(runs: Sequence[Run]) -> int:
    codes = []
    for number, run in enumerate(runs, 1):
        label = os.environ.get("REPRODUCE_LABEL") or f"[{number}/{len(runs)}] {run.name} seed {run.seed}"
        codes.append(_one(run, label))
        if codes[-1] in (130, 143) or (codes[-1] and outside_launcher()):  # the launcher ends the other processes
            return codes[-1]
    return verdict(codes)


def verdict(codes: Sequence[int]) -> int:
    failed = [code for code in codes if code]
    if not failed:
        return 0
    return 2 if len(failed) == len(codes) and set(failed) == {2} else 1


def _one(run: Run, label: str) -> int:
    """Train one run; its trouble becomes one line (the traceback goes to its folder) and an exit code."""
    from reproduce.callbacks import Stopped
    from reproduce.train import train

    folder = RUNS / run.folder
    entered = False
    try:
        held = checkpoint.lock(folder) if is_first_process() else nullcontext()  # one holds it for all
        with held, Display() as display:
            entered = True
            train(run, label, display.show)
        return 0
    except UserError as error:
        say(f"{label}: {error}")
        if entered:  # else the folder is another training's
            (folder / "error.txt").write_text(f"{error}\n")
        return 2
    except Stopped as stop:
        say(f"{label}: {stop}")
        return stop.exit_code
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:  # Lightning's own answer to SIGTERM before training has begun
        return stop.code if isinstance(stop.code, int) and stop.code else 143
    except Exception as error:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(traceback.format_exc())
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        say(f"{label}: failed: {reason} (all of it in {folder / 'error.txt'})")
        return 1


def _as_processes(runs: Sequence[Run]) -> int:
    """`jobs` at a time, each a command line of its own with its share of the cores and, one each, of the GPUs."""
    waiting = [(number, run) for number, run in enumerate(runs, 1)]
    jobs = min(runs[0].config.execution.jobs, len(runs))
    running: dict[int, tuple[subprocess.Popen[bytes], Run]] = {}  # slot -> process
    codes: list[int] = []
    with Display(jobs) as display, _sigterm_as_exception():
        try:
            while waiting or running:
                for slot in range(jobs):
                    if slot not in running and waiting:
                        number, run = waiting.pop(0)
                        label = f"[{number}/{len(runs)}] {run.name} seed {run.seed}"
                        running[slot] = _start(run, label, slot, jobs), run
                time.sleep(0.5)
                for slot, (process, run) in list(running.items()):
                    _show(display, run)
                    if process.poll() is not None:
                        codes.append(_ended(process, run))
                        del running[slot]
        except (KeyboardInterrupt, _Terminated) as stop:
            codes.append(130 if isinstance(stop, KeyboardInterrupt) else 143)
            for process, _ in running.values():
                process.terminate()
            for process, _ in running.values():
                process.wait()
    return next((code for code in codes if code in (130, 143)), verdict(codes))


class _Terminated(Exception):
    """SIGTERM has come."""


@contextmanager
def _sigterm_as_exception() -> Iterator[None]:
    def on_signal(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start(run: Run, label: str, slot: int, jobs: int) -> "subprocess.Popen[bytes]":
    e = run.config.execution
    threads = e.threads or max(1, cores() // (jobs * e.devices))
    words = [sys.executable, "-m", "reproduce", "train", run.name]
    words += ["--profile", run.base_profile, "--seed", str(run.seed)]
    words += [item for item in run.overrides if not item.startswith(("execution.jobs=", "execution.threads="))]
    words += ["execution.jobs=1", f"execution.threads={threads}"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "REPRODUCE_LABEL": label}
    if jobs > 1 and e.nodes == 1 and (gpus := _visible_gpus()):
        own = [gpus[(slot * e.devices + i) % len(gpus)] for i in range(e.devices)]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(own)
    log = RUNS / run.folder / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=environment)


def _visible_gpus() -> list[str]:
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]


def _show(display: Display, run: Run) -> None:
    path: Path = RUNS / run.folder / "progress.json"
    with suppress(OSError, json.JSONDecodeError):  # not begun
        display.show(json.loads(path.read_text()))


def _ended(process: "subprocess.Popen[bytes]", run: Run) -> int:
    if process.returncode:
        log = RUNS / run.folder / "log.txt"
        last = next(reversed(log.read_text(errors="replace").strip().splitlines()), "no word of it")
        if process.returncode == -signal.SIGKILL:  # it could not say so itself; most often memory was short
            (log.parent / "error.txt").write_text("killed by SIGKILL\n")
        say(f"{run.name} seed {run.seed}: exit code {process.returncode}: {last} ({log})")
    return abs(process.returncode)
