"""The paper's tables with a column of ours beside each column that runs stand behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from paper_tables.paper import Artefact, Cell, Paper
from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import RunResult, fingerprint_of
from paper_tables.tables.counted import counted_table
from paper_tables.tables.published import PAPER_ONLY, beside, with_publishers
from paper_tables.tables.readings import reading_table
from paper_tables.tables.table import Table
from paper_tables.verdicts.cells import Judgement, conditions_of, judge, ours_text
from paper_tables.verdicts.tested import how_tested_in, of_evaluation, tested_by

AGAIN = {"test_error": "top1_error", "top1_error": "top1_error", "top5_error": "top5_error"}  # as evaluations name them


def artefact_table(artefact: Artefact, evidence: Evidence) -> Table | None:
    """The artefact's table with the conditions of our numbers, None where it has no table."""
    table = _table(artefact, evidence)
    if table is None:
        return None
    runs = dict.fromkeys([*artefact.named_runs(), *(cell.run for cell in artefact.cells())])
    trainings = [training for run in runs for training in evidence.trainings(run)]
    conditions = conditions_of(trainings, evidence.paper, how_tested_in(artefact, evidence)) if trainings else ""
    return replace(table, notes=[*table.notes, *tested_again(artefact, evidence)], conditions=str(conditions))


def tested_again(artefact: Artefact, evidence: Evidence) -> list[str]:
    """A note for each other kind of test that our cells have results of, with the numbers before and after."""
    notes: dict[str, dict[str, list[str]]] = {}  # what differs -> cell -> before and after, a text for each seed
    for cell in dict.fromkeys(cell for cell in artefact.cells() if cell.metric in AGAIN):
        label = cell.label + (" top-5" if cell.metric == "top5_error" else "")
        for training in evidence.trainings(cell.run):
            for different, after in _others(cell, training, evidence.paper):
                before = training.value(cell.metric, cell.protocol)
                notes.setdefault(different, {}).setdefault(label, []).append(f"{before:.2f} → {after:.2f}")
    texts = {what: [f"{label} {', '.join(both)}" for label, both in found.items()] for what, found in notes.items()}
    return [f"Tested otherwise ({what}): {'; '.join(numbers)}." for what, numbers in texts.items()]


def _others(cell: Cell, training: RunResult, paper: Paper) -> Iterator[tuple[str, float]]:
    """(what differs, number) of each test of the same protocol under other conditions than the cell's."""
    shown = tested_by(training, paper, cell.metric, cell.protocol)
    for name, evaluation in training.evaluations.items():
        after = evaluation.get(AGAIN[cell.metric])
        if shown is None or after is None or name.partition("+")[0] != shown.protocol:
            continue
        if different := of_evaluation(evaluation, fingerprint_of(training.provenance)).beside(shown):
            yield different, float(after)


def _table(artefact: Artefact, evidence: Evidence) -> Table | None:
    """The artefact as the paper prints it, with a column of ours beside each column that runs stand behind."""
    if "nets" in artefact.spec:
        return counted_table(artefact, evidence)
    if artefact.spec.get("figure") in ("curves", "responses"):
        return reading_table(artefact, evidence)
    if not artefact.columns:
        return None
    if artefact.spec.get("detailed"):
        return detailed_table(artefact, evidence)
    linked = _linked(artefact)
    columns: list[str] = []
    for i, column in enumerate(artefact.columns):
        columns += [f"{column['title']} · {who}" for who in ("paper", "ours")] if i in linked else [column["title"]]
    rows = [mapping.get("block") or _row(cells, linked, evidence) for mapping, cells in artefact.rows]
    notes = [artefact.protocol]
    if any(PAPER_ONLY in row for row in rows if not isinstance(row, str)):
        notes.append(f"Rows that say {PAPER_ONLY} are other methods: the paper's value, nothing of ours.")
    ours = frozenset(i for i, title in enumerate(columns) if title.endswith(" · ours"))
    table = Table(artefact.name, artefact.caption, columns, rows, ours, notes, links=links_of(artefact, evidence))
    return beside(artefact, table, evidence)


def _linked(artefact: Artefact) -> set[int]:
    """The columns with a number that a run of ours stands behind."""
    return {i for _, cells in artefact.rows for i, cell in enumerate(cells) if isinstance(cell, Cell)}


def _row(cells: list[str | Cell], linked: set[int], evidence: Evidence) -> list[str]:
    """The printed cells, after those of the `linked` columns ours."""
    row = []
    for i, cell in enumerate(cells):
        row.append(cell.printed if isinstance(cell, Cell) else cell)
        if isinstance(cell, Cell):
            row.append(ours_text(judge(cell, evidence), evidence))
        elif i in linked:
            row.append(PAPER_ONLY if cell else "")
    return row


def detailed_table(artefact: Artefact, evidence: Evidence) -> Table:
    """The paper's columns, the last of them beside ours with its verdict; conditions only where rows differ in them."""
    *titles, last = (column["title"] for column in artefact.columns)
    columns = [*titles, f"{last} · paper", f"{last} · ours", "verdict", "difference", "# params · ours", "conditions"]
    rows = [mapping.get("block") or _detailed_row(cells, evidence) for mapping, cells in artefact.rows]
    if len({row[-1] for row in rows if isinstance(row, list)} - {""}) < 2:  # the table's own line says them
        columns, rows = columns[:-1], [row if isinstance(row, str) else row[:-1] for row in rows]
    best = ", ".join(cell.label for cell in artefact.printed if cell.best_of)
    notes = [f"Protocol: {artefact.protocol}.", "One number of ours is one run; several are mean ± sample std (n)."]
    notes += [f"Best of n only for {best}, where the paper prints it."] if best else []
    n = len(titles)
    ours, links = frozenset(range(n + 1, n + 5)), links_of(artefact, evidence)
    minor = frozenset(i for i, column in enumerate(artefact.columns) if column.get("minor"))
    table = Table(artefact.name, artefact.caption, columns, rows, ours, notes, latex_columns=n + 4)
    table = replace(table, minor=minor, links=links)
    runs = [cells[-1].run if isinstance(cells[-1], Cell) else None for _, cells in artefact.rows if cells]
    metrics = {"test_error": "test error", "train_error": "training error"}
    return with_publishers(table, runs, metrics, evidence, at=n + 3)


def _detailed_row(cells: list[str | Cell], evidence: Evidence) -> list[str]:
    *texts, cell = cells
    before = [str(text) for text in texts]
    if isinstance(cell, str):
        return [*before, cell, *[""] * 5]
    judgement = judge(cell, evidence)
    row = [*before, cell.printed, ours_text(judgement, evidence)]
    measured = judgement.measured
    if measured is None or judgement.difference is None:
        return [*row, *[""] * 4]
    parameters = evidence.trainings(cell.run)[0].result["parameters"]
    difference = judgement.difference_text and judgement.difference_text + (" of the means" if cell.mean else "")
    return [*row, verdict_text(judgement), difference, f"{parameters:,}", str(measured.conditions)]


def links_of(artefact: Artefact, evidence: Evidence) -> dict[tuple[int, int], str]:
    """(row, column) of each number of ours -> its run: ours stands in the column after each linked one."""
    linked = _linked(artefact)
    return {
        (i, j + 1 + sum(k < j for k in linked)): cell.run
        for i, (_, cells) in enumerate(artefact.rows)
        for j, cell in enumerate(cells)
        if isinstance(cell, Cell) and evidence.trainings(cell.run)
    }


def verdict_text(judgement: Judgement) -> str:
    """The verdict with the tolerance or bound that it was compared with."""
    if not judgement.decided:
        return judgement.verdict
    if judgement.cell.bound:
        return f"{judgement.cell.printed}: {judgement.word}"
    return judgement.word.replace(judgement.verdict, f"{judgement.verdict} {judgement.tolerance:.2f}", 1)
