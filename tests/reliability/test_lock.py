"""One process at a time: who holds a run is said, a dead owner holds nothing, a silent one for two minutes."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from reproduce.jobs import lock as module
from reproduce.jobs.lock import STALE_SECONDS, holder, lock, me
from reproduce.utils.errors import UserError
from tests.helpers.figures import Figure
from tests.reliability.trainings import SERVER, Training

pytestmark = pytest.mark.reliability
DEAD = 4_000_000  # beyond the largest process number


def owned(folder: Path, age: float = 0.0, **owner: object) -> None:
    """A lock file as another machine's process would leave it, last touched `age` seconds ago."""
    folder.mkdir(exist_ok=True)
    path = folder / "lock"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7, "job": None} | owner))
    os.utime(path, (time.time() - age, time.time() - age))


def test_the_owner_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with lock(tmp_path):
        found = json.loads((tmp_path / "lock").read_text())
        assert found == {"host": socket.gethostname(), "pid": os.getpid(), "job": "4711"}
        with (
            pytest.raises(UserError, match=f"pid {os.getpid()} on {socket.gethostname()}, SLURM job 4711"),
            lock(tmp_path),
        ):
            pass
    assert (tmp_path / "lock").read_text() == ""
    with lock(tmp_path):
        assert holder(tmp_path) == me()


def test_another_machines_lock_holds_while_it_beats(tmp_path: Path) -> None:
    owned(tmp_path, age=STALE_SECONDS - 20)
    with pytest.raises(UserError, match="pid 7 on elsewhere"), lock(tmp_path):
        pass
    owned(tmp_path, age=STALE_SECONDS + 20)
    with lock(tmp_path):
        assert holder(tmp_path) == me()


def test_the_same_slurm_job_continues_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owned(tmp_path, job="12")
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    with pytest.raises(UserError, match="SLURM job 12"), lock(tmp_path):
        pass
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with lock(tmp_path):
        assert holder(tmp_path) == me()


@pytest.mark.parametrize("content", ["", "\0", "{", "[1]", '{"host": 3}', '{"host": null, "pid": "x"}'])
def test_a_damaged_lock_is_nobodys(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock").write_text(content)
    with lock(tmp_path):
        assert holder(tmp_path) == me()


@pytest.mark.parametrize("supported", [True, False])
def test_a_dead_process_of_this_machine_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    if not supported:
        monkeypatch.setattr(module, "_lock_by_kernel", lambda file: None)
    owned(tmp_path, host=socket.gethostname(), pid=DEAD)
    with lock(tmp_path):
        assert holder(tmp_path) == me()


def test_without_the_kernels_locks_a_living_process_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_lock_by_kernel", lambda file: None)
    owned(tmp_path, host=socket.gethostname(), pid=os.getppid())
    with pytest.raises(UserError, match=f"pid {os.getppid()} on"), lock(tmp_path):
        pass


def test_the_lock_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.05)
    with lock(tmp_path):
        os.utime(tmp_path / "lock", (0, 0))
        end = time.monotonic() + 10
        while (tmp_path / "lock").stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.02)
        assert (tmp_path / "lock").stat().st_mtime > 0


def test_a_lock_that_was_taken_over_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop slept, another machine went on: this process stops instead of training beside it."""
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.05)
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with lock(tmp_path):
            (tmp_path / "lock").write_text(json.dumps({"host": "elsewhere", "pid": 7, "job": None}))
            end = time.monotonic() + 10
            while not heard and time.monotonic() < end:
                time.sleep(0.02)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def _hold(folder: Path) -> None:
    with lock(folder):
        time.sleep(60)


def test_a_killed_owner_is_replaced_at_once(tmp_path: Path) -> None:
    process = SERVER.Process(target=_hold, args=(tmp_path,))
    process.start()
    end = time.monotonic() + 60
    while not (tmp_path / "lock").exists() or not (tmp_path / "lock").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    process.kill()
    process.join()
    with lock(tmp_path):
        assert holder(tmp_path) == me()


def two_at_once(place: Path) -> list[int | None]:
    """Exit codes of two trainings of the same run that are started together."""
    pair = [Training(place), Training(place)]
    pair[1].log = place.with_name(place.name + "-second.log")
    for training in pair:
        training.start()
    codes = [code for training in pair for code in training.wait()]
    said = pair[0].said() + pair[1].said()
    if 2 in codes:
        assert f"is being trained by pid {pair[codes.index(0)].ranks[0].pid} on {socket.gethostname()}" in said
    return codes


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_of_two_launches_one_trains(tmp_path: Path, figure: Figure, times: int) -> None:
    """The other leaves with code 2; or it came when the first had ended, and finds the run done."""
    right = 0
    for number in range(times):
        place = tmp_path / str(number)
        codes = two_at_once(place)
        right += sorted(map(str, codes)) in (["0", "2"], ["0", "0"]) and len(list(place.rglob("result.json"))) == 1
    figure("T23", f"two launches at once, {times} times", reached=f"{right}/{times} one trained", demanded="all")
    assert right == times
