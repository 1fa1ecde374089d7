"""`make smoke`: every run of the paper trained for a few iterations, evaluated, measured and rendered."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reproduce.config.load import runs

ROOT = Path(__file__).resolve().parents[2]


def made(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`make` in a folder that has the code and the configurations, and nothing else."""
    for name in ("Makefile", "docs", "configs", "reproduce", "paper_tables"):
        (folder / name).symlink_to(ROOT / name)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    environment.pop("MFLAGS", None)
    environment |= {"OMP_NUM_THREADS": "1"}
    command = ["make", *words, f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_target_with_conditions_of_its_tests_trains_tests_and_renders_in_one_folder(tmp_path: Path) -> None:
    done = made(tmp_path, "table2", "PROFILE=smoke", "SET=eval.precision=fp32")
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["smoke"]
    tests = list((tmp_path / "results" / "smoke").glob("*/seed-0/eval-*.json"))
    assert len(tests) == 4
    assert {json.loads(path.read_text())["precision"] for path in tests} == {"fp32"}
    (shown,) = [line for line in done.stdout.splitlines() if line.startswith("| 34 layers |")]
    assert shown.count("[tested otherwise: fp32]") == 2


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_every_run_trains_evaluates_and_is_reported(tmp_path: Path) -> None:
    made(tmp_path, "smoke")
    for name in runs():
        folder = tmp_path / "results" / "smoke" / name / "seed-0"
        found = json.loads((folder / "result.json").read_text())
        tested = {path.stem: json.loads(path.read_text()) for path in folder.glob("eval-*.json")}
        assert tested["eval-single"]["top1_error"] == found["metrics"]["test_error"]
        if name.startswith("cifar10"):  # a line for each 3x3 layer, and the header; fc is the other layer
            assert len((folder / "responses.csv").read_text().splitlines()) == found["layers"]
        else:
            assert set(tested) == {"eval-single", "eval-10-crop", "eval-multi-scale"}
            assert {evaluation["n"] for evaluation in tested.values()} == {10}
    [ensemble] = (tmp_path / "results" / "smoke" / "ensembles").glob("*/eval-multi-scale.json")
    assert len(json.loads(ensemble.read_text())["members"]) == 5
    page = (tmp_path / "report" / "smoke" / "index.html").read_text()
    assert "Table 6" in page
    assert "synthetic images made by the suite" in page
