"""ImageNet end to end on the synthetic images: train, break off, continue, several processes, the plateau."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from reproduce.config.load import resolve
from reproduce.config.run import Run
from reproduce.jobs.runner import train_all
from tests.helpers.runs import break_at, difference

ROOT = Path(__file__).resolve().parents[2]
RUN = "imagenet-resnet-18-A"
# Four updates of eight images, tested after the second and at the end; fp32, so that sums may be compared closely.
SHORT = (
    "train.iterations=4",
    "train.batch_size=8",
    "train.test_every=2",
    "train.milestones=[2]",
    "train.precision=fp32",
    "eval.precision=fp32",
    "execution.checkpoint_seconds=0",
)
Make = Callable[..., Run]


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.chdir(tmp_path)
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE", "SLURM_NTASKS", "REPRODUCE_LABEL"):
        monkeypatch.delenv(name, raising=False)

    def make(overrides: Sequence[str] = (), seed: int | None = None) -> Run:
        return resolve(RUN, "smoke", [*SHORT, *overrides], seed)

    return make


def result(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path("results") / run.folder / "result.json").read_text())
    return found


def curve(run: Run) -> list[dict[str, str]]:
    with (Path("results") / run.folder / "curve.csv").open() as file:
        return list(csv.DictReader(file))


def test_an_imagenet_run_breaks_off_and_continues_to_the_same_bits(
    short: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = short()
    assert train_all([straight]) == 0
    whole = result(straight)
    rows = curve(straight)
    assert [row["iteration"] for row in rows] == ["2", "4"]
    assert whole["metrics"]["top1_error"] == float(rows[-1]["test_error"])
    assert whole["metrics"]["top5_error"] == float(rows[-1]["test_top5_error"])
    assert whole["metrics"]["top5_error"] <= whole["metrics"]["top1_error"]
    assert (whole["n_test"], whole["multiply_adds"], whole["layers"]) == (10, 1_794_298_880, 18)
    (Path("results") / straight.folder / "result.json").unlink()
    (Path("runs") / straight.folder / "final.safetensors").unlink()
    break_at(monkeypatch, 3)
    assert train_all([straight]) == 1
    assert train_all([straight]) == 0
    again = result(straight)
    assert again["provenance"]["resumed"] == 1
    assert (again["weights_sha256"], again["metrics"]) == (whole["weights_sha256"], whole["metrics"])


def test_a_plateau_of_held_out_images_lowers_the_rate(short: Make) -> None:
    """A gain of 100 points is never reached: the rate falls at each point, from the second interval on."""
    words = ["train.lr_policy=plateau", "train.plateau_watch=validation", "data.validation=3"]
    run = short([*words, "train.plateau_patience=1", "train.plateau_gain=100", "train.iterations=6"])
    assert train_all([run]) == 0
    rows = curve(run)
    assert [float(row["lr"]) for row in rows] == pytest.approx([0.1, 0.1, 0.01])
    assert {round(float(row["validation_error"]) * 3 / 100, 6) for row in rows} <= {0.0, 1.0, 2.0, 3.0}


def launched(folder: Path, devices: int, *words: str, program: str = "reproduce") -> dict[str, Any]:
    """`train` in processes of its own, as a user starts it."""
    folder.mkdir()
    environment = {key: value for key, value in os.environ.items() if key not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", program, "train", RUN, "--profile", "smoke"]
    command += [*SHORT, f"execution.devices={devices}", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    [path] = folder.glob("results/*/*/seed-0/result.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_one_process_and_two_compute_the_same_training_in_groups(tmp_path: Path) -> None:
    """BN over groups of four images: one process with two groups, two with one each; in float64 equal to rounding."""
    words = ("model.bn_group=4", "train.lr=0.001")
    one = launched(tmp_path / "one", 1, *words, program="tests.helpers.in_double")
    two = launched(tmp_path / "two", 2, *words, program="tests.helpers.in_double")
    assert (one["provenance"]["processes"], two["provenance"]["processes"]) == (1, 2)
    assert (one["n_test"], two["n_test"]) == (10, 10)
    assert difference(tmp_path / "one", tmp_path / "two") <= 1e-10
    assert one["metrics"] == two["metrics"]


def test_evaluation_counts_each_image_once_on_three_processes(tmp_path: Path) -> None:
    """10 images over 3 processes: 4, 3 and 3; the same errors as on one."""
    launched(tmp_path / "one", 1)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    found = []
    for devices in (1, 3):
        words = [sys.executable, "-m", "reproduce", "evaluate", RUN, "--profile", "smoke", *SHORT, "--json"]
        words += ["--protocol", "10-crop", f"execution.devices={devices}", "train.batch_size=6"]
        words += ["--weights", str(next((tmp_path / "one").glob("runs/*/*/seed-0/final.safetensors")))]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert found[0] == found[1]
    assert found[1]["n"] == 10
