"""Every run of a profile: tables with a row for each, and each seed as a row of a tidy CSV."""

from __future__ import annotations

from typing import Any

import pandas as pd

from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import RunResult
from paper_tables.tables.runs import TESTED
from paper_tables.tables.table import Table
from paper_tables.verdicts.cells import conditions_for, measure, not_there

COLUMNS = ["run", "seeds", "training error (%)", "test error (%)", "data", "iterations", "precision", "hours"]
FACTS = ("precision", "device", "commit", "dirty", "hours", "recipe_hash", "command")  # of a provenance, as recorded


def runs_table(name: str, caption: str, runs: list[str], evidence: Evidence) -> Table:
    """A row for each run: mean ± sample std (n) of its errors, and what they were measured on."""
    rows: list[list[str] | str] = [_run_row(run, evidence) for run in runs]
    links = {(i, 0): run for i, run in enumerate(runs) if evidence.trainings(run)}
    return Table(name, caption, COLUMNS, rows, frozenset({2, 3}), links=links)


def _run_row(run: str, evidence: Evidence) -> list[str]:
    trainings = evidence.trainings(run)
    if not trainings:
        return [run, "", not_there(run, evidence), *[""] * 5]
    seeds = ", ".join(str(training.seed) for training in trainings)
    numbers = [measure(evidence, run, metric) for metric in ("train_error", "test_error")]
    conditions = conditions_for(trainings, evidence.paper, "test_error")
    where = [conditions.data_text, conditions.budget_text, conditions.precision_text]
    hours = [h for training in trainings if isinstance(h := training.provenance.get("hours"), int | float)]
    spent = f"{sum(hours):.2f}" if hours else ""
    return [run, seeds, *(number.text() if number else "" for number in numbers), *where, spent]


def seeds_csv(evidence: Evidence) -> str:
    """A row for each finished seed: its errors in percent (an evaluation's as <protocol>_<metric>) and conditions."""
    rows = [_seed_row(training, evidence) for training in evidence.results.all_runs]
    return pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")


def _seed_row(training: RunResult, evidence: Evidence) -> dict[str, Any]:
    found, origin = training.result, training.provenance
    row: dict[str, Any] = {
        "profile": evidence.results.profile,
        "run": training.run,
        "net": evidence.paper.label(training.run),
    }
    row |= {"seed": training.seed, "iterations": found["iterations"]} | found["metrics"]
    for protocol, evaluation in training.evaluations.items():
        row |= {f"{protocol}_{metric}": evaluation.get(metric) for metric in TESTED}
    row |= {"parameters": found["parameters"], "data": origin["data"].get("description")}
    row |= {"official_data": origin["data"].get("official"), "data_fingerprint": origin["data"]["fingerprint"]}
    return row | {name: origin.get(name) for name in FACTS} | {"weights_sha256": found.get("weights_sha256")}
