"""results/architectures.json is what the nets are: counted anew, and in agreement with the runs that train them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from reproduce.evaluation import architectures

ROOT = Path(__file__).resolve().parents[2]
COMMITTED: dict[str, dict[str, Any]] = json.loads((ROOT / "results" / "architectures.json").read_text())
SLOW = {"cifar10-resnet-1202"}
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in architectures.nets()]


def blocks(name: str) -> list[dict[str, Any]]:
    """The blocks of a net one by one."""
    return [p for p in COMMITTED[name]["parts"] if p["name"].endswith("_x") for _ in range(p["times"])]


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_file_is_what_the_net_is(name: str) -> None:
    assert architectures.describe(name) == COMMITTED[name]


def test_the_committed_file_holds_every_net_in_order() -> None:
    assert list(COMMITTED) == architectures.nets()
    convolutions = [layer for part in COMMITTED["vgg-19"]["parts"] for layer in part["layers"] if "kernel" in layer]
    assert [layer["filters"] for layer in convolutions if layer["kind"] == "conv"] == [64] * 2 + [128] * 2 + [
        256
    ] * 4 + [512] * 8


@pytest.mark.parametrize(("name", "projections"), [("A", 0), ("B", 3), ("C", 16)])
def test_options_differ_in_their_shortcuts_alone(name: str, projections: int) -> None:
    """Option C has thirteen projections more than B (Sec. 4.1)."""
    found = blocks(f"imagenet-resnet-34-{name}")
    assert sum(block["shortcut"]["kind"] == "projection" for block in found) == projections
    assert sum(block["shortcut"]["increase"] for block in found) == 3
    assert [block["layers"] for block in found] == [block["layers"] for block in blocks("imagenet-plain-34")]


def test_every_run_trains_the_net_that_is_counted() -> None:
    """The 34-layer net of footnote 3 and ResNet-110 without its warm-up are nets that stand there already."""
    runs = yaml.safe_load((ROOT / "configs" / "runs.yaml").read_text())
    assert set(runs) - set(COMMITTED) == {
        *("cifar10-resnet-110-no-warmup", "imagenet-plain-34-3x"),
        "imagenet-resnet-50-v1.5",  # as many layers, parameters and shortcuts, at another stride
    }
    for name in set(runs) & set(COMMITTED):
        net = runs[name]["model"]
        assert (COMMITTED[name]["layers"], COMMITTED[name]["shortcut"]) == (net["depth"], net["shortcut"]), name
