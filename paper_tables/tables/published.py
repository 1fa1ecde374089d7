"""Beside our trainings: published weights in columns of their own, ensembles in rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from paper_tables.paper import Artefact, Paper
from paper_tables.results.evidence import Evidence
from paper_tables.results.published import publishers, recipe_words
from paper_tables.results.reader import pick
from paper_tables.tables.table import NOT_RUN, Table
from paper_tables.verdicts.tested import of_evaluation

PAPER_ONLY = "paper only"


def beside(artefact: Artefact, table: Table, evidence: Evidence) -> Table:
    """The table with the columns or rows that its artefact asks for."""
    if "ensemble" in artefact.spec:
        return with_ensembles(artefact, table, evidence)
    return with_published(artefact, table, evidence) if any("published" in row for row, _ in artefact.rows) else table


def with_publishers(
    table: Table, runs: Sequence[str | None], metrics: dict[str, str], evidence: Evidence, at: int | None = None
) -> Table:
    """The table with `columns_of` before its column `at` (None: at its end); `runs`: those of its rows in order."""
    heads, cells, notes = columns_of(runs, metrics, evidence)
    return replace(table.with_columns(heads, cells, at), notes=[*table.notes, *notes])


def columns_of(
    runs: Sequence[str | None], metrics: dict[str, str], evidence: Evidence
) -> tuple[list[str], list[list[str]], list[str]]:
    """For published nets of some runs: heads, a row of cells for each run, and notes.

    `metrics`: name -> its words; a column for each and each publisher. A test error stands beside the claimed one.
    """
    there = {
        who: found for who, found in publishers(evidence).items() if any(run in found.results.runs for run in runs)
    }
    pairs = [(metric, who) for metric in metrics for who in there]
    claimed = {metric: " (claimed)" if metric == "test_error" else "" for metric in metrics}
    heads = [f"{metrics[metric]} of published weights{claimed[metric]} · {who}" for metric, who in pairs]
    cells = [[_of(run, metric, there[who]) for metric, who in pairs] for run in runs]
    return heads, cells, [recipe_words(who, found) for who, found in there.items()]


def _of(run: str | None, metric: str, found: Evidence) -> str:
    nets = found.trainings(run or "")
    if not nets:
        return ""
    [training] = nets
    claimed = f" ({training.value('claimed'):.2f})" if metric == "test_error" else ""
    return f"{training.value(metric):.2f}{claimed}"


def with_published(artefact: Artefact, table: Table, evidence: Evidence) -> Table:
    """A column more for each metric where published weights were tested by this protocol, else a note that says how."""
    protocol = artefact.spec["eval"]
    names, owner = [row.get("published") for row, _ in artefact.rows], evidence.paper.published["owner"]
    found = {name: pick(evidence.results.published.get(name, {}), protocol) for name in names if name}
    measured = {name: value for name, value in found.items() if value}
    if not measured:
        target = f"make {artefact.target} WEIGHTS={owner}"
        how = f"{owner.capitalize()}'s published weights are {NOT_RUN}: {target}."
        return replace(table, notes=[*table.notes, how])
    metrics = [column["metric"] for column in artefact.columns if "metric" in column]
    rows, wanted = list[list[str] | str](), _wanted(artefact, evidence)
    for name, row in zip(names, table.rows, strict=True):
        rows.append([*row, *_errors(name, found, wanted, metrics)] if isinstance(row, list) else row)
    labels = [evidence.paper.metrics[metric].label for metric in metrics]
    columns = [f"{label} · {owner}'s weights" for label in labels]
    recipe = next(iter(measured.values())).get("recipe", "recipe not recorded")
    note = f"{owner.capitalize()}'s weights: {recipe}; never compared with the paper. "
    note += f"Measured on {images_of(measured, wanted)}. {tests_in_words(measured)}"
    return replace(table, columns=[*table.columns, *columns], rows=rows, notes=[*table.notes, note])


def _wanted(artefact: Artefact, evidence: Evidence) -> dict[str, Any]:
    """How the paper tests for this artefact: sides, n, precision."""
    return evidence.paper.protocol(artefact.named_runs()[0], artefact.spec["eval"])


def _errors(
    name: str | None, found: dict[str, dict[str, Any] | None], wanted: dict[str, Any], metrics: list[str]
) -> list[str]:
    value = found.get(name or "")
    mark = f" ({words})" if value and (words := _unlike(value, wanted)) else ""
    return [(f"{value[metric]:.2f}" if value else NOT_RUN) + mark if name else "" for metric in metrics]


def _unlike(value: dict[str, Any], wanted: dict[str, Any]) -> str:
    """What is not the paper's protocol in a test that stands alone, on the paper's test images."""
    unlike = of_evaluation(value).unlike(wanted)
    if not is_official(value, wanted):
        unlike |= {"n": f"n = {value['n']:,}", "images": "other data"}
    return ", ".join(unlike.values())


def tests_in_words(evaluations: dict[str, dict[str, Any]]) -> str:
    """How they were tested, by name where that differs."""
    return f"Tested by {_by_name({name: str(of_evaluation(value)) for name, value in evaluations.items()})}."


def images_of(evaluations: dict[str, dict[str, Any]], wanted: dict[str, Any]) -> str:
    """Which images stand behind evaluations, by name where they differ; and whether they are the paper's."""
    return _by_name({name: _images(value, wanted) for name, value in evaluations.items()})


def _by_name(words: dict[str, str]) -> str:
    """The words once where all agree, else each with its name."""
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return "; ".join(f"{text} ({name})" for name, text in words.items())


def _images(value: dict[str, Any], wanted: dict[str, Any]) -> str:
    text = f"{value['n']:,} images, {' '.join(str(_data(value).get('description', 'unknown data')).split())}"
    return text if is_official(value, wanted) else f"{text}: not the paper's test images"


def is_official(value: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Was it measured on all of the paper's test images?"""
    return _data(value).get("official") is True and value["n"] == wanted["n"]


def _data(value: dict[str, Any]) -> dict[str, Any]:
    provenance = value.get("provenance")
    given = value.get("data") or (provenance.get("data") if isinstance(provenance, dict) else None)
    return given if isinstance(given, dict) else {}


def with_ensembles(artefact: Artefact, table: Table, evidence: Evidence) -> Table:
    """Rows of ours under the paper's: every ensemble that was evaluated, or the one to make."""
    protocol = artefact.spec["eval"]
    picked = {name: pick(value, protocol) for name, value in evidence.results.ensembles.items()}
    found = {name: value for name, value in picked.items() if value}
    wanted, metric, paper = _wanted(artefact, evidence), artefact.spec["metric"], evidence.paper
    rows = [
        [members_of(value, paper), "not printed", *_errors(name, {name: value}, wanted, [metric])]
        for name, value in found.items()
    ]
    default = ", ".join(paper.label(run) for run in artefact.spec["ensemble"])
    test = paper.recipe(artefact.spec["ensemble"][0]).test
    ours: list[list[str] | str] = [f"Ours, on {test}", *(rows or [[default, "not printed", NOT_RUN]])]
    images = [f"Ours is measured on {images_of(found, wanted)}. {tests_in_words(found)}"] if found else []
    return replace(table, rows=[*table.rows, *ours], ours=frozenset({2}), notes=[*table.notes, *images])


def members_of(value: dict[str, Any], paper: Paper) -> str:
    """The members as labels, two of the same net as 2 x: "ResNet-50, 2 × ResNet-152"."""
    given = [m.get("run") if isinstance(m, dict) else m for m in value.get("members", [])]
    members = [str(m).partition(":")[0] for m in given]
    counts = {run: members.count(run) for run in members}
    named = [f"{n} × {paper.label(run)}" if n > 1 else paper.label(run) for run, n in counts.items()]
    return ", ".join(named) or "unnamed"
