"""Stopping in good order: a signal ends a training after the iteration at hand; no process stays behind."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE = 8.0  # seconds for the iteration at hand; whoever asks for the end waits ten, then kills
FROM_CLUSTER = (signal.SIGUSR1, signal.SIGUSR2)  # minutes ahead of a time limit or a pre-emption
CLUSTER_PATIENCE = 240.0  # a test of ImageNet's validation images may be under way
CODES = (130, 143)  # exit codes of a training that was stopped
PARENT = "REPRODUCE_PARENT"  # environment: the process that started this one, and that it does not outlive


class Stopped(Exception):
    """A signal asked for the end; what was saved last is what the same command continues from."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command continues")
        self.number = number
        self.exit_code = 130 if number == signal.SIGINT else 143


class Signals:
    """The wish to stop. Until `patient` is set a signal is an exception at once; then it is `number`, to be looked at.

    Exceptions come all the same when the iteration at hand does not end, and at a second Ctrl-C.
    """

    def __init__(self) -> None:
        self.number, self.patient = 0, False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.patient or self.number == signal.SIGINT == number:
            self.number = number
            raise Stopped(number)
        if not self.number:
            self.number = number
            signal.setitimer(signal.ITIMER_REAL, CLUSTER_PATIENCE if number in FROM_CLUSTER else PATIENCE)

    def on_alarm(self, number: int, frame: FrameType | None) -> None:
        raise Stopped(self.number)

    def hold(self) -> None:
        """The iteration has ended in time."""
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def listening() -> Iterator[Signals]:
    """Listen to the signals that ask for the end, until the end of the block."""
    signals = Signals()
    before = {number: signal.getsignal(number) for number in (*_handled(), signal.SIGALRM)}
    for number in _handled():
        signal.signal(number, signals.on_signal)
    signal.signal(signal.SIGALRM, signals.on_alarm)
    try:
        yield signals
    finally:
        signals.hold()
        for number, handler in before.items():
            signal.signal(number, handler)


def _handled() -> list[signal.Signals]:
    """Ctrl-C, `kill`, what SLURM sends ahead of a time limit or pre-emption, and the end of the terminal."""
    usual = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]
    return usual if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [*usual, signal.SIGHUP]  # ignored: `nohup`


def watch_parent() -> None:
    """End when the process that started this one has gone, killed perhaps: first in good order, then at any price.

    Processes of one training wait for each other without end, or for half an hour while they find each other.
    """
    parent = os.environ.pop(PARENT, "")
    if parent.isdigit():
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(143)


def as_parent() -> dict[str, str]:
    """What belongs in the environment of processes that this one starts."""
    return {PARENT: str(os.getpid())}


def is_alive(pid: int) -> bool:
    """Whether a process of this machine has that number (or belongs to someone else, who answers for it)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
