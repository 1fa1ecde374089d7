"""Many trainings: one after the other in this process, or in parallel (parallel.py)."""

import os
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from reproduce.config.run import Run
from reproduce.jobs.lock import lock
from reproduce.jobs.parallel import labels_of, run_in_parallel, work_of
from reproduce.training import checkpoint
from reproduce.utils.console import Display, Remaining, log
from reproduce.utils.distributed import is_first_process
from reproduce.utils.errors import UserError, one_line
from reproduce.utils.files import sweep
from reproduce.utils.signals import CODES, Signals, Stopped, listening


def outside_launcher() -> bool:
    """Whether torchrun, SLURM or Lightning started this process as one of several."""
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_NTASKS", "1")) > 1


def train_all(runs: Sequence[Run]) -> int:
    """Train what is missing of `runs`. One failed run does not stop the others.

    Returns the exit code: 0, 1 when a run failed, 2 when the user's input was at fault for all of them, 130 or 143.
    """
    with listening() as signals:
        try:
            return _train_all(runs, signals)
        except Stopped as stopped:  # between two trainings
            return _stopped(stopped)


def _train_all(runs: Sequence[Run], signals: Signals) -> int:
    if outside_launcher():  # the processes of one run must all go through the same list; the first decides for each run
        _check_world(runs[0])
        return _in_turn(runs, signals)
    missing = not_done(runs)
    if folder := _lacking_data(missing):
        log(f"{folder}: no such folder; data.root (DATA=... of make) names the folder that holds it")
        return 2
    if len(runs) > 1 and missing and (runs[0].config.execution.jobs > 1 or runs[0].processes > 1):
        codes = run_in_parallel(missing, _stopped)
        return next((code for code in codes if code in CODES), verdict(codes))
    return _in_turn(missing, signals)


def _stopped(stopped: Stopped, label: str = "") -> int:
    """Say it once, however many processes there are, and give the exit code."""
    if not is_first_process():
        return 0  # the first process speaks for all; Lightning kills it when another one leaves with a code of its own
    log(f"{label}: {stopped}" if label else str(stopped))
    return stopped.exit_code


def _check_world(run: Run) -> None:
    """As many processes must have been started as the configuration says, else each would train on its own."""
    execution = run.config.execution
    started = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS", "1"))
    if started != run.processes:
        asked = f"execution.devices={execution.devices} execution.nodes={execution.nodes}"
        raise UserError(f"{started} processes were started for {asked}; name what the launcher starts")


def _lacking_data(runs: Sequence[Run]) -> Path | None:
    """Images that are not there, where no run has any and none has begun: known before anything is written."""
    folders = [_images_of(run) for run in runs if not (run.workdir).exists()]
    lacking = [folder for folder in folders if folder and not folder.is_dir()]
    return lacking[0] if lacking and len(lacking) == len(runs) else None


def _images_of(run: Run) -> Path | None:
    """The folder of a run's training images; None where they come from elsewhere."""
    data = run.config.data
    downloaded = data.source == "official" and data.downloads
    return None if downloaded or data.source == "synthetic" else Path(data.root).expanduser() / "train"


def not_done(runs: Sequence[Run]) -> list[Run]:
    """The runs without a result; the others are named."""
    from reproduce.training.run import is_done

    done = [run for run in runs if is_done(run)]
    for run in done:
        tidy(run, done=True)
        log(f"{run.name} seed {run.seed}: done already, results/{run.folder}")
    return [run for run in runs if run not in done]


def _in_turn(runs: Sequence[Run], signals: Signals) -> int:
    codes = []
    labels = [os.environ.get("REPRODUCE_LABEL") or label for label in labels_of(runs)]
    remaining = Remaining(dict(zip(labels, map(work_of, runs), strict=True)))
    for run, label in zip(runs, labels, strict=True):
        codes.append(_one(run, label, remaining, signals))
        if codes[-1] in CODES or (codes[-1] and outside_launcher()):  # the launcher ends the other processes
            return codes[-1]
    return verdict(codes)


def verdict(codes: Sequence[int]) -> int:
    failed = [code for code in codes if code]
    if not failed:
        return 0
    return 2 if len(failed) == len(codes) and set(failed) == {2} else 1


def _one(run: Run, label: str, remaining: Remaining, signals: Signals) -> int:
    """Train one run; its trouble becomes one line (the traceback goes to its folder) and an exit code."""
    from reproduce.training.run import train

    folder, first = run.workdir, is_first_process()
    signals.patient = False
    entered = False
    try:
        with lock(folder) if first else nullcontext(), Display(remaining) as display:  # one holds it for all
            entered = True
            if first:
                tidy(run)
            train(run, label, display.show, signals)
            if first:
                tidy(run, done=True)
        return Stopped(signals.number).exit_code if signals.number else 0
    except UserError as error:
        log(f"{label}: {error}")
        if entered and (folder / "progress.json").exists():  # a training of ours that had begun: for `status`
            with suppress(OSError):
                (folder / "error.txt").write_text(f"{error}\n")
        return 2
    except Stopped as stopped:
        return _stopped(stopped, label)
    except Exception as error:
        return _failed(error, run, label)


def _failed(error: Exception, run: Run, label: str) -> int:
    rank = "" if is_first_process() else f"-{os.environ.get('RANK') or os.environ.get('LOCAL_RANK')}"
    path = run.workdir / f"error{rank}.txt"
    with suppress(OSError):
        path.write_text(traceback.format_exc())
    if isinstance(error, OSError) and error.filename:
        log(f"{label}: {error.filename}: {error.strerror}; once that is mended the same command continues")
    else:
        log(f"{label}: failed: {one_line(error)} (all of it in {path})")
    return 1


def tidy(run: Run, done: bool = False) -> None:
    """Remove what killed writers left, and, of a run that is done, its states and the errors on the way there."""
    for folder in (run.workdir, run.results):
        sweep(folder)
    if done:
        checkpoint.clear(run.workdir)
        for path in (run.workdir).glob("error*.txt"):
            path.unlink(missing_ok=True)
