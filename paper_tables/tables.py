"""Tables of the report as plain data, and how they print: Markdown, CSV and LaTeX (booktabs)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from paper_tables.measure import Judgement, conditions_of, judge
from paper_tables.registry import Artefact, Cell, Registry, label_of
from paper_tables.results import Results

NOT_RUN = "not run"


@dataclass(frozen=True)
class Table:
    """A table as text. A row is a list of cells, or a heading inside the table. `ours`: columns that we measured."""

    name: str
    caption: str
    columns: list[str]
    rows: list[list[str] | str]
    ours: frozenset[int] = frozenset()
    notes: list[str] = field(default_factory=list)
    latex_columns: int | None = None  # how many of the columns fit on a printed page (all)
    conditions: str = ""  # what ours was measured on, wherever the table goes

    def body(self) -> Iterator[list[str]]:
        """Rows without the headings between them."""
        return (row for row in self.rows if not isinstance(row, str))

    def ours_line(self) -> list[str]:
        return [f"Ours: {self.conditions}."] if self.conditions else []

    def markdown_file(self) -> str:
        """The table with its caption, notes and conditions, to stand alone."""
        parts = [self.caption, self.markdown(), " ".join([*self.notes, *self.ours_line()])]
        return "\n\n".join(part.strip() for part in parts if part) + "\n"

    def markdown(self) -> str:
        lines = [_pipe(self.columns), _pipe(["---"] * len(self.columns))]
        lines += [_pipe([f"*{r}*"] + [""] * (len(self.columns) - 1) if isinstance(r, str) else r) for r in self.rows]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.body())
        return out.getvalue()

    def latex(self) -> str:
        """A `table` environment that needs only the package booktabs."""
        width = self.latex_columns or len(self.columns)
        align = "l" + "r" * (width - 1)
        caption = tex(" ".join([self.caption, *self.notes, *self.ours_line()]))
        head = [r"\begin{table}", r"\centering", r"\small", rf"\caption{{{caption}}}"]
        head += [rf"\label{{tab:{self.name}}}", rf"\begin{{tabular}}{{{align}}}", r"\toprule"]
        lines = [*head, _tex_row(self.columns[:width]), r"\midrule"]
        for row in self.rows:
            if isinstance(row, str):
                lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\emph{{{tex(row)}}}}} \\"]
            else:
                lines.append(_tex_row(row[:width]))
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _pipe(cells: list[str]) -> str:
    return "| " + " | ".join(markdown_text(cell) for cell in cells) + " |"


def markdown_text(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _tex_row(cells: list[str]) -> str:
    return " & ".join(tex(cell) for cell in cells) + r" \\"


_TEX = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": "$-$",
    "<": "$<$",
    ">": "$>$",
    "[": "{[}",
}
_TEX |= {c: "\\" + c for c in "&%$#_{}"} | {d: f"$^{i}$" for i, d in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}


def tex(text: str) -> str:
    """Text with LaTeX's special characters escaped; anything else outside ASCII becomes a question mark."""
    return "".join(_TEX.get(c, c if c.isascii() else "?") for c in text)


def artefact_table(artefact: Artefact, results: Results, registry: Registry) -> Table | None:
    """The artefact's table with the conditions of our numbers, None where it has no table."""
    table = _table(artefact, results, registry)
    runs = dict.fromkeys([*artefact.named_runs(), *(cell.run for cell in artefact.cells())])
    seeds = [seed for run in runs for seed in results.seeds.get(run, [])]
    return replace(table, conditions=str(conditions_of(seeds, registry))) if table and seeds else table


def _table(artefact: Artefact, results: Results, registry: Registry) -> Table | None:
    """The artefact as the paper prints it, with a column of ours beside each column that runs stand behind."""
    if artefact.name == "table6":
        return table6(artefact, results, registry)
    if artefact.spec.get("figure"):
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
    return Table(artefact.name, artefact.caption, columns, body, frozenset(ours), [artefact.protocol])


def _generic_row(cells: list[str | Cell], linked: set[int], results: Results, registry: Registry) -> list[str]:
    row = []
    for i, cell in enumerate(cells):
        row.append(cell.printed if isinstance(cell, Cell) else cell)
        if i in linked:
            row.append(ours_text(judge(cell, results, registry), results) if isinstance(cell, Cell) else "")
    return row


def ours_text(judgement: Judgement, results: Results) -> str:
    """Our number, or what stands in its place."""
    if judgement.measured is not None:
        return judgement.measured.text(judgement.cell.best_of)
    reached = results.unfinished.get(judgement.cell.run)
    return NOT_RUN if reached is None else f"{NOT_RUN} (unfinished, at iteration {reached:,})"


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
    bound = {"above": "above", "below": "below"}.get(cell.bound or "")
    difference = f"{judgement.difference:+.2f}" + (" from the bound" if bound else " of the means" if cell.mean else "")
    conditions = measured.conditions
    where = [conditions.data_text, conditions.budget_text, conditions.precision_text]
    return [*row, difference, f"{parameters:,}", verdict_text(judgement), *where, artefact.protocol]


def verdict_text(judgement: Judgement) -> str:
    """within or outside with the tolerance, or that the number is not held against the paper's."""
    if judgement.verdict in ("within", "outside"):
        return f"{judgement.verdict} {judgement.tolerance:.2f}"
    return judgement.verdict


def reading_table(artefact: Artefact, results: Results, registry: Registry) -> Table:
    """A figure's curves as numbers: the paper's readings beside ours."""
    if artefact.spec["figure"] == "responses":
        return response_table(artefact, results)
    names = {"train_error": "training error", "test_error": "test error"}
    columns = ["net", *(f"{names[m]} (%) · {who}" for m in names for who in ("paper", "ours"))]
    judged = {(c.run, c.metric): judge(c, results, registry) for c in artefact.readings()}
    rows: list[list[str] | str] = []
    for run in dict.fromkeys(run for run, _ in judged):
        pairs = [judged[run, metric] for metric in names]
        row = [pairs[0].cell.label]
        for judgement in pairs:
            pm = f" ± {judgement.cell.pm:g}" if judgement.cell.pm else ""
            row += [judgement.cell.printed + pm, ours_text(judgement, results)]
        rows.append(row)
    note = "End of training. The paper does not print these values: they are read off the figure, ± the reading."
    return Table(artefact.name, artefact.caption, columns, rows, frozenset({2, 4}), [note])


def response_table(artefact: Artefact, results: Results) -> Table:
    """Figure 7 sorted by size: std at some ranks, the paper's reading / ours."""
    readings = artefact.spec["sorted_readings"]
    ranks = sorted({rank for values in readings.values() for rank in values})
    rows: list[list[str] | str] = []
    for run, values in readings.items():
        ours = sorted_responses(results, run)
        for who in ("paper", "ours"):
            cells = [""] * len(ranks)
            for i, rank in enumerate(ranks):
                if rank in values:
                    got = f"{ours[rank - 1]:.2f}" if rank <= len(ours) else NOT_RUN
                    cells[i] = values[rank] if who == "paper" else got
            rows.append([label_of(run), who, *cells])
    note = f"Std at that rank, sorted by size. The paper's values are read off the figure (± {artefact.spec['pm']})."
    return Table(artefact.name, artefact.caption, ["net", "", *(f"rank {r}" for r in ranks)], rows, frozenset(), [note])


def sorted_responses(results: Results, run: str) -> list[float]:
    """Std of the layers' responses, descending, mean over seeds rank by rank; empty where not measured."""
    return _mean_by_place([sorted(stds, reverse=True) for stds in _responses(results, run)])


def layer_responses(results: Results, run: str) -> list[float]:
    """Std of the layers' responses in layer order, mean over seeds; empty where not measured."""
    return _mean_by_place(_responses(results, run))


def _responses(results: Results, run: str) -> list[list[float]]:
    return [s.responses["std"].tolist() for s in results.seeds.get(run, []) if s.responses is not None]


def _mean_by_place(rows: list[list[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*rows, strict=False)]
