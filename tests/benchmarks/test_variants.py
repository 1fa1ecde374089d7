"""The variants of a step: each has its turns, one that cannot be had is left out, all are configurations."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import variants
from paper_tables.report import speed
from reproduce.config.load import resolve
from reproduce.utils import precision


def test_every_variant_of_a_step_has_its_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that cannot be had is named and left out."""

    def refuse(net: Any) -> Any:
        raise RuntimeError("no compiler was found\nhere")

    chosen = {name: words for name, words in variants.CPU.items() if name.startswith("bf16")}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "compile", refuse)
    monkeypatch.setattr(precision, "has_bf16", lambda: True)  # emulated where it is not there
    for name, value in {"BATCH": 4, "ROUNDS": 2, "CPU": chosen, "DEPTHS": (20,)}.items():
        monkeypatch.setattr(variants, name, value)
    found = json.loads(variants.bench().read_text())
    assert "bf16, compiled: not to be had here; no compiler was found\n" in capsys.readouterr().err
    names = ["bf16, channels_last", "bf16, contiguous", "bf16, recomputing", "bf16, one thread"]
    assert [row["variant"] for row in found["rows"]] == names
    assert all(len(row["seconds"]) == 2 and min(row["seconds"]) > 0 for row in found["rows"])
    text = speed.text(tmp_path / "results", "variants")
    assert [line.split(" | ")[0] for line in text.splitlines()[-4:]] == [f"| {name}" for name in names]


def test_the_variants_of_a_gpu_are_configurations() -> None:
    found = [resolve("cifar10-resnet-56", "demo", words).config for words in variants.GPU.values()]
    assert sum(config.execution.cuda_graph for config in found) == 4
    assert sum(config.execution.cudnn_benchmark for config in found) == 2
    assert {config.train.precision for config in found} == {"bf16", "fp32", "tf32"}
