"""What stands in Tables 3 to 5 beside the trainings: published weights in a column of their own, ensembles in rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from paper_tables.registry import Artefact, Registry, label_of
from paper_tables.results import Results, pick
from paper_tables.table import NOT_RUN, Table
from paper_tables.tested import of_evaluation

PAPER_ONLY = "paper only"
IMAGENET = "imagenet-"  # the recipe whose protocols these are
VALIDATION = 50000  # images of ImageNet's validation set
RECIPE = "v1.5 (stride in the 3×3), option B throughout, another recipe; never held against the paper"


def beside(artefact: Artefact, table: Table, results: Results, registry: Registry) -> Table:
    """The table with the columns or rows that its artefact asks for."""
    if "ensemble" in artefact.spec:
        return with_ensembles(artefact, table, results, registry)
    names = [row.get("published") for row in artefact.spec["rows"] if isinstance(row, dict)]
    return with_published(artefact, table, results, registry) if any(names) else table


def with_published(artefact: Artefact, table: Table, results: Results, registry: Registry) -> Table:
    """Two more columns where a file of published weights was evaluated by this protocol, else a note that says how."""
    protocol = artefact.spec["eval"]
    names = [row.get("published") if isinstance(row, dict) else None for row in artefact.spec["rows"]]
    found = {name: pick(results.published.get(name, {}), protocol) for name in names if name}
    measured = {name: value for name, value in found.items() if value}
    if not measured:
        how = f"Torchvision's published weights are {NOT_RUN}: make {artefact.target} WEIGHTS=torchvision."
        return replace(table, notes=[*table.notes, how])
    rows: list[list[str] | str] = []
    for name, row in zip(names, table.rows, strict=True):
        rows.append([*row, *_errors(name, found, registry)] if isinstance(row, list) else row)
    columns = [f"{error} · torchvision's weights" for error in ("top-1", "top-5")]
    note = f"Torchvision's weights: {RECIPE}. Measured on {images_of(measured)}. {tests_in_words(measured)}"
    return replace(table, columns=[*table.columns, *columns], rows=rows, notes=[*table.notes, note])


def _errors(name: str | None, found: dict[str, dict[str, Any] | None], registry: Registry) -> list[str]:
    value = found.get(name or "")
    mark = f" ({words})" if value and (words := _unlike(value, registry)) else ""
    return [_percent(value, key) + mark if name else "" for key in ("top1_error", "top5_error")]


def _unlike(value: dict[str, Any], registry: Registry) -> str:
    """What is not the paper's protocol in a test that stands alone, on ImageNet's validation set."""
    unlike = of_evaluation(value).unlike(registry.protocol(IMAGENET, value["protocol"]))
    if not is_validation(value):
        unlike |= {"n": f"n = {value['n']:,}", "images": "other data"}
    return ", ".join(unlike.values())


def _percent(value: dict[str, Any] | None, key: str) -> str:
    return f"{value[key]:.2f}" if value else NOT_RUN


def tests_in_words(evaluations: dict[str, dict[str, Any]]) -> str:
    """How they were tested, by name where that differs."""
    words = {name: str(of_evaluation(value)) for name, value in evaluations.items()}
    if len(set(words.values())) == 1:
        return f"Tested by {next(iter(words.values()))}."
    return f"Tested by {'; '.join(f'{text} ({name})' for name, text in words.items())}."


def images_of(evaluations: dict[str, dict[str, Any]]) -> str:
    """Which images stand behind evaluations, by name where they differ; and whether they are ImageNet's 50,000."""
    words = {name: _images(value) for name, value in evaluations.items()}
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return "; ".join(f"{text} ({name})" for name, text in words.items())


def _images(value: dict[str, Any]) -> str:
    text = f"{value['n']:,} images, {' '.join(str(_data(value).get('description', 'unknown data')).split())}"
    return text if is_validation(value) else f"{text}: not ImageNet's validation set"


def is_validation(value: dict[str, Any]) -> bool:
    """Was it measured on ImageNet's 50,000 validation images?"""
    return _data(value).get("official") is True and value["n"] == VALIDATION


def _data(value: dict[str, Any]) -> dict[str, Any]:
    provenance = value.get("provenance")
    given = value.get("data") or (provenance.get("data") if isinstance(provenance, dict) else None)
    return given if isinstance(given, dict) else {}


def with_ensembles(artefact: Artefact, table: Table, results: Results, registry: Registry) -> Table:
    """Rows of ours under the paper's: every ensemble that was evaluated, or the one to make."""
    protocol = artefact.spec["eval"]
    picked = {name: pick(value, protocol) for name, value in results.ensembles.items()}
    found = {name: value for name, value in picked.items() if value}
    rows = [
        [members_of(value), "not printed", *_errors(name, {name: value}, registry)[1:]] for name, value in found.items()
    ]
    default = ", ".join(label_of(run) for run in artefact.spec["ensemble"])
    ours: list[list[str] | str] = ["Ours, on validation", *(rows or [[default, "not printed", NOT_RUN]])]
    images = [f"Ours is measured on {images_of(found)}. {tests_in_words(found)}"] if found else []
    return replace(table, rows=[*table.rows, *ours], ours=frozenset({2}), notes=[*table.notes, *images])


def members_of(value: dict[str, Any]) -> str:
    """The members as labels, two of the same net as 2 x: "ResNet-50, 2 × ResNet-152"."""
    given = [m.get("run") if isinstance(m, dict) else m for m in value.get("members", [])]
    members = [str(m).partition(":")[0] for m in given]
    counts = {run: members.count(run) for run in members}
    return ", ".join(f"{n} × {label_of(run)}" if n > 1 else label_of(run) for run, n in counts.items()) or "unnamed"
