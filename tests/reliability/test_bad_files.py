"""Hostile and damaged checkpoints and result files: refused in one line, no code of theirs run, the run continues."""

import hashlib
import json
import os
import pickle
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from paper_tables.results import reader
from reproduce.__main__ import main
from reproduce.config.load import resolve
from reproduce.config.run import Run
from reproduce.jobs.runner import train_all
from reproduce.models import pretrained
from reproduce.models.resnet import build
from reproduce.training import checkpoint
from tests.helpers.figures import FUZZ, Figure, refusal
from tests.helpers.tiny import TINY

pytestmark = pytest.mark.reliability
Make = Callable[..., Run]
EVALUATE = ["evaluate", "cifar10-resnet-20", "--profile", "smoke", *TINY]


class Bomb:
    """A pickle that would make a folder: the canary."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("canary",)


def net(**changes: Any) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = dict(build(name="cifar-resnet", depth=8, shortcut="A").state_dict())
    return state | changes


def torch_file(content: object) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path)


def cut(part: float, suffix: str = ".pt") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        (save_file if path.suffix == ".safetensors" else torch.save)(net(), path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * part)])

    return write


def legacy(path: Path) -> None:
    torch.save(net() | {"bomb": Bomb()}, path, _use_new_zipfile_serialization=False)


def a_header_of_gigabytes(path: Path) -> None:
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{}")


WEIGHTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "bomb": ("w.pt", torch_file(net() | {"bomb": Bomb()})),
    "bare bomb": ("w.pt", lambda path: path.write_bytes(pickle.dumps(Bomb()))),
    "legacy bomb": ("w.pt", legacy),
    "bomb named safetensors": ("w.safetensors", torch_file(net() | {"bomb": Bomb()})),
    "empty": ("w.pt", lambda path: path.write_bytes(b"")),
    "text": ("w.pt", lambda path: path.write_text("<html>404</html>")),
    "a folder": ("w.pt", lambda path: path.mkdir()),
    "cut at 1 %": ("w.pt", cut(0.01)),
    "cut at 50 %": ("w.pt", cut(0.5)),
    "cut at 99 %": ("w.pt", cut(0.99)),
    "safetensors cut": ("w.safetensors", cut(0.5)),
    "endless header": ("w.safetensors", a_header_of_gigabytes),
    "another net": ("w.pt", torch_file(dict(build(name="cifar-resnet", depth=14, shortcut="A").state_dict()))),
    "a key missing": ("w.pt", torch_file({k: v for k, v in net().items() if k != "fc.bias"})),
    "a key too many": ("w.pt", torch_file(net(extra=torch.ones(1)))),
    "another shape": ("w.pt", torch_file(net(**{"fc.bias": torch.ones(11)}))),
    "nan": ("w.pt", torch_file(net(**{"fc.bias": torch.full((10,), float("nan"))}))),
    "infinity": ("w.safetensors", lambda path: save_file(net(**{"fc.bias": torch.full((10,), float("inf"))}), path)),
    "a list": ("w.pt", torch_file([1, 2, 3])),
    "nothing": ("w.pt", torch_file(None)),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_bad_weights_are_one_line(name: str, tiny: Make, capsys: pytest.CaptureFixture[str], figure: Figure) -> None:
    tiny()
    path, write = WEIGHTS[name]
    write(Path(path))
    assert main([*EVALUATE, "--weights", path]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(path), said
    assert "\n" not in said
    assert not Path("canary").exists()
    assert not Path("results").exists()
    figure("T16", f"{len(WEIGHTS)} malformed weights", reached="1 line, exit 2, no code run", demanded="the same")


def test_own_weights_must_be_those_of_the_result(tiny: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny()
    assert train_all([run]) == 0
    path = Path("runs") / run.folder / "final.safetensors"
    save_file(net(), path)
    capsys.readouterr()
    assert main(EVALUATE) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(str(path))
    assert "result.json" in said
    assert not list(Path("results").rglob("eval-*"))


def signed(content: bytes) -> bytes:
    return checkpoint.MARK + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def in_bytes(value: object) -> bytes:
    torch.save(value, "scratch")
    return Path("scratch").read_bytes()


def changed(**values: Any) -> Callable[[bytes, dict[str, Any]], bytes]:
    return lambda content, state: signed(in_bytes(state | values))


STATES: dict[str, Callable[[bytes, dict[str, Any]], bytes]] = {
    **{f"cut at {k}0 %": lambda content, state, k=k: content[: len(content) * k // 10] for k in range(10)},  # type: ignore[misc]
    "a byte less": lambda content, state: content[:-1],
    "a byte more": lambda content, state: content + b"\0",
    "a flipped bit": lambda content, state: content[:-5000] + bytes([content[-5000] ^ 1]) + content[-4999:],
    "another sum": lambda content, state: content.replace(content[7:15], b"00000000", 1),
    "bomb": lambda content, state: signed(pickle.dumps(Bomb())),
    "bomb inside": changed(bomb=Bomb()),
    "the mark of a zip file before it": lambda content, state: b"PK" + content,
    "plain bomb": lambda content, state: in_bytes(state | {"bomb": Bomb()}),
    "not a state": lambda content, state: signed(in_bytes([1, 2])),
    "a newer form": lambda content, state: signed(in_bytes({"version": 9, "weights": state["net"]})),
    "another net": changed(net=dict(build(name="cifar-resnet", depth=14, shortcut="A").state_dict())),
    "a tensor missing": lambda content, state: changed(net={k: v for k, v in state["net"].items() if k != "fc.bias"})(
        content, state
    ),
    "no net": changed(net=None),
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two states of a run that was broken off, and none of its other files."""
    place = tmp_path_factory.mktemp("stopped")
    module = build(name="cifar-resnet", depth=8, shortcut="A")
    run = resolve("cifar10-resnet-20", "smoke", TINY)
    whole: dict[str, Any] = dict.fromkeys(checkpoint.KEYS) | {"recipe_hash": run.recipe_hash}
    for iteration in (4, 5):
        checkpoint.save(place, whole | {"net": module.state_dict(), "iteration": iteration})
    return place


@pytest.mark.parametrize("name", STATES)
def test_a_bad_state_falls_back_on_the_one_before(
    name: str, stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    figure: Figure,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.copytree(stopped, "run")
    path = Path("run/state-00000005.pt")
    state = checkpoint.load(path)
    path.write_bytes(STATES[name](path.read_bytes(), state))
    shapes = {key: value.shape for key, value in net().items()}
    found = checkpoint.newest(Path("run"), state["recipe_hash"], shapes)
    assert found is not None
    assert found["iteration"] == 4
    said = capsys.readouterr().err.strip()
    assert said.startswith(str(path)), said
    assert "trying the one before" in said
    assert "\n" not in said
    assert not Path("canary").exists()
    figure("T16", f"{len(STATES)} malformed states", reached="the one before, 1 line", demanded="the same")


@FUZZ
@given(data=st.data())
def test_any_damage_to_weights_is_read_or_refused_in_one_line(tmp_path: Path, data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from([".pt", ".safetensors"]))
    whole = original(tmp_path, suffix)
    at = data.draw(st.integers(0, len(whole)))
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(whole[:at] + data.draw(st.binary(max_size=8)) + whole[at + data.draw(st.integers(0, 60)) :])
    said = refusal(lambda: pretrained.read_state(path))
    assert said is None or (said.startswith(str(path)) and "\n" not in said)


def original(tmp_path: Path, suffix: str) -> bytes:
    path = tmp_path / f"original{suffix}"
    if not path.exists():
        small = {"conv1.weight": torch.ones(2, 3), "conv2_x.0.bn1.weight": torch.ones(4), "fc.bias": torch.ones(5)}
        (save_file if suffix == ".safetensors" else torch.save)(small, path)
    return path.read_bytes()


@FUZZ
@given(data=st.data())
def test_any_damage_to_a_state_is_seen(stopped: Path, tmp_path: Path, data: st.DataObject) -> None:
    whole = (stopped / "state-00000005.pt").read_bytes()
    at, added = data.draw(st.integers(0, len(whole))), data.draw(st.binary(max_size=8))
    content = whole[:at] + added + whole[at + data.draw(st.integers(0, 60)) :]
    path = tmp_path / "state"
    path.write_bytes(content)
    if content != whole:
        with pytest.raises(ValueError, match="damaged|not a state"):
            checkpoint.load(path)


RESULT = {
    "run": "cifar10-resnet-20", "seed": 0, "profile": "smoke", "iterations": 3, "parameters": 9, "metrics": {},
    "provenance": {"data": {"fingerprint": "x"}, "precision": "fp32"},
}  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("cifar10-resnet-20")
VALUES = st.recursive(LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=6), v, max_size=3))


@FUZZ
@given(values=st.dictionaries(st.sampled_from([*RESULT, "weights_sha256", "warmup_iterations"]), VALUES, max_size=4))
def test_any_result_file_is_read_or_skipped_with_a_reason(tmp_path: Path, values: dict[str, Any]) -> None:
    folder = tmp_path / "smoke/cifar10-resnet-20/seed-0"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(RESULT | values))
    found = reader.read(tmp_path, "smoke")
    assert len(found.skipped) + len(found.all_runs) == 1
    assert all("\n" not in reason for _, reason in found.skipped)


@FUZZ
@given(name=st.sampled_from(["result.json", "curve.csv", "responses.csv", "eval-single.json"]), content=st.binary())
def test_any_bytes_as_a_result_file_stop_nothing(tmp_path: Path, name: str, content: bytes) -> None:
    folder = tmp_path / "smoke/cifar10-resnet-20/seed-0"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    (folder / "result.json").write_text(json.dumps(RESULT | {"metrics": {"test_error": 9.0}}))
    (folder / name).write_bytes(content)
    found = reader.read(tmp_path, "smoke")
    assert len(found.all_runs) <= 1
    assert all(reason and "\n" not in reason for _, reason in found.skipped)


def test_names_of_machines_do_not_reach_results(tiny: Make) -> None:
    run = tiny()
    assert train_all([run]) == 0
    text = (Path("results") / run.folder / "result.json").read_text()
    assert socket.gethostname() not in text or len(socket.gethostname()) < 4
