"""Runs and sets of results side by side: what differs, by how much, and whether seeds tell it apart."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paper_tables.__main__ import main
from paper_tables.report import comparison
from paper_tables.report.comparison import points_in_common
from paper_tables.results import reader
from paper_tables.results.reader import Results, RunResult
from tests.helpers.evidence import PAPER, evidence
from tests.helpers.fake_results import write_run

PLAIN, RESNET = "cifar10-plain-56", "cifar10-resnet-56"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nets with four seeds each in `short`, one seed of one of them in `paper`."""
    root = tmp_path_factory.mktemp("compare") / "results"
    for seed in range(4):
        for run, error in ((PLAIN, 12.0), (RESNET, 9.0)):
            shortcut = "none" if run == PLAIN else "A"
            config = {"model": {"shortcut": shortcut, "depth": 56}, "train": {"batch_size": 128, "seed": seed}}
            write_run(root, "short", run, seed, test=error + 0.1 * seed, iterations=6400, config=config)
    write_run(root, "paper", PLAIN, test=13.0)
    return root


def test_compare_joins_the_points_that_two_curves_share(tmp_path: Path) -> None:
    seeds = []
    for iterations in ([40, 80, 120], [80, 120]):
        curve = pd.DataFrame({"iteration": iterations, "train_error": 50.0, "test_error": 60.0})
        curve["train_error"] += len(iterations)
        seeds.append(RunResult("cifar10-plain-20", 0, {"provenance": {"precision": "fp32"}}, curve))
    a, b = (Results(name, {"cifar10-plain-20": [seed]}) for name, seed in zip("ab", seeds, strict=True))
    rows = list(points_in_common(a, b).body())
    assert rows == [
        ["cifar10-plain-20 seed 0", "80", "53.00", "52.00", "-1.00", "60.00", "60.00"],
        ["cifar10-plain-20 seed 0", "120", "53.00", "52.00", "-1.00", "60.00", "60.00"],
    ]
    assert list(points_in_common(a, Results("none")).body()) == []


def test_runs_are_compared_in_configuration_and_error(tree: Path) -> None:
    made = comparison.of_runs([PLAIN, RESNET], evidence(tree, "short"))
    assert list(comparison.config_differences(made).body()) == [["model.shortcut", "none", "A"]]
    rows = {row[0]: row[1:] for row in comparison.differences_table(made).body()}
    assert rows["test error"] == ["ResNet-56 − plain-56", "-3.00", "4 and 4", "differ, p = 0.029"]
    assert rows["training error"][-1] == "no significant difference, p = 1.000"
    errors = list(comparison.errors_table(made).body())
    assert errors[0][:3] == ["plain-56", "1.00 ± 0.00 (n = 4)", "12.15 ± 0.13 (n = 4)"]


def test_two_sets_are_compared_run_by_run(tree: Path) -> None:
    sets = (reader.read(tree, "short"), reader.read(tree, "paper"))
    made = comparison.of_sets(*sets, ("results/short", "results/paper"), PAPER)
    assert made.names == [f"{PLAIN} (A)", f"{PLAIN} (B)"]
    rows = list(comparison.differences_table(made).body())
    assert rows[1] == [
        "test error",
        "plain-56 (B) − plain-56 (A)",
        "+0.85",
        "4 and 1",
        "no test: a single training on one side",
    ]
    facts = {row[0]: row[1:] for row in comparison.config_differences(made).body()}
    assert facts["data"] == ["embedded synthetic images", "CIFAR-10, official binaries", "all"]
    assert facts["seeds"] == ["0, 1, 2, 3", "0", "all"]


def test_more_runs_than_four_are_held_against_the_first(tmp_path: Path) -> None:
    runs = [run for run in PAPER.runs if run.startswith("cifar10-")][:8]
    for run in runs:
        write_run(tmp_path, "demo", run)
    made = comparison.of_runs(runs, evidence(tmp_path, "demo"))
    assert made.pairs == [(runs[0], run) for run in runs[1:]]
    looks = [(made.evidence.paper.runs[run]["colour"], made.evidence.paper.runs[run]["line"]) for run in runs]
    assert len(set(looks)) == 8


def test_the_page_holds_tables_curves_and_scripts(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--profile", "short", "--results", str(tree), "--report", str(tmp_path)]
    assert main(["compare", PLAIN, RESNET, *options]) == 0
    out = capsys.readouterr().out
    assert "| model.shortcut | none | A |" in out
    page = Path(re.findall(r"^page: (.*)$", out, re.MULTILINE)[0])
    assert page == tmp_path / "compare" / f"short--{PLAIN}--{RESNET}" / "index.html"
    text = page.read_text()
    assert "differ, p = 0.029" in text
    for name in ("curves.svg", "assets/plotly.min.js", "assets/report.js"):
        assert (page.parent / name).stat().st_size > 5000
        assert f'src="{name}"' in text
    found = re.search(r'id="plot-curves">(.*?)</script>', text, re.DOTALL)
    assert found
    plot: dict[str, Any] = json.loads(found[1])
    assert [net["colours"]["safe"] for net in plot["nets"]] == ["#d55e00", "#56b4e9"]
    assert plot["seeds"] == [0, 1, 2, 3]
    before = text
    assert main(["compare", PLAIN, RESNET, *options]) == 0
    assert page.read_text() == before


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([PLAIN], "name at least two runs"),
        ([PLAIN, "cifar10-plain-20"], "no finished training"),
        ([PLAIN, "paper"], "compare paper: no such run"),
        (["short", "paper", "demo"], "not both"),
        (["cifar10-plane-56", PLAIN], "compare cifar10-plane-56: no such run"),
        (["results/none", "paper"], "no such folder"),
        (["demo"], "no run is finished in both"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    words: list[str], reason: str, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--profile", "short", "--results", str(tree), "--report", str(tmp_path)]
    assert main(["compare", *words, *options]) == 2
    err = capsys.readouterr().err
    assert reason in err
    assert err.count("\n") == 1
