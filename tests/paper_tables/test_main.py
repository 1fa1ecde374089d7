"""`python -m paper_tables`: runs, exit codes, one line for bad input."""

from pathlib import Path
from typing import Any

import pytest

from paper_tables.__main__ import main
from tests.helpers import fake_imagenet
from tests.helpers.evidence import PAPER


def test_runs_prints_what_an_artefact_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "fig1-cifar", "fig1", "table6"]) == 0
    out = capsys.readouterr().out.split()
    assert out[:2] == ["cifar10-plain-20", "cifar10-plain-56"]
    assert out[2:] == [f"cifar10-resnet-{depth}" for depth in (20, 32, 44, 56, 110, 1202)]


def test_runs_of_all_are_all_runs_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "all"]) == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(PAPER.runs)


@pytest.mark.parametrize("name", ["table1", "fig3-architectures", "table8", "fig2"])
def test_an_artefact_without_training_needs_no_runs_and_says_why(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", name]) == 0
    got = capsys.readouterr()
    assert got.out == ""
    assert "nothing to train" in got.err


@pytest.mark.parametrize(
    "command",
    [
        ["runs", "table66"],
        ["render", "fig8"],
        ["render", "all", "--profile", "dmo"],
        ["check", "--profile", "../paper"],
        ["check", "--profile", "demo+xyz"],
        ["runs"],
        ["paint"],
        ["readme", "no-such-file.md"],
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code: Any = main(command)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_nothing_run_still_makes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    none, out = str(tmp_path / "none"), tmp_path / "report"
    assert main(["render", "table6", "--profile", "demo", "--results", none, "--report", str(out)]) == 2
    assert "none: no folder of results" in capsys.readouterr().err
    assert not out.exists()  # a slip of the hand writes no `not run` over a report
    (tmp_path / "none").mkdir()
    assert main(["render", "table2", "table6", "--profile", "demo", "--results", none, "--report", str(out)]) == 0
    text = capsys.readouterr().out
    assert "27.94" in text
    assert "python -m reproduce evaluate imagenet-plain-18 --protocol 10-crop --profile demo" in text
    assert "python -m reproduce train cifar10-resnet-110 --profile demo" in text
    assert str(out / "demo" / "index.html") in text
    page = (out / "demo" / "index.html").read_text()
    assert "Nothing has been run in this profile yet" in page
    assert all(f'<section id="{name}"' in page for name in PAPER.artefacts)
    assert "make fig6-cifar PROFILE=demo" in page
    assert main(["check", "--profile", "demo", "--results", none]) == 0


def test_every_imagenet_artefact_prints_with_nothing_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["table1", "table2", "table3", "table4", "table5", "fig2", "fig3-architectures", "fig4-imagenet", "fig5"]
    (tmp_path / "none").mkdir()
    arguments = ["--results", str(tmp_path / "none"), "--report", str(tmp_path)]
    assert main(["render", *names, *arguments]) == 0
    out = capsys.readouterr().out
    for run in fake_imagenet.PAPER_LIKE:
        needed = run not in ("imagenet-plain-34-3x", "imagenet-plain-50")
        assert (f"python -m reproduce train {run} --profile paper" in out) == needed
    assert "python -m reproduce evaluate imagenet-resnet-152 --protocol multi-scale --profile paper" in out


def test_results_that_are_no_folder_are_one_line_and_nothing_is_rendered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("file", "loop"):
        options = ["--profile", "short", "--results", str(tmp_path / name), "--report", str(tmp_path / "report")]
        assert main(["render", "all", *options]) == 2
        err = capsys.readouterr().err
        assert f"{tmp_path / name}: no folder of results" in err
        assert err.count("\n") == 1
    assert not (tmp_path / "report").exists()
