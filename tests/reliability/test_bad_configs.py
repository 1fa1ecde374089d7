"""Malformed configurations: one line naming file or key, exit code 2, at once, nothing written. Fuzzed for more."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reproduce.training.run  # noqa: F401 - its imports are none of the three seconds
from reproduce.__main__ import main
from reproduce.config import load
from tests.helpers.figures import FUZZ, Figure, refusal

pytestmark = pytest.mark.reliability
PROFILE, RECIPE, RUNS = "profiles/smoke.yaml", "cifar10.yaml", "runs.yaml"
TRAIN = ["train", "cifar10-resnet-20", "--profile", "smoke"]


def section(line: str) -> bytes:
    return f"cifar10:\n  data: {{source: synthetic, subset: 1}}\n  {line}\n".encode()


def run_entry(value: str) -> bytes:
    return f"cifar10-resnet-20: {value}\n".encode()


FILES: dict[str, tuple[str, bytes | None]] = {  # name -> file and its content (None: there is none)
    "empty": (PROFILE, b""),
    "empty recipe": (RECIPE, b""),
    "only a comment": (RECIPE, b"# nothing\n"),
    "a list": (PROFILE, b"- cifar10\n- imagenet\n"),
    "a word": (PROFILE, b"cifar10\n"),
    "a number": (RUNS, b"7\n"),
    "unclosed": (PROFILE, b"cifar10: {train: {lr: 0.1\n"),
    "tab": (PROFILE, b"cifar10:\n\ttrain: {lr: 0.1}\n"),
    "binary": (PROFILE, bytes(range(256))),
    "nul": (PROFILE, b"cifar10: \0\n"),
    "latin-1": (PROFILE, "# naïve\n".encode("latin-1") + section("train: {lr: 0.1}")),
    "utf-16 cut": (PROFILE, "cifar10: {}".encode("utf-16")[:-1]),
    "python object": (PROFILE, b"cifar10: !!python/object/apply:os.mkdir [touched]\n"),
    "unknown tag": (PROFILE, b"cifar10: !secret {}\n"),
    "duplicate key": (PROFILE, section("train: {lr: 0.1, lr: 0.2}")),
    "duplicate section": (PROFILE, section("train: {lr: 0.1}\n  train: {lr: 0.2}")),
    "two documents": (PROFILE, b"cifar10: {}\n---\ncifar10: {}\n"),
    "cycle": (PROFILE, section("train: {lr: '${cifar10.train.momentum}', momentum: '${cifar10.train.lr}'}")),
    "unknown reference": (PROFILE, section("train: {lr: '${nowhere}'}")),
    "environment": (PROFILE, section("execution: {wandb: '${oc.env:HOME}'}")),
    "recursive alias": (PROFILE, b"cifar10: &a [*a]\n"),
    "aliases upon aliases": (
        PROFILE,
        b"a: &a [x, x, x, x, x, x, x, x, x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (c + 1, c + 1, b", ".join([b"*%c" % c] * 9)) for c in range(97, 106)),
    ),
    "deep": (PROFILE, b"cifar10: " + b"[" * 3000),
    "null section": (PROFILE, b"cifar10: null\n"),
    "null part": (PROFILE, section("train: null")),
    "a list as section": (PROFILE, b"cifar10: [1, 2]\n"),
    "a list as part": (PROFILE, section("train: [1, 2]")),
    "unknown part": (PROFILE, section("trian: {lr: 0.1}")),
    "unknown key": (PROFILE, section("train: {learning_rate: 0.1}")),
    "number as key": (PROFILE, section("train: {1: 2}")),
    "list as key": (PROFILE, b"cifar10:\n  ? [a, b]\n  : c\n"),
    "merge of a number": (PROFILE, section("train: {<<: 3}")),
    "text for a number": (PROFILE, section("train: {lr: fast}")),
    "null for a number": (PROFILE, section("train: {lr: null}")),
    "nan": (PROFILE, section("train: {lr: .nan}")),
    "infinity": (PROFILE, section("train: {weight_decay: .inf}")),
    "negative": (PROFILE, section("train: {iterations: -5}")),
    "yes": (PROFILE, section("train: {iterations: yes}")),
    "a fraction": (PROFILE, section("train: {iterations: 2.5}")),
    "huge": (PROFILE, section("train: {iterations: 99999999999999999999}")),
    "a date": (PROFILE, section("train: {iterations: 2015-12-10}")),
    "milestones that fall": (PROFILE, section("train: {milestones: [3, 1]}")),
    "milestones of words": (PROFILE, section("train: {milestones: [early, late]}")),
    "unknown choice": (PROFILE, section("train: {precision: fp8}")),
    "no value": (PROFILE, section("train: {lr: ???}")),
    "of another recipe": (PROFILE, b"imagenet: {}\n"),
    "no recipe file": (RECIPE, None),
    "no runs file": (RUNS, None),
    "run of null": (RUNS, run_entry("null")),
    "run of a word": (RUNS, run_entry("cifar10")),
    "run without recipe": (RUNS, run_entry("{model: {depth: 20, shortcut: A}}")),
    "run of a strange recipe": (RUNS, run_entry("{recipe: ../secret, model: {depth: 20, shortcut: A}}")),
    "run of a listed recipe": (RUNS, run_entry("{recipe: [cifar10], model: {depth: 20, shortcut: A}}")),
    "seeds of a word": (RUNS, run_entry("{recipe: cifar10, model: {depth: 20, shortcut: A}, seeds: many}")),
    "length of a word": (RUNS, run_entry("{recipe: cifar10, model: {depth: 20, shortcut: A}, length: long}")),
    "run with an unknown part": (RUNS, run_entry("{recipe: cifar10, nets: {depth: 20}}")),
}
WORDS = {
    "depth 21": "model.depth=21",
    "no such folder": "data.source=folder",
    "devices": "execution.devices=3",
    "secret": "data.root=${oc.env:WANDB_API_KEY}",
    "line feed": "train.lr=1\n2",
    "nothing": "train.lr=",
    "a tree": "train.lr={a: 1}",
    "an import": "model.name=!!python/name:os.system",
    "gpu": "execution.accelerator=tpu",
    "group": "model.bn_group=3",
    "subset": "data.subset=-1",
    "validation": "data.validation=999999",
}


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of configs/ that the suite reads instead, and an empty folder to work in."""
    folder, place = tmp_path / "configs", tmp_path / "place"
    shutil.copytree(load.CONFIGS, folder)
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setattr(load, "CONFIGS", folder)
    load.read.cache_clear()
    yield folder
    load.read.cache_clear()


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, float]:
    """The one line that a command line ends with, exit code 2 and nothing written, and the seconds of our own."""
    began = time.process_time()
    assert main(words) == 2
    seconds = time.process_time() - began
    said = capsys.readouterr().err.strip()
    assert said, words
    assert len(said.splitlines()) == 1, said
    assert [path for path in Path().rglob("*") if path.is_file() and path.name != "lock"] == []
    return said, seconds


@pytest.mark.parametrize("name", FILES)
def test_a_malformed_file_is_one_line(
    name: str, configs: Path, capsys: pytest.CaptureFixture[str], figure: Figure
) -> None:
    path, content = FILES[name]
    if content is None:
        (configs / path).unlink()
    else:
        (configs / path).write_bytes(content)
    said, seconds = refused(TRAIN, capsys)
    assert Path(path).name in said, said
    assert seconds < 3
    figure("T14", f"{len(FILES) + len(WORDS)} malformed configurations", reached="1 line, exit 2", demanded="the same")


@pytest.mark.parametrize("name", WORDS)
def test_a_malformed_override_is_one_line(name: str, configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said, seconds = refused([*TRAIN, WORDS[name]], capsys)
    key = WORDS[name].partition("=")[0]
    assert key in said or key.partition(".")[2] in said or name == "no such folder", said
    assert seconds < 3


def takes_or_refuses_in_one_line(overrides: Sequence[str] = ()) -> None:
    said = refusal(lambda: load.resolve("cifar10-resnet-20", "smoke", overrides))
    assert said is None or (said.strip() and "\n" not in said)


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["${x}", "???"])
)
VALUES = st.recursive(LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3))
PARTS = st.sampled_from(["model", "data", "train", "eval", "execution", "more"])
KEYS = st.sampled_from(["depth", "lr", "milestones", "bn_group", "mean", "root", "wandb", "iterations", "batch_size"])
TREES = st.dictionaries(PARTS, VALUES | st.dictionaries(KEYS | st.text(max_size=5), VALUES, max_size=3), max_size=3)


@FUZZ
@given(tree=TREES)
def test_any_tree_is_taken_or_refused_in_one_line(configs: Path, tree: dict[str, object]) -> None:
    (configs / PROFILE).write_text(json.dumps({"cifar10": tree}))
    load.read.cache_clear()
    takes_or_refuses_in_one_line()


@FUZZ
@given(data=st.data())
def test_any_damage_to_a_file_is_taken_or_refused_in_one_line(configs: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([PROFILE, RECIPE, RUNS]))
    content = (load.CONFIGS.parent / "configs" / path).read_bytes()
    whole = ORIGINAL.setdefault(path, content)
    at = data.draw(st.integers(0, len(whole)))
    length, inserted = data.draw(st.integers(0, 30)), data.draw(st.binary(max_size=6) | st.text(max_size=4))
    inserted = inserted.encode() if isinstance(inserted, str) else inserted
    (configs / path).write_bytes(whole[:at] + inserted + whole[at + length :])
    load.read.cache_clear()
    takes_or_refuses_in_one_line()
    (configs / path).write_bytes(whole)


ORIGINAL: dict[str, bytes] = {}


@FUZZ
@given(key=st.sampled_from(["train.lr", "model.bn_group", "train.milestones", "data.mean", "x.y", "."]), text=st.text())
def test_any_override_is_taken_or_refused_in_one_line(key: str, text: str) -> None:
    takes_or_refuses_in_one_line([f"{key}={text}"])
