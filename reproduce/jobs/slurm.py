"""Missing trainings as SLURM jobs, one each, through submitit.

A job is the plain command line, started once per task; Lightning finds its ranks in SLURM's variables. Ahead of a time
limit or a pre-emption every task gets submitit's signal, and submitit alone has the job queued again (Lightning's own
requeueing is off): task 0 ends its training, which saves a state and stops the others' after the same iteration. The
same command then continues from there, as it does wherever SLURM itself queues the job again.
"""

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from reproduce.utils.errors import SLURM_CURE, UserError

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

    from reproduce.config.run import Run

# Each task of a job imports this file: what weighs (torch) is imported where it is used.

WARNED_SECONDS = 300  # from the signal to the time limit: a test that is under way ends, and the state is saved
SAVING_SECONDS = 250  # of those, until a training that does not end is killed (its last state is there)
TIMEOUTS = 1000  # a training may take as many time limits as it needs: each start goes on where the last one ended
STOPPED = (143, -signal.SIGTERM, -signal.SIGUSR1, -signal.SIGUSR2)  # in order, or before there was anything to save


class Training:
    """The callable of a job: runs the command line, ends it in order, and asks for the same once more."""

    def __init__(self, command: Sequence[str]):
        self.command = list(command)
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        print(f"$ {shlex.join(self.command)}", flush=True)
        self.process = process = subprocess.Popen(self.command)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())  # of scancel; submitit would ignore it
        code = process.wait()
        if code in STOPPED:  # what comes next is decided elsewhere: by task 0, or by SLURM, which ends this process
            time.sleep(WARNED_SECONDS)
        if code:
            raise RuntimeError(f"exit code {code}; the lines before say why")

    def checkpoint(self) -> "DelayedSubmission":
        """What is queued again. submitit calls it in task 0, inside the handler of its signal."""
        from submitit.helpers import DelayedSubmission

        if self.process:
            _end(self.process)
        return DelayedSubmission(Training(self.command))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Have a training save its state and wait for its end, inside a signal handler."""
    process.send_signal(signal.SIGUSR2)  # which has more patience than SIGTERM
    limit = time.monotonic() + SAVING_SECONDS
    while not _has_ended(process.pid):
        if time.monotonic() > limit:
            process.kill()
        time.sleep(0.1)


def _has_ended(pid: int) -> bool:
    """Whether a child is gone. Popen.wait would not know: the interrupted code is inside it and holds its lock."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # its exit code has been taken
        return True


@dataclass(frozen=True)
class Resources:
    """What a job asks for, beside its nodes and devices."""

    partition: str | None = None  # None: the cluster's default
    hours: float = 24.0  # time limit of one start
    cpus: int = 8  # per task, that is, per device
    options: tuple[str, ...] = ()  # further options of sbatch, key=value or a bare word

    def further(self) -> dict[str, str | bool]:
        """["account=lab", "--exclusive"] -> {"account": "lab", "exclusive": True}."""
        pairs = [word.lstrip("-").partition("=") for word in self.options]
        return {"requeue": True} | {key.replace("-", "_"): value if equals else True for key, equals, value in pairs}

    def check(self) -> None:
        if not self.hours * 3600 >= 2 * WARNED_SECONDS or self.cpus < 1:
            least = 2 * WARNED_SECONDS / 3600
            raise UserError(f"submit: --hours {self.hours:g} --cpus {self.cpus}: at least {least:.2g} hours and 1 CPU")


def submit(runs: "Sequence[Run]", resources: Resources, cluster: str = "slurm", dry_run: bool = False) -> list[Any]:
    """Submit each missing run as a job of its own and say so; submitit's jobs are returned.

    `cluster`: slurm, or local for processes of this machine. Errors: UserError where SLURM or submitit is not there, or
    sbatch refuses.
    """
    from reproduce.jobs.runner import not_done

    resources.check()
    queue = _queue()
    waiting = [run for run in not_done(runs) if not _is_taken(run, queue)]
    if dry_run:
        for run in waiting:
            print(f"would submit {_sentence(run, resources, cluster)}")
        return []
    jobs = [_submit(run, resources, cluster) for run in waiting]
    print(f"jobs submitted: {len(jobs)}; `make` without SLURM=1 evaluates and renders what they have trained")
    return jobs


def _queue() -> set[str]:
    """The ids of this user's jobs that are pending or running."""
    if shutil.which("squeue") is None:
        return set()
    command = ["squeue", "--me", "--noheader", "--format=%i"]
    return set(subprocess.run(command, capture_output=True, text=True).stdout.split())


def _is_taken(run: "Run", queue: set[str]) -> bool:
    """Whether a run has a job in the queue or is being trained by a process, which is said."""
    from reproduce.jobs.lock import lock
    from reproduce.utils.console import log

    folder = run.workdir
    submitted = {path.name.partition("_")[0] for path in folder.glob("slurm/*_submitted.pkl")}
    if live := submitted & queue:
        log(f"{run.name} seed {run.seed}: is job {max(live)} already; not submitted")
        return True
    try:
        if (folder / "lock").exists():
            with lock(folder):
                pass
    except UserError as error:
        log(f"{run.name} seed {run.seed}: {error}; not submitted")
        return True
    return False


def _submit(run: "Run", resources: Resources, cluster: str) -> Any:
    executor, errors = _executor(run, cluster)
    executor.update_parameters(**_parameters(run, resources, cluster))
    try:
        with redirect_stderr(StringIO()):  # submitit's copy of what its exception says
            job = executor.submit(Training(_command(run, resources, cluster)))
    except errors as error:
        raise UserError(f"{run.name} seed {run.seed}: {' '.join(str(error).split())}") from None
    log = os.path.relpath(job.paths.stdout)
    print(f"job {job.job_id}: {_sentence(run, resources, cluster)}\n  log: {log}", flush=True)
    return job


def _executor(run: "Run", cluster: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """submitit's executor for a run, and the exceptions of a submission that failed."""
    absent = [name for name in ("sbatch", "srun") if cluster == "slurm" and shutil.which(name) is None]
    if absent:
        raise UserError(f"{absent[0]}: not found: submit from a node of a SLURM cluster, or train here without SLURM=1")
    if cluster == "local" and run.config.execution.nodes > 1:
        raise UserError("submit: --cluster local: is one machine; execution.nodes must be 1")
    try:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError
    except ModuleNotFoundError:
        raise UserError(f"submitit is not installed: {SLURM_CURE}") from None
    folder = run.workdir / "slurm"
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster, slurm_max_num_timeout=TIMEOUTS)
    return executor, (FailedJobError, FailedSubmissionError)


def _parameters(run: "Run", resources: Resources, cluster: str) -> dict[str, Any]:
    """submitit's parameters. SLURM starts a process per device; elsewhere Lightning's launcher does, from one task."""
    e = run.config.execution
    return {
        "name": str(run.folder),
        "nodes": e.nodes,
        "tasks_per_node": e.devices if cluster == "slurm" else 1,
        "gpus_per_node": None if e.accelerator == "cpu" else e.devices,
        "cpus_per_task": resources.cpus,
        "timeout_min": round(60 * resources.hours),
        "stderr_to_stdout": True,
        "slurm_partition": resources.partition,
        "slurm_signal_delay_s": WARNED_SECONDS,
        # srun does not take sbatch's CPUs over; one process that fails must not leave the others waiting.
        "slurm_srun_args": [f"--cpus-per-task={resources.cpus}", "--kill-on-bad-exit=1"],
        "slurm_additional_parameters": resources.further(),
    }


def _command(run: "Run", resources: Resources, cluster: str) -> list[str]:
    """The command line of a job. A task sees its own CPUs only: they are not to be divided by the devices again."""
    from reproduce.jobs.parallel import PYTHON

    e = run.config.execution
    execution: dict[str, Any] = {"jobs": 1, "devices": e.devices, "nodes": e.nodes}
    if cluster == "slurm":
        execution["threads"] = e.threads or resources.cpus
        if e.workers < 0:
            execution["workers"] = max(resources.cpus - 1, 1)
    return [*PYTHON, *run.arguments(**execution)]


def _sentence(run: "Run", resources: Resources, cluster: str) -> str:
    p = _parameters(run, resources, cluster)
    tasks, gpus = f"{p['nodes']} x {p['tasks_per_node']} tasks", f"{p['gpus_per_node'] or 0} GPUs a node"
    size = f"{tasks}, {gpus}, {resources.cpus} CPUs a task, {resources.hours:g} h"
    options = " ".join([resources.partition or "default partition", *resources.options])
    command = shlex.join(_command(run, resources, cluster))
    return f"{run.name} seed {run.seed}: {size}, {options}\n  $ {command}"
