"""The report's own benchmark: what it times, what it writes, what is said of it and of a profile without a report."""

import json
from pathlib import Path

import pytest

from benchmarks import report as bench
from benchmarks.report import main
from paper_tables.report import speed
from tests.helpers.fake_results import write_tree


def test_a_report_is_timed_in_processes_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter([99.0, 5.0, 7.0, 6.0, 4.0, 30.0])  # the first one warms up
    monkeypatch.setattr(bench, "time_report", lambda results, profile: {"import": 1.0, "render": next(seconds)})
    (tmp_path / "results" / "short" / "x" / "seed-0").mkdir(parents=True)
    (tmp_path / "results" / "short" / "x" / "seed-0" / "result.json").touch()
    assert main(["--profile", "short", "--results", str(tmp_path / "results")]) == 0
    path = Path(capsys.readouterr().out.strip())
    found = json.loads(path.read_text())
    assert found["seconds"]["render"] == [5.0, 7.0, 6.0, 4.0, 30.0]
    assert found["versions"].keys() >= {"python", "matplotlib"}
    text = speed.text(tmp_path / "results", "report")
    assert "`short`, 1 trainings; medians of 5 processes" in text
    assert "thresholds of both: must 20 s met, aim 10 s met." in text
    assert text.splitlines()[-3:] == [
        "| importing | 1.0 (1.0-1.0) |",
        "| rendering | 6.0 (4.0-30.0) |",
        "| both | 7.0 (5.0-31.0) |",
    ]


def test_a_slow_report_misses_its_bars() -> None:
    content = {"cpu": "CPU (x)", "cores": 2, "versions": {"matplotlib": "3", "pandas": "3"}, "profile": "short"}
    content |= {"trainings": 4, "bars": bench.THRESHOLDS, "seconds": {"import": [1.0], "render": [14.0]}}
    assert "must 20 s met, aim 10 s not met" in speed.report(content)


@pytest.mark.slow
def test_the_real_one_is_rendered_whole(tmp_path: Path) -> None:
    found = bench.time_report(write_tree(tmp_path / "results", "short"), "short")
    assert found["render"] > found["import"] > 0


def test_a_report_that_fails_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "no-such", "--results", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
