"""One process at a time in a run's folder: a lock that says who holds it, and that outlives nobody.

Within one machine, and on shared file systems that support it, the kernel's own lock decides and dies with its holder.
For file systems that do not, the file also holds the owner and is touched now and then: it counts for as long as that
goes on. Only one thing is taken over at once from another machine: what an earlier start of the same SLURM job held.
"""

import fcntl
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from reproduce.utils.console import log
from reproduce.utils.errors import UserError
from reproduce.utils.signals import is_alive

BEAT_SECONDS = 30.0
STALE_SECONDS = 120.0  # without a beat
ORPHAN_SECONDS = 15.0


@dataclass(frozen=True)
class Owner:
    host: str
    pid: int
    job: str | None  # of SLURM

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}" + (f", SLURM job {self.job}" if self.job else "")


def me() -> Owner:
    return Owner(socket.gethostname(), os.getpid(), os.environ.get("SLURM_JOB_ID"))


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a run's folder, or leave at once. Errors: UserError naming the owner's pid and host."""
    path = folder / "lock"
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        by_kernel, owner = _ask(file)
        if by_kernel is False or (owner and not _is_free(owner, path, by_kernel is True)):
            raise UserError(f"{folder}: is being trained by {owner or 'another process'}; wait for it, or stop it")
        _write(file, json.dumps(asdict(me())))
        ended = threading.Event()
        threading.Thread(target=_beat, args=(path, ended), daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            with suppress(OSError):
                _write(file, "")


def holder(folder: Path) -> Owner | None:
    """Who holds a run's folder, as its lock says; nobody where there is none."""
    try:
        with (folder / "lock").open() as file:
            return _owner(file)
    except OSError:
        return None


def _ask(file: IO[str]) -> tuple[bool | None, Owner | None]:
    """Whether the kernel gives the lock, and who had it. The loader workers of a killed owner keep it for seconds."""
    end = time.monotonic() + ORPHAN_SECONDS
    while True:
        by_kernel, owner = _lock_by_kernel(file), _owner(file)
        waits = by_kernel is False and (owner is None or (owner.host == me().host and not is_alive(owner.pid)))
        if not waits or time.monotonic() > end:
            return by_kernel, owner
        time.sleep(0.1)


def _lock_by_kernel(file: IO[str]) -> bool | None:
    """True: ours; False: another process has it; None: this file system has no such locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_free(owner: Owner, path: Path, by_kernel: bool) -> bool:
    """Whether what an owner left may be taken over."""
    if owner.host == me().host:  # its death is known at once
        return by_kernel or owner.pid == os.getpid() or not is_alive(owner.pid)
    return (owner.job is not None and owner.job == me().job) or _silence(path) > STALE_SECONDS


def _silence(path: Path) -> float:
    """Seconds since the last beat, both times by the clock of the file server."""
    probe = path.with_name(f".{path.name}.{os.getpid()}@{socket.gethostname()}.tmp")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _owner(file: IO[str]) -> Owner | None:
    """Who the file says holds it; None where nobody does, or it cannot be understood."""
    file.seek(0)
    try:
        value = json.loads(file.read())
        return Owner(str(value["host"]), int(value["pid"]), value["job"] and str(value["job"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(file: IO[str], text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _beat(path: Path, ended: threading.Event) -> None:
    """Touch the file until the end. Whoever stood still for too long finds another owner there, and stops."""
    while not ended.wait(BEAT_SECONDS):
        with suppress(OSError):
            with path.open() as file:
                owner = _owner(file)
            if owner not in (None, me()) and not ended.is_set():
                log(f"{path}: taken over by {owner} while this process stood still")
                os.kill(os.getpid(), signal.SIGTERM)
                return
            os.utime(path)
