"""A disk that is full, or fails at any write: one line, an exit code, nothing lost; the same command continues."""

import errno
import os
import random
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reproduce.config.run import Run
from reproduce.jobs.runner import train_all
from reproduce.training import checkpoint
from reproduce.utils.files import sweep
from tests.helpers.figures import Figure
from tests.reliability.trainings import KEPT, SERVER, Training, begin, is_readable

pytestmark = pytest.mark.reliability
Make = Callable[..., Run]
SHORT = ("train.iterations=3", "train.milestones=[2]", "train.test_every=2")


class Faults:
    """The k-th operation that writes fails: an open for writing, a write, a flush to disk, a rename, a new folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, at: int) -> None:
        self.number, self.at, self.count, self.fired = number, at, 0, ""
        untouched = Path.open

        def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if not set(mode) & set("wa"):
                return untouched(path, mode, *args, **kwargs)
            self.step(f"open {path}")
            file: Any = untouched(path, mode, *args, **kwargs)
            return Failing(file, self) if "b" in mode else file

        monkeypatch.setattr(Path, "open", opened)
        for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "mkdir")):
            monkeypatch.setattr(owner, name, self.wrapped(name, getattr(owner, name)))

    def wrapped(self, name: str, untouched: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any, **kwargs: Any) -> Any:
            self.step(f"{name} {args[0]}")
            return untouched(*args, **kwargs)

        return operation

    def step(self, what: str) -> None:
        self.count += 1
        if self.count == self.at:
            self.fired = what
            raise OSError(self.number, os.strerror(self.number), what)


class Failing:
    """A file whose writes may fail; half of the content has then gone to the disk, as it does there."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self.file, self.faults = file, faults

    def __enter__(self) -> "Failing":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, content: bytes) -> int:
        try:
            self.faults.step("write")
        except OSError:
            self.file.write(content[: len(content) // 2])
            raise
        return int(self.file.write(content))


def outcome(run: Run) -> list[bytes]:
    return [(Path(top) / run.folder / name).read_bytes() for top, name in zip(("runs", "results"), KEPT, strict=True)]


def fail_at(tiny: Make, capsys: pytest.CaptureFixture[str], number: int, k: int) -> tuple[str, list[bytes]]:
    """Train with a fault at the k-th write, look at what is there, train again; (what failed, outcome)."""
    run = tiny(overrides=SHORT)
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch, number, k)
        code = train_all([run])
    said = [line for line in capsys.readouterr().err.strip().splitlines() if "iteration" not in line]
    assert code in (0, 1)
    assert len(said) == code, (faults.fired, said)
    assert not code or os.strerror(number) in said[0]
    for path in (Path("runs") / run.folder).glob("state-*.pt"):
        checkpoint.load(path)
    assert train_all([run]) == 0, faults.fired
    left = {path.name for top in ("runs", "results") for path in (Path(top) / run.folder).iterdir()}
    assert left <= {*KEPT, "result.json", "lock", "progress.json"}, (faults.fired, left)
    capsys.readouterr()
    return faults.fired, outcome(run)


def every(tiny: Make, capsys: pytest.CaptureFixture[str], number: int, step: int) -> tuple[int, int]:
    """Faults at k = 1, 1 + step, ... until none fires; (faults, of them with the outcome of an untouched run)."""
    run, fired, identical, k = tiny(overrides=SHORT), 0, 0, 1
    assert train_all([run]) == 0
    peace = outcome(run)
    while True:
        for top in ("runs", "results"):
            shutil.rmtree(top)
        what, found = fail_at(tiny, capsys, number, k)
        if not what:
            return fired, identical
        fired, identical, k = fired + 1, identical + (found == peace), k + step


def test_some_write_fails(tiny: Make, capsys: pytest.CaptureFixture[str], figure: Figure) -> None:
    fired, identical = every(tiny, capsys, errno.ENOSPC, step=13)
    figure("T5", "every 13th write fails: disk full", reached=f"{identical}/{fired} continued", demanded="all")
    assert identical == fired > 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_the_kth_write_fails_for_every_k(
    tiny: Make, capsys: pytest.CaptureFixture[str], figure: Figure, number: int
) -> None:
    fired, identical = every(tiny, capsys, number, step=1)
    what = f"the k-th write fails, for every k: {errno.errorcode[number]}"
    figure("T5", what, reached=f"{identical}/{fired} continued", demanded="all")
    assert identical == fired > 20


def _limited(training: Training, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    begin(training.place, training.words, {}, training.log)


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path, figure: Figure) -> None:
    """RLIMIT_FSIZE below the size of a state: the state of the start before stays, and is continued."""
    peace, training = Training(tmp_path / "peace"), Training(tmp_path / "run")
    assert peace.run() == [0]
    training.start()
    training.wait_for_a_state()
    training.signal(15)
    assert training.wait() == [143]
    before = {path: path.read_bytes() for path in training.place.glob("runs/*/*/*/state-*.pt")}
    training.clear_log()
    full = SERVER.Process(target=_limited, args=(Training(training.place), 200_000))
    full.start()
    full.join(60)
    lines = [line for line in training.said().splitlines() if "iteration" not in line]
    assert (full.exitcode, len(lines)) == (1, 1), training.said()
    assert "state-" in lines[0]
    assert "bytes to be written" in lines[0]
    assert {path: path.read_bytes() for path in training.place.glob("runs/*/*/*/state-*.pt")} == before
    assert training.run() == [0]
    assert (training.outcome(), training.left_behind()) == (peace.outcome(), [])
    figure("T6", "full disk", reached="exit 1, 1 line, states kept, continued", demanded="the same")


def _keep_saving(folder: Path, temporary: Path, megabytes: int) -> None:
    os.environ["TMPDIR"] = str(temporary)
    state: dict[str, Any] = dict.fromkeys(checkpoint.KEYS) | {"net": {"w": torch.zeros(megabytes << 18)}}
    for iteration in range(1000):
        checkpoint.save(folder, state | {"iteration": iteration})


def killed_in_save(tmp_path: Path, temporary: Path, kills: int, megabytes: int) -> tuple[int, int]:
    """Kill a process that does nothing but save; (damaged states under a final name, files left behind)."""
    damaged, draw, folder = 0, random.Random(4), tmp_path / "run"
    for _ in range(kills):
        process = SERVER.Process(target=_keep_saving, args=(folder, temporary, megabytes))
        process.start()
        end = time.monotonic() + 60
        while not list(folder.glob("state-*")) and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.3))
        process.kill()
        process.join()
        damaged += sum(not is_readable(path) for path in folder.glob("state-*.pt"))
        checkpoint.clear(folder)
        sweep(folder)
    return damaged, len([*folder.iterdir(), *temporary.iterdir()])


def other_file_system(tmp_path: Path) -> Path | None:
    """A folder on another file system than the tests', as TMPDIR is on most clusters; None where there is none."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK) or shared.stat().st_dev == tmp_path.stat().st_dev:
        return None
    return Path(tempfile.mkdtemp(dir=shared))


@pytest.mark.parametrize(
    ("kills", "megabytes"), [(4, 8), pytest.param(40, 120, marks=pytest.mark.slow)], ids=["short", "full"]
)
def test_a_kill_inside_a_save_damages_nothing(tmp_path: Path, figure: Figure, kills: int, megabytes: int) -> None:
    temporary = other_file_system(tmp_path)
    if temporary is None:
        pytest.skip("there is no second file system to write to")
    try:
        damaged, left = killed_in_save(tmp_path, temporary, kills, megabytes)
    finally:
        shutil.rmtree(temporary)
    what = f"kill -9 inside a save of {megabytes} MB, TMPDIR on another file system"
    figure("T4", what, reached=f"{damaged}/{kills} damaged, {left} left behind", demanded="0 and 0")
    assert (damaged, left) == (0, 0)


def test_a_flipped_bit_is_damage(tmp_path: Path) -> None:
    """torch.load takes most of them for weights; the sum does not."""
    state: dict[str, Any] = dict.fromkeys(checkpoint.KEYS) | {"net": {"w": torch.zeros(100)}, "iteration": 1}
    path = checkpoint.save(tmp_path, state)
    content, draw = path.read_bytes(), random.Random(0)
    for _ in range(50):
        flipped, at = bytearray(content), draw.randrange(len(content))
        flipped[at] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        assert not is_readable(path)
