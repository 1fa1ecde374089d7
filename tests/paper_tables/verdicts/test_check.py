"""`check`: exit code and lines."""

import re
from pathlib import Path

import pytest

from paper_tables.__main__ import main
from paper_tables.io import in_columns
from tests.helpers.fake_results import write_run


def test_check_passes_what_is_like_the_paper(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--results", str(full)]) == 0
    assert re.search(r"^within  +table6  ResNet-110 ", capsys.readouterr().out, re.MULTILINE)


def test_check_fails_a_number_outside_its_tolerance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "paper", "cifar10-resnet-20", test=9.5, train=0.6)
    assert main(["check", "--results", str(tmp_path)]) == 1
    assert "outside in one run  table6  ResNet-20" in capsys.readouterr().out


def test_check_fails_a_claim_that_does_not_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        write_run(tmp_path, "demo", "cifar10-plain-20", seed, train=50, iterations=300)
        write_run(tmp_path, "demo", "cifar10-plain-56", seed, train=30, iterations=300)
    assert main(["check", "--profile", "demo", "--results", str(tmp_path)]) == 1
    assert "does not hold here  degradation-training" in capsys.readouterr().out


def test_columns_are_whole_in_a_file_and_folded_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("a [b]", "word " * 100), ("longer", "x" * 300)]
    assert in_columns(rows).splitlines() == [f"a [b]   {('word ' * 100).rstrip()}", f"longer  {'x' * 300}"]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    folded = in_columns(rows)
    assert max(map(len, folded.splitlines())) <= 60
    assert folded.count("x") == 300
