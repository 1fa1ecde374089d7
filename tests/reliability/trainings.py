"""Trainings as processes that start at once: forked from a server that has imported torch and Lightning already."""

import csv
import importlib
import multiprocessing
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reproduce.training import checkpoint
from tests.helpers.tiny import TINY

WORDS = ("train", "cifar10-resnet-20", "--profile", "smoke", *TINY)
CLEARED = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "SLURM_NTASKS", "SLURM_JOB_ID", "REPRODUCE_LABEL", "WANDB_API_KEY")
KEEP_STATES = "TEST_KEEPS_STATES"  # environment: no state is dropped, not even of a run that is done
IN_DOUBLE = "TEST_IN_DOUBLE"  # environment: the training computes in float64
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["reproduce.training.run", "reproduce.jobs.runner", "reproduce.__main__"])


def begin(place: Path, words: Sequence[str], environment: dict[str, str], log: Path) -> None:
    """In the new process: the command line, with its own folder, environment and output."""
    from reproduce.__main__ import main

    os.chdir(place)
    for name in CLEARED:
        os.environ.pop(name, None)
    os.environ.update({"OMP_NUM_THREADS": "1"} | environment)
    if IN_DOUBLE in environment:
        importlib.import_module("tests.helpers.in_double")
    if KEEP_STATES in environment:
        checkpoint.KEEP, checkpoint.clear = 1000, lambda folder: None
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.exit(main(words))


@dataclass
class Training:
    """One command line in a folder of its own; on several processes as torchrun would start them."""

    place: Path
    words: Sequence[str] = WORDS
    processes: int = 1
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.log = self.place.with_name(self.place.name + ".log")
        self.place.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        shared = {"WORLD_SIZE": str(self.processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        self.ranks = []
        for rank in range(self.processes):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), **shared} if self.processes > 1 else {}
            words = [*self.words, *([f"execution.devices={self.processes}"] if self.processes > 1 else [])]
            process = SERVER.Process(target=begin, args=(self.place, words, own | self.environment, self.log))
            process.start()
            self.ranks.append(process)

    def signal(self, number: int, rank: int = 0) -> None:
        pid = self.ranks[rank].pid
        assert pid is not None
        if self.ranks[rank].is_alive():
            os.kill(pid, number)

    def wait(self, seconds: float = 120) -> list[int | None]:
        """Exit codes. As an agent does, the rest is killed some seconds after the first that failed."""
        end = time.monotonic() + seconds
        while any(process.is_alive() for process in self.ranks):
            if any(process.exitcode for process in self.ranks):
                end = min(end, time.monotonic() + 10)
            if time.monotonic() > end:
                for process in self.ranks:
                    process.kill()
                end = float("inf")
            time.sleep(0.02)
        return [process.exitcode for process in self.ranks]

    def run(self) -> list[int | None]:
        self.start()
        return self.wait()

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def clear_log(self) -> None:
        self.log.unlink(missing_ok=True)

    def outcome(self) -> dict[str, bytes]:
        """What must not depend on interruptions: weights and curve."""
        return {name: next(self.place.glob(f"*/smoke*/*/seed-0/{name}")).read_bytes() for name in KEPT}

    def curve(self) -> list[dict[str, str]]:
        with next(self.place.glob("results/*/*/*/curve.csv")).open(newline="") as file:
            return list(csv.DictReader(file))

    def left_behind(self) -> list[str]:
        """Files that a training without interruptions does not leave."""
        names = sorted(str(path.relative_to(self.place)) for path in self.place.rglob("*") if path.is_file())
        return [name for name in names if Path(name).name not in (*KEPT, "result.json", "lock", "progress.json")]

    def unreadable(self) -> int:
        """States under their final name that cannot be read."""
        return sum(not is_readable(path) for path in self.place.glob("runs/*/*/*/state-*.pt"))

    def wait_for_a_state(self) -> None:
        end = time.monotonic() + 60
        while not list(self.place.glob("runs/*/*/*/state-*.pt")):
            assert time.monotonic() < end, self.said()
            assert any(process.is_alive() for process in self.ranks), self.said()
            time.sleep(0.01)


KEPT = ("final.safetensors", "curve.csv")


def is_readable(path: Path) -> bool:
    try:
        checkpoint.load(path)
    except ValueError as error:
        return "No such file" in str(error)  # dropped for a newer one just now
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def seconds_of(training: Training) -> float:
    """How long a training takes from its start to its end, once the server has imported what it needs."""
    warm = SERVER.Process(target=int)
    warm.start()
    warm.join()
    began = time.monotonic()
    assert set(training.run()) == {0}, training.said()
    return time.monotonic() - began


def kill_until_done(training: Training, kills: int, length: float, draw: random.Random) -> tuple[int, int]:
    """Kill at `kills` random moments, starting again each time, then let it end. Returns (kills made, unreadable).

    Each start gets its share of the `length` of a training, so that the last one still finds something to kill.
    """
    made = unreadable = 0
    for _ in range(kills):
        training.start()
        time.sleep(draw.uniform(0, length / kills))
        victim = draw.randrange(training.processes)
        made += training.ranks[victim].is_alive()
        training.signal(signal.SIGKILL, victim)
        training.wait()
        unreadable += training.unreadable()
    assert set(training.run()) == {0}, training.said()
    return made, unreadable
