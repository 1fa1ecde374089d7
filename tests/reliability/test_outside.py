"""What is outside cannot hurt: no W&B server, package or home folder. No secret of the environment reaches a file."""

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lightning.pytorch.loggers.logger import DummyLogger

from reproduce.config.run import Run
from reproduce.jobs.runner import train_all
from reproduce.tracking import wandb_logger
from tests.helpers.figures import Figure
from tests.helpers.tiny import TINY
from tests.reliability.trainings import WORDS, Training, seconds_of

pytestmark = pytest.mark.reliability
Make = Callable[..., Run]
CANARY = "canary0123456789abcdef0123456789abcdef01"


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that accepts and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        ended, held = threading.Event(), []

        def accept() -> None:
            server.settimeout(0.1)
            while not ended.is_set():
                try:
                    held.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        thread.join()
        for connection in held:
            connection.close()


def seconds_to_notice(monkeypatch: pytest.MonkeyPatch, url: str) -> float:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    monkeypatch.setenv("WANDB_BASE_URL", url)
    began = time.monotonic()
    assert wandb_logger._possible("online") == "offline"
    return time.monotonic() - began


def test_a_server_that_is_not_there_costs_no_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], figure: Figure
) -> None:
    seconds = seconds_to_notice(monkeypatch, "http://127.0.0.1:9")
    assert len(capsys.readouterr().err.splitlines()) == 1
    figure("T18", "W&B server refuses", reached=f"{seconds:.1f} s, 1 warning", demanded="5 s, 1 warning")
    assert seconds < 5


def test_a_server_that_never_answers_costs_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], figure: Figure, silent_server: str
) -> None:
    seconds = seconds_to_notice(monkeypatch, silent_server)
    assert len(capsys.readouterr().err.splitlines()) == 1
    figure("T18", "W&B server accepts and is silent", reached=f"{seconds:.1f} s, 1 warning", demanded="5 s, 1 warning")
    assert seconds < 5


@pytest.mark.slow
def test_a_training_with_a_silent_server_loses_seconds_only(tmp_path: Path, figure: Figure, silent_server: str) -> None:
    """The whole command, against the same with `offline`: its own service takes seconds to start in both."""
    pytest.importorskip("wandb", reason="wandb is not installed")
    environment = {"WANDB_API_KEY": CANARY, "WANDB_BASE_URL": silent_server}
    offline, online = (
        Training(tmp_path / mode, (*WORDS, f"execution.wandb={mode}"), environment=environment)
        for mode in ("offline", "online")
    )
    lost = -seconds_of(offline) + seconds_of(online)
    warnings = [line for line in online.said().splitlines() if "W&B" in line]
    kept = len(list(online.place.glob("runs/*/*/*/wandb/offline-run-*")))
    reached = f"{lost:.1f} s, {len(warnings)} warning, {kept} offline folder"
    what = "a training whose W&B server accepts and is silent"
    figure("T18", what, reached=reached, demanded="5 s, 1 warning, 1 offline folder")
    assert online.outcome() == offline.outcome()
    assert (len(warnings), kept) == (1, 1), online.said()
    assert lost < 5


def files_with(needle: str) -> list[str]:
    places = [path for top in ("runs", "results", "exports") for path in Path(top).rglob("*") if path.is_file()]
    return [str(path) for path in places if needle.encode() in path.read_bytes()]


def test_secrets_reach_no_file(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], figure: Figure
) -> None:
    """In the key of W&B, elsewhere in the environment, and on the command line (a path may hold one, too)."""
    pytest.importorskip("wandb", reason="wandb is not installed")
    for name in ("WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_TOKEN"):
        monkeypatch.setenv(name, CANARY)
    words = ["execution.wandb=offline", f"data.root=/secret/{CANARY}"]
    monkeypatch.setattr(sys, "argv", ["reproduce", "train", "cifar10-resnet-20", *TINY, *words])
    run = tiny(overrides=words)
    assert train_all([run]) == 0
    out, err = capsys.readouterr()
    assert list(Path("runs").rglob("*.wandb"))  # there is such a file, and it is looked into
    found = files_with(CANARY)
    figure("T21", "secrets in environment and argv", reached=f"in {len(found)} files", demanded="0 files")
    assert found == []
    assert CANARY not in out + err


@pytest.mark.parametrize("lack", ["package", "home", "home that is read-only"])
def test_a_training_needs_neither_wandb_nor_a_home(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lack: str
) -> None:
    run = tiny(overrides=["execution.wandb=" + ("offline" if lack == "package" else "online")])
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("NETRC", raising=False)
    if lack == "package":
        monkeypatch.setitem(sys.modules, "wandb", None)
        assert wandb_logger.logger(run, Path("runs")) is None
        assert "W&B: not used" in capsys.readouterr().err
        return
    monkeypatch.setattr(wandb_logger, "start", lambda run, folder, mode: print(mode))
    if lack == "home":
        monkeypatch.setattr(Path, "home", no_home)
    else:
        monkeypatch.setenv("HOME", "/proc")
    wandb_logger.logger(run, Path("runs"))
    out, err = capsys.readouterr()
    assert out.strip() == "offline"
    assert err.count("\n") == 1


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_an_observer_that_dies_takes_nothing_with_it(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def die(*args: object) -> None:
        raise BrokenPipeError("the service has gone")

    monkeypatch.setattr(wandb_logger, "logger", lambda run, folder: DummyLogger())
    monkeypatch.setattr(wandb_logger, "finish", lambda *args: None)
    monkeypatch.setattr(wandb_logger, "point", die)
    assert train_all([tiny()]) == 0
    assert capsys.readouterr().err.count("the service has gone") == 1  # for three points
