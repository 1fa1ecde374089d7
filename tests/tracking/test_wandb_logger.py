"""Weights & Biases: a run each, the whole curve on our own axis, and never in the way of a training."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reproduce.config.run import Run, digest
from reproduce.jobs.runner import train_all
from reproduce.tracking import wandb_logger
from tests.helpers.wandb_records import history, records

pytest.importorskip("wandb", reason="wandb is not installed")
Make = Callable[..., Run]


def test_two_trainings_of_one_process_are_two_runs_with_their_curves(tiny: Make) -> None:
    pair = [tiny(overrides=["execution.wandb=offline"], seed=seed) for seed in (0, 1)]
    assert train_all(pair) == 0
    for run in pair:
        folder = Path("runs") / run.folder
        assert len(list(folder.glob("wandb/offline-run-*"))) == 1
        (start,) = [record.run for record in records(folder) if record.HasField("run")][:1]
        assert start.run_id == digest([run.profile, run.name, run.seed, run.recipe_hash])[:16]
        assert (start.run_group, start.display_name, start.job_type) == (
            run.name,
            f"{run.name} seed {run.seed}",
            "train",
        )
        config = {item.key: json.loads(item.value_json) for item in start.config.update}
        assert config["model"]["depth"] == 8
        rows = [line.split(",") for line in (Path("results") / run.folder / "curve.csv").read_text().splitlines()[1:]]
        points = [
            (row["iteration"], row["train/error"], row["test/error"]) for row in history(folder) if "iteration" in row
        ]
        assert points == [(int(row[0]), float(row[3]), float(row[4])) for row in rows]


def test_the_axis_is_our_iteration(tiny: Make) -> None:
    run = tiny(overrides=["execution.wandb=offline"])
    assert train_all([run]) == 0
    metrics = {
        r.metric.glob_name or r.metric.name: r.metric.step_metric
        for r in records(Path("runs") / run.folder)
        if r.HasField("metric")
    }
    assert metrics.get("train/*") == metrics.get("test/*") == "iteration", metrics


def test_online_without_a_key_asks_nothing_and_trains(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    run = tiny(overrides=["execution.wandb=online"])
    assert train_all([run]) == 0
    assert "no WANDB_API_KEY" in capsys.readouterr().err
    assert (Path("results") / run.folder / "result.json").is_file()


def test_a_missing_server_never_stops_a_training(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    run = tiny(overrides=["execution.wandb=online"])
    began = time.monotonic()
    assert train_all([run]) == 0
    assert time.monotonic() - began < 60
    assert (Path("results") / run.folder / "result.json").is_file()
    assert not [path for path in Path("runs").rglob("*") if path.is_file() and b"0" * 40 in path.read_bytes()]


def test_a_broken_observer_is_one_line(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fall(*args: object) -> None:
        raise RuntimeError("no space left for W&B\nand a second line")

    monkeypatch.setattr(wandb_logger, "start", fall)
    assert train_all([tiny(overrides=["execution.wandb=offline"])]) == 0
    assert "W&B: not used (no space left for W&B)" in capsys.readouterr().err
