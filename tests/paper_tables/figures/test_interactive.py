"""Curves on the page: long ones are thinned without losing a peak, and the page stays small."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from paper_tables.figures import interactive
from paper_tables.figures.interactive import POINTS, thinned
from paper_tables.report import page
from tests.helpers.evidence import FOUR, evidence
from tests.helpers.fake_results import write_run

LONG = 6000


def test_a_thinned_curve_keeps_its_ends_and_every_peak() -> None:
    values = np.random.default_rng(0).normal(size=LONG)
    values[[1234, 4321]] = 9, -9
    kept = thinned(values)
    assert len(kept) <= POINTS
    assert {0, 1234, 4321, LONG - 1} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()


def test_a_short_curve_stays_whole() -> None:
    assert thinned(np.zeros(POINTS)).tolist() == list(range(POINTS))


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four nets with two seeds of 6,000 points each."""
    root = tmp_path_factory.mktemp("long") / "results"
    random = np.random.default_rng(1)
    for run in FOUR:
        for seed in range(2):
            folder = write_run(root, "short", run, seed, iterations=LONG)
            curve = pd.DataFrame({"iteration": np.arange(1, LONG + 1), "lr": 0.1})
            noise = {name: random.uniform(5, 20, LONG).round(4) for name in ("train_loss", "train_error", "test_error")}
            curve.assign(**noise).to_csv(folder / "curve.csv", index=False)
    return root


def test_no_line_of_a_page_has_more_points_than_it_shows(long: Path, tmp_path: Path) -> None:
    text = page.build(evidence(long, "short"), tmp_path).read_text()
    plots = [json.loads(found) for found in re.findall(r'id="plot-\w+">(.*?)</script>', text, re.DOTALL)]
    lines = [line for plot in plots for panel in plot["panels"] for line in panel["lines"]]
    assert len([line for line in lines if line["seed"] == 1]) >= 12
    assert max(len(line["x"]) for line in lines) <= POINTS
    assert all(len(line["x"]) == len(line["y"]) for line in lines)
    assert len(text) < 2_000_000


def test_the_mean_and_each_seed_are_thinned_by_their_own_values(long: Path) -> None:
    lines = interactive.seed_lines(evidence(long, "short"), FOUR[0], "test_error")
    assert [line["seed"] for line in lines] == [None, 0, 1]
    assert [(line["x"][0], line["x"][-1]) for line in lines] == [(1, LONG)] * 3
    assert len(lines[0]["sd"]) == len(lines[0]["x"])
    assert len(lines[1]["lr"]) == len(lines[1]["x"])
    assert lines[1]["x"] != lines[2]["x"]
