"""SIGTERM, Ctrl-C and the end of a terminal: everything gone within ten seconds, state saved, no traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reproduce.utils import signals as waiting
from reproduce.utils.signals import Signals, Stopped, listening
from tests.helpers.figures import Figure
from tests.reliability.trainings import WORDS, Training, free_port

pytestmark = pytest.mark.reliability
ROOT = Path(__file__).resolve().parent.parent.parent
LONG = (*WORDS, "train.iterations=100000", "train.milestones=[]", "train.test_every=100000")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 143), (signal.SIGUSR1, 143)]
)
def test_a_signal_ends_a_training_in_good_order(
    tmp_path: Path, figure: Figure, number: signal.Signals, code: int
) -> None:
    if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("started with SIGHUP ignored (nohup), as a training then ignores it too")
    training = Training(tmp_path / "run", LONG)
    training.start()
    training.wait_for_a_state()
    began = time.monotonic()
    training.signal(number)
    assert training.wait() == [code], training.said()
    seconds = time.monotonic() - began
    states = sorted(path.name for path in training.place.glob("runs/*/*/*/state-*.pt"))
    assert "Traceback" not in training.said()
    assert f"stopped by {number.name}" in training.said()
    assert seconds < 10
    training.start()  # continues where it stopped
    end = time.monotonic() + 60
    while "continuing at iteration" not in training.said() and time.monotonic() < end:
        time.sleep(0.02)
    training.signal(signal.SIGKILL)
    training.wait()
    assert f"continuing at iteration {int(states[-1][6:14])} of" in training.said()
    test = "T13" if number == signal.SIGINT else "T12"
    figure(test, f"{number.name}, 1 process", reached=f"exit {code}, {seconds:.1f} s", demanded=f"exit {code}, 10 s")


def test_a_second_ctrl_c_does_not_wait() -> None:
    signals = Signals()
    signals.patient = True
    try:
        signals.on_signal(signal.SIGINT, None)
        assert signals.number == signal.SIGINT
        with pytest.raises(Stopped) as stopped:
            signals.on_signal(signal.SIGINT, None)
    finally:
        signals.hold()
    assert stopped.value.exit_code == 130


def test_an_iteration_that_does_not_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.2)
    with listening() as signals:
        signals.patient = True
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped) as stopped:
            time.sleep(5)
    assert stopped.value.exit_code == 143
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_process_does_not_outlive_its_parent(tmp_path: Path) -> None:
    """Killed outright, a launcher takes the processes it started with it."""
    child = "import time; from reproduce.utils.signals import watch_parent; watch_parent(); time.sleep(60)"
    code = (
        "import os, subprocess, sys, time; from reproduce.utils.signals import as_parent\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], env=os.environ | as_parent())\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(1)
    parent.kill()
    parent.communicate()
    assert gone(pid, seconds=20)


def gone(pid: int, seconds: float) -> bool:
    """Whether a process ends within so many seconds; one that has ended and was not waited for counts as gone."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_two_processes_of_lightning_are_gone_within_ten_seconds(
    tmp_path: Path, figure: Figure, number: signal.Signals, code: int
) -> None:
    """Started as users do, `execution.devices=2`: the signal goes to the first process alone."""
    words = [sys.executable, "-m", "reproduce", *LONG, "execution.devices=2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_PORT": str(free_port())}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=log, stdout=log)
    said = (tmp_path / "log").read_text
    end = time.monotonic() + 300
    while not list(tmp_path.glob("runs/*/*/*/state-*.pt")):
        assert time.monotonic() < end, said()
        assert process.poll() is None, said()
        time.sleep(0.1)
    others = children(process.pid)
    assert others
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(60) == code, said()
    assert all(gone(pid, 60) for pid in others)
    seconds = time.monotonic() - began
    assert "Traceback" not in said()
    assert said().count("stopped by") == (number != signal.SIGKILL)
    demanded = f"exit {code}, 10 s"
    figure("T12", f"{number.name}, 2 processes", reached=f"exit {code}, all gone in {seconds:.1f} s", demanded=demanded)
    assert seconds < 10
