"""A table of the report as plain data, and how it prints: Markdown, CSV and LaTeX (booktabs)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

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
    minor: frozenset[int] = frozenset()  # columns that a narrow screen leaves out
    links: dict[tuple[int, int], str] = field(
        default_factory=dict
    )  # (row, column) -> the run whose page a cell leads to

    def body(self) -> Iterator[list[str]]:
        """Rows without the headings between them."""
        return (row for row in self.rows if not isinstance(row, str))

    def with_columns(self, heads: list[str], cells: list[list[str]], at: int | None = None) -> Table:
        """The table with more columns before column `at` (None: at its end); `cells`: of each row without a heading."""
        at = len(self.columns) if at is None else at
        more = iter(cells)
        rows: list[list[str] | str] = [
            row if isinstance(row, str) else [*row[:at], *next(more), *row[at:]] for row in self.rows
        ]

        def moved(column: int) -> int:
            return column if column < at else column + len(heads)

        return replace(
            self,
            columns=[*self.columns[:at], *heads, *self.columns[at:]],
            rows=rows,
            ours=frozenset(map(moved, self.ours)),
            minor=frozenset(map(moved, self.minor)),
            links={(row, moved(column)): run for (row, column), run in self.links.items()},
            latex_columns=self.latex_columns and moved(self.latex_columns),
        )

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
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


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
