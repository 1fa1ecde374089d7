"""What tests of trainings share: reading results, breaking off, comparing weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reproduce.config.run import Run
from reproduce.jobs.runner import train_all
from reproduce.training import checkpoint
from reproduce.training.callbacks import ResumeCallback


def result(run: Run) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((Path("results") / run.folder / "result.json").read_text())
    return value


def curve(run: Run) -> str:
    return (Path("results") / run.folder / "curve.csv").read_text()


def forget(run: Run) -> None:
    (Path("results") / run.folder / "result.json").unlink()
    checkpoint.clear(Path("runs") / run.folder)


def break_at(monkeypatch: pytest.MonkeyPatch, iteration: int) -> None:
    """Make the next training fall over once iteration `iteration` is done (after the state was saved)."""
    untouched = ResumeCallback.on_train_batch_end

    def fall(self: ResumeCallback, trainer: Any, module: Any, *args: Any) -> None:
        untouched(self, trainer, module, *args)
        if module.iteration == iteration:
            monkeypatch.setattr(ResumeCallback, "on_train_batch_end", untouched)
            raise RuntimeError("the power went")

    monkeypatch.setattr(ResumeCallback, "on_train_batch_end", fall)


def difference(one: Path, other: Path) -> float:
    """The largest one between the final weights and moving averages of two trainings in float64.

    Relative for values above 1: the averages of raw pixels' variances are in the thousands.
    """
    states = [load_file(next(place.glob("runs/*/*/*/final.safetensors"))) for place in (one, other)]
    assert states[0].keys() == states[1].keys()
    assert any("running_var" in name for name in states[0])
    assert {value.dtype for state in states for value in state.values()} == {torch.float64, torch.int64}
    pairs = [(state, states[1][name]) for name, state in states[0].items()]
    return max(float(((a - b).abs() / a.abs().clamp(min=1)).max()) for a, b in pairs)


def outcome(run: Run) -> tuple[str, str]:
    assert train_all([run]) == 0
    return result(run)["weights_sha256"], curve(run)
