"""Runs that the paper does not name: they are in the report, in the comparison and in the file of every seed."""

import re
from pathlib import Path

import pandas as pd
import pytest

from paper_tables.__main__ import main
from tests.helpers.fake_results import write_run

OPTION_B, UNKNOWN = "cifar10-resnet-20-B", "svhn-resnet-20"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on one run of the paper, and on five seeds and one seed of runs that it does not name."""
    root = tmp_path_factory.mktemp("other")
    write_run(root / "results", "short", "cifar10-resnet-20", test=8.8, iterations=6400)
    for seed in range(5):
        write_run(root / "results", "short", OPTION_B, seed, test=8.0 + seed / 10, iterations=6400)
    write_run(root / "results", "short", UNKNOWN, iterations=1000)
    assert main(["render", "all", *options(root)]) == 0
    return root


def options(root: Path) -> list[str]:
    return ["--profile", "short", "--results", str(root / "results"), "--report", str(root)]


def test_a_section_lists_them_with_spread_and_conditions(made: Path) -> None:
    text = (made / "short" / "REPORT.md").read_text()
    rows = {line.split(" | ")[0]: line for line in text.partition("## Other runs")[2].splitlines() if "|" in line}
    assert "| 0, 1, 2, 3, 4 | 1.00 ± 0.00 (n = 5) | 8.20 ± 0.16 (n = 5) |" in rows[f"| {OPTION_B}"]
    assert "| synthetic images made by the suite | 6,400 of 64,000 | bf16 |" in rows[f"| {OPTION_B}"]
    assert "| 1,000 (batch 128) |" in rows[f"| {UNKNOWN}"]
    assert len(rows) == 4  # head, line, two runs


def test_each_has_a_page_with_its_curves_and_without_the_papers_marks(made: Path) -> None:
    index = (made / "short" / "index.html").read_text()
    for run in (OPTION_B, UNKNOWN):
        assert f'<a href="runs/{run}.html">{run}</a>' in index
        page = (made / "short" / "runs" / f"{run}.html").read_text()
        assert f"<h1>{run}</h1>" in page
        assert f'id="plot-{run}"' in page
        assert "Hollow marks" not in page
        assert "read off the figure" not in (made / "short" / "runs" / f"{run}.svg").read_text()


def test_they_do_not_touch_what_is_said_of_the_papers_runs(made: Path) -> None:
    text = (made / "short" / "REPORT.md").read_text()
    assert "Measured on" not in text
    assert re.findall(r"^> \*\*(.*)\.\*\*", text, re.MULTILINE) == [
        "synthetic images made by the suite · iterations: 6,400 of 64,000 · bf16"
    ]


def test_they_are_compared_like_any_run(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "cifar10-resnet-20", OPTION_B, UNKNOWN, *options(made)]) == 0
    assert f"{OPTION_B} − ResNet-20 | -0.60" in capsys.readouterr().out
    assert main(["compare", "short", str(made / "results" / "short"), *options(made)]) == 0
    assert f"{UNKNOWN} (B) − {UNKNOWN} (A)" in capsys.readouterr().out


def test_every_seed_is_a_row_for_pandas(made: Path) -> None:
    seeds = pd.read_csv(made / "short" / "data" / "runs.csv")
    assert len(seeds) == 7
    means = seeds.groupby("run")["test_error"].mean()
    assert means[OPTION_B] == pytest.approx(8.2)
    (last,) = seeds[(seeds["run"] == OPTION_B) & (seeds["seed"] == 4)].to_dict("records")
    assert (last["iterations"], last["parameters"], last["precision"]) == (6400, 269722, "bf16")
    assert last["recipe_hash"] == "0123456789abcdef"
