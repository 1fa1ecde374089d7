"""The paper's tables with a column of ours beside each column that runs stand behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from paper_tables.architectures import counted_table
from paper_tables.imagenet import PAPER_ONLY, beside
from paper_tables.measure import Judgement, conditions_of, judge, ours_text
from paper_tables.readings import reading_table
from paper_tables.registry import Artefact, Cell, Registry
from paper_tables.results import Results, Seed, fingerprint_of
from paper_tables.table import Table
from paper_tables.tested import how_tested_in, of_evaluation, tested_by

AGAIN = {"test_error": "top1_error", "top1_error": "top1_error", "top5_error": "top5_error"}  # as evaluations name them


def artefact_table(artefact: Artefact, results: Results, registry: Registry) -> Table | None:
    """The artefact's table with the conditions of our numbers, None where it has no table."""
    table = _table(artefact, results, registry)
    if table:
        table = replace(table, notes=[*table.notes, *tested_again(artefact, results, registry)])
    runs = dict.fromkeys([*artefact.named_runs(), *(cell.run for cell in artefact.cells())])
    seeds = [seed for run in runs for seed in results.seeds.get(run, [])]
    conditions = conditions_of(seeds, registry, how_tested_in(artefact, results, registry))
    return replace(table, conditions=str(conditions)) if table and seeds else table


def tested_again(artefact: Artefact, results: Results, registry: Registry) -> list[str]:
    """What came out where the cells of ours were tested otherwise too: a note for each other way."""
    notes: dict[str, dict[str, list[str]]] = {}  # what is different -> number -> before and after, of each seed
    for cell in dict.fromkeys(cell for cell in artefact.cells() if cell.metric in AGAIN):
        label = cell.label + (" top-5" if cell.metric == "top5_error" else "")
        for seed in results.seeds.get(cell.run, []):
            for different, after in _others(cell, seed, registry):
                before = seed.value(cell.metric, cell.protocol)
                notes.setdefault(different, {}).setdefault(label, []).append(f"{before:.2f} → {after:.2f}")
    numbers = {
        way: "; ".join(f"{label} {', '.join(both)}" for label, both in found.items()) for way, found in notes.items()
    }
    return [f"Tested otherwise ({way}): {text}." for way, text in numbers.items()]


def _others(cell: Cell, seed: Seed, registry: Registry) -> Iterator[tuple[str, float]]:
    """The same number by tests under other conditions than that of the cell: what is different, and what came out."""
    shown = tested_by(seed, registry, cell.metric, cell.protocol)
    for name, evaluation in seed.evaluations.items():
        after = evaluation.get(AGAIN[cell.metric])
        if shown is None or after is None or name.partition("+")[0] != shown.protocol:
            continue
        if different := of_evaluation(evaluation, fingerprint_of(seed.provenance)).beside(shown):
            yield different, float(after)


def _table(artefact: Artefact, results: Results, registry: Registry) -> Table | None:
    """The artefact as the paper prints it, with a column of ours beside each column that runs stand behind."""
    if artefact.name == "table6":
        return table6(artefact, results, registry)
    if "nets" in artefact.spec:
        return counted_table(artefact, results)
    if artefact.spec.get("figure") in ("curves", "responses"):
        return reading_table(artefact, results, registry)
    if not artefact.columns:
        return None
    rows = list(artefact.rows())
    linked = {i for _, cells in rows for i, cell in enumerate(cells) if isinstance(cell, Cell)}
    columns, ours = [], set()
    for i, column in enumerate(artefact.columns):
        columns.append(column["title"] + (" · paper" if i in linked else ""))
        if i in linked:
            ours.add(len(columns))
            columns.append(column["title"] + " · ours")
    body: list[list[str] | str] = []
    for mapping, cells in rows:
        body.append(mapping["block"] if "block" in mapping else _generic_row(cells, linked, results, registry))
    notes = [artefact.protocol]
    if any(PAPER_ONLY in row for row in body if not isinstance(row, str)):
        notes.append(f"Rows that say {PAPER_ONLY} are other methods: the paper's value, nothing of ours.")
    table = Table(artefact.name, artefact.caption, columns, body, frozenset(ours), notes)
    return beside(artefact, table, results, registry)


def _generic_row(cells: list[str | Cell], linked: set[int], results: Results, registry: Registry) -> list[str]:
    row = []
    for i, cell in enumerate(cells):
        row.append(cell.printed if isinstance(cell, Cell) else cell)
        if isinstance(cell, Cell):
            row.append(ours_text(judge(cell, results, registry), results))
        elif i in linked:
            row.append(PAPER_ONLY if cell else "")
    return row


def table6(artefact: Artefact, results: Results, registry: Registry) -> Table:
    """Table 6 with the paper's columns, ours beside them, and what each of our numbers was measured on."""
    columns = ["method", "# layers", "# params", "error (%) · paper", "error (%) · ours", "difference"]
    columns += ["# params · ours", "verdict", "data", "iterations", "precision", "protocol"]
    rows: list[list[str] | str] = []
    for mapping, cells in artefact.rows():
        if "block" in mapping:
            rows.append(mapping["block"])
        else:
            rows.append(_row6(cells, artefact, results, registry))
    notes = [f"Protocol: {artefact.protocol}.", "Ours: one number is one run; several are mean ± sample std (n)."]
    notes.append("Best of n only for ResNet-110, where the paper prints it.")
    return Table("table6", artefact.caption, columns, rows, frozenset({4, 5, 6}), notes, latex_columns=7)


def _row6(cells: list[str | Cell], artefact: Artefact, results: Results, registry: Registry) -> list[str]:
    cell = cells[3]
    if isinstance(cell, str):
        return [*(str(c) for c in cells), *[""] * 8]
    judgement = judge(cell, results, registry)
    row = [*(str(c) for c in cells[:3]), cell.printed, ours_text(judgement, results)]
    measured = judgement.measured
    if measured is None or judgement.difference is None:
        return [*row, *[""] * 6, artefact.protocol]
    parameters = results.seeds[cell.run][0].result["parameters"]
    of_what = " of the means" if cell.mean else ""
    difference = judgement.difference_text and judgement.difference_text + of_what
    conditions = measured.conditions
    where = [conditions.data_text, conditions.budget_text, conditions.precision_text]
    return [*row, difference, f"{parameters:,}", verdict_text(judgement), *where, artefact.protocol]


def verdict_text(judgement: Judgement) -> str:
    """The verdict with what it was held against, the tolerance or a bound; or that it was not held against anything."""
    if not judgement.decided:
        return judgement.verdict
    if judgement.cell.bound:
        return f"{judgement.cell.printed}: {judgement.word}"
    return judgement.word.replace(judgement.verdict, f"{judgement.verdict} {judgement.tolerance:.2f}", 1)
