"""What the front page says of the whole: the claims by section, how many of everything, a line for each training."""

from __future__ import annotations

from collections import Counter
from typing import Any

from paper_tables import claims, headline
from paper_tables.claims import Verdict
from paper_tables.measure import measure
from paper_tables.registry import Registry
from paper_tables.results import Results
from paper_tables.table import Table


def claim_groups(verdicts: list[Verdict]) -> list[tuple[str, list[Verdict]]]:
    """Every claim under its section."""
    titles = (("ImageNet (Sec. 4.1)", "4.1"), ("CIFAR-10 (Sec. 4.2)", "4.2"))
    return [(title, [v for v in verdicts if str(v.claim["section"]).startswith(section)]) for title, section in titles]


def claims_table(verdicts: list[Verdict], conditions: str, registry: Registry) -> Table:
    """The claims as a table; `conditions`: what the measured ones rest on."""
    columns = ["claim", "verdict", "numbers", "margin", "section"]
    rows: list[list[str] | str] = []
    for title, those in claim_groups(verdicts):
        rows += [title, *([str(v.claim["text"]), v.word, v.numbers, v.margin, str(v.claim["section"])] for v in those)]
    caption = "Sentences of Sec. 4.1 and 4.2 that can be checked"
    return Table("claims", caption, columns, rows, frozenset({1}), [claims.rule_words(registry)], conditions=conditions)


def tone(word: str) -> str:
    """good | bad | open, or nothing: how a verdict is coloured (its word always stands there too)."""
    words = {"good": claims.GOOD, "bad": claims.BAD, "open": claims.OPEN}
    return next((name for name, members in words.items() if word in members), "")


def lead(states: list[str], verdicts: list[Verdict]) -> str:
    """What reproduces, what does not and what was not run, in two sentences; `states` of the tables and figures."""
    counts = Counter("measured in part" if "runs" in state else state for state in states)
    order = ("measured", "measured in part", "refused", "not run", "no training", "out of scope", "later")
    parts = [f"{counts[state]} {state}" for state in order if counts[state]]
    counted = f"Claims of Sec. 4.1 and 4.2: {headline.counts_line(verdicts)}."
    return f"{counted} The {len(states)} tables and figures: {', '.join(parts)}."


def run_rows(results: Results, registry: Registry) -> list[dict[str, Any]]:
    """A line for each training of the paper."""
    rows = []
    for run in registry.nets:
        seeds = results.seeds.get(run, [])
        errors = {name: measure(results, registry, run, f"{name}_error") for name in ("train", "test")}
        reached = results.unfinished.get(run)
        hours = [h for seed in seeds if isinstance(h := seed.provenance.get("hours"), int | float)]
        row = {"run": run, "there": bool(seeds), "seeds": ", ".join(str(seed.seed) for seed in seeds)}
        row |= {name: number.text() if number else "" for name, number in errors.items()}
        row |= {"hours": f"{sum(hours):.2f}" if hours else ""}
        state = "not run" if reached is None else f"not run (unfinished, at iteration {reached:,})"
        state = f"refused ({results.refused[run]})" if run in results.refused else state
        rows.append(row | {"state": state})
    return rows
