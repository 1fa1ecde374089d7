"""`check`: every cell of ours against the paper's within tolerance, and every claim."""

from __future__ import annotations

from collections import Counter

from paper_tables.io import in_columns
from paper_tables.results.evidence import Evidence
from paper_tables.verdicts.cells import Judgement, judgements
from paper_tables.verdicts.claims import Verdict, judge_claims


def check(evidence: Evidence) -> tuple[str, bool]:
    """The table to print, and whether something measured is outside its tolerance or a claim fails."""
    cells = judgements(evidence.paper.artefacts.values(), evidence)
    verdicts = judge_claims(evidence)
    head = ["", "where", "net", "metric", "paper", "ours", "difference", "tolerance"]
    lines = [f"Measured against the paper (profile {evidence.results.profile}; errors in percent)", ""]
    lines += [in_columns([head, *(_cell_row(j) for j in cells if j.measured)])]
    lines += ["", evidence.paper.claims_title, "", in_columns(map(_claim_row, verdicts))]
    lines += [f"skipped {path}: {reason}" for path, reason in evidence.results.skipped]
    counts = Counter([j.word for j in cells]), Counter([v.word for v in verdicts])
    cells_line, claims_line = (", ".join(f"{n} {word}" for word, n in sorted(c.items())) for c in counts)
    lines += ["", f"cells: {cells_line}", f"claims: {claims_line}"]
    lines += sorted({f"not compared: {j.reason}" for j in cells if j.verdict == "not compared"})
    failed = any(j.verdict in ("outside", "fails") for j in cells) or any(v.outcome == "fails" for v in verdicts)
    return "\n".join(lines), failed


def _cell_row(judgement: Judgement) -> list[str]:
    cell, measured = judgement.cell, judgement.measured
    ours = measured.text(cell) if measured else ""
    difference = judgement.difference_text
    tolerance = "" if cell.bound else f"{judgement.tolerance:.2f}"
    return [judgement.word, cell.artefact, cell.label, cell.metric, cell.printed, ours, difference, tolerance]


def _claim_row(verdict: Verdict) -> list[str]:
    margin = f" (margin {verdict.margin})" if verdict.margin else ""
    return [verdict.word, str(verdict.claim["id"]), verdict.numbers + margin]
