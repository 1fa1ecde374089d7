"""The tables of a run's page: errors, the paper's numbers, configuration and provenance of its trainings."""

from __future__ import annotations

import json
from typing import Any

from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import RunResult
from paper_tables.tables.measured import verdict_text
from paper_tables.tables.table import Table
from paper_tables.verdicts.cells import judge, ours_text
from paper_tables.verdicts.tested import deviations_of

TESTED = ("top1_error", "top5_error")  # as evaluations name them


def paper_table(run: str, evidence: Evidence) -> Table | None:
    """Every number of the paper that stands beside this run."""
    rows: list[list[str] | str] = []
    for artefact in evidence.paper.artefacts.values():
        for cell in (c for c in artefact.cells() if c.run == run):
            found = judge(cell, evidence)
            metric = evidence.paper.metrics[cell.metric].label
            words = [artefact.title, metric + (f", {cell.protocol}" if cell.protocol else ""), cell.printed]
            rows.append([*words, ours_text(found, evidence), found.difference_text, verdict_text(found)])
    columns, caption = ["where", "metric", "paper", "ours", "difference", "verdict"], "the paper's numbers and ours"
    return Table(run, f"{evidence.paper.label(run)}: {caption}", columns, rows, frozenset({3})) if rows else None


def errors_table(run: str, evidence: Evidence) -> Table:
    """One row a seed: the errors after its last iteration, and of each protocol it was tested by."""
    trainings, paper = evidence.trainings(run), evidence.paper
    kept = [name for name in paper.metrics if any(name in training.result["metrics"] for training in trainings)]
    protocols = sorted({protocol for training in trainings for protocol in training.evaluations})
    tested = [(protocol, name) for protocol in protocols for name in TESTED]
    tested = [(p, name) for p, name in tested if any(training.value(name, p) is not None for training in trainings)]
    columns = ["seed", "iterations", *(f"{paper.metrics[name].label} (%)" for name in kept)]
    columns += [f"{paper.metrics[name].label} (%), {named(protocol, trainings)}" for protocol, name in tested]
    rows: list[list[str] | str] = []
    for training in trainings:
        values = [training.value(name) for name in kept] + [training.value(name, protocol) for protocol, name in tested]
        cells = ["" if value is None else f"{value:.2f}" for value in values]
        rows.append([str(training.seed), f"{training.result['iterations']:,}", *cells])
    return Table(f"{run}-errors", f"{paper.label(run)}: errors of each training", columns, rows)


def named(name: str, trainings: list[RunResult]) -> str:
    """An evaluation in words: its protocol, and in what it deviates from the configured test."""
    found = (deviations_of(training.evaluations[name]) for training in trainings if name in training.evaluations)
    words = next(filter(None, found), "")
    return f"{name.partition('+')[0]} ({words})" if words else name


def flat(tree: dict[str, Any], before: str = "") -> dict[str, str]:
    """{"train": {"lr": 0.1, "compile": False}} -> {"train.lr": "0.1", "train.compile": "false"}."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return found


def config_of(trainings: list[RunResult]) -> dict[str, str]:
    """The resolved configuration, flat; where the seeds differ, each value once (never the seed itself)."""
    every = [flat(config) for training in trainings if isinstance(config := training.provenance.get("config"), dict)]
    keys = dict.fromkeys(key for config in every for key in config if key != "train.seed")
    return {key: " | ".join(dict.fromkeys(config.get(key, "-") for config in every)) for key in keys}


def config_table(run: str, evidence: Evidence) -> Table:
    """The resolved configuration: one column where all trainings agree, else one for each."""
    found = {f"seed {training.seed}": config_of([training]) for training in evidence.trainings(run)}
    if len({tuple(config.items()) for config in found.values()}) == 1:
        found = {"value": next(iter(found.values()))}
    keys = dict.fromkeys(key for config in found.values() for key in config)
    rows: list[list[str] | str] = [[key, *(config.get(key, "-") for config in found.values())] for key in keys]
    return Table(f"{run}-config", f"{evidence.paper.label(run)}: resolved configuration", ["key", *found], rows)


def provenance_of(training: RunResult) -> dict[str, str]:
    """Where a number comes from, in the order in which it is read."""
    p, data = training.provenance, training.provenance["data"]
    versions = p.get("versions") if isinstance(p.get("versions"), dict) else {}
    hours = p.get("hours")
    return {
        "run": training.run,
        "seed": str(training.seed),
        "iterations": f"{training.result['iterations']:,}",
        "data": str(data.get("description", data.get("source", ""))),
        "fingerprint": data["fingerprint"].removeprefix("sha256:")[:12],
        "precision": p["precision"],
        "device": str(p.get("device", "")),
        "processes x threads": f"{p.get('processes', '?')} x {p.get('threads', '?')}",
        "BN group": str(p.get("bn_group", "")),
        "hours": f"{hours:.2f}" if isinstance(hours, int | float) else "",
        "resumed": str(p.get("resumed", "")),
        "commit": f"{str(p.get('commit') or 'unknown')[:10]}{' + changes' if p.get('dirty') else ''}",
        "torch": str((versions or {}).get("torch", "")),
        "recipe": str(p.get("recipe_hash", ""))[:12],
        "command": str(p.get("command", "")),
    }


def provenance_table(run: str, evidence: Evidence) -> Table:
    """Provenance, a column for each seed."""
    merged, trainings = [], evidence.trainings(run)
    for training in trainings:
        column = {k: v for k, v in provenance_of(training).items() if k not in ("run", "seed", "command")}
        column |= {key: str(training.provenance.get(key, "")) for key in ("start", "end")}
        merged.append(column | {"weights (SHA-256)": str(training.result.get("weights_sha256", ""))[:12]})
    rows: list[list[str] | str] = [[key, *(column[key] for column in merged)] for key in merged[0]]
    columns = ["", *(f"seed {training.seed}" for training in trainings)]
    return Table(f"{run}-provenance", f"{evidence.paper.label(run)}: provenance", columns, rows)
