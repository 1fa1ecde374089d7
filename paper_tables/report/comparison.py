"""Any runs, or two sets of results, side by side: what differs in configuration, in curves and in final error."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import pandas as pd

from paper_tables.figures import interactive
from paper_tables.figures.draw import draw
from paper_tables.io import write as write_file
from paper_tables.paper import Artefact, Paper, UserError
from paper_tables.report.page import pasted, render, write_scripts
from paper_tables.report.run_pages import curve_artefact
from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import Results, RunResult
from paper_tables.tables.runs import TESTED, config_of, named, provenance_of
from paper_tables.tables.table import Table
from paper_tables.verdicts.cells import conditions_for, measure
from paper_tables.verdicts.significance import permutation_test

TINTS = ("red", "cyan", "green", "olive", "magenta", "black", "grey")
EACH = 4  # with so many runs at most every pair is compared, with more of them the first with each other one
# Of a provenance: what stands in the configuration too, or says nothing of why numbers differ.
LEFT_OUT = ("run", "seed", "iterations", "BN group", "recipe", "command", "hours", "resumed")


@dataclass(frozen=True)
class Comparison:
    """Trainings under the names they have here, the pairs to be held against each other, and what they came from."""

    name: str  # of the page's folder
    title: str
    origins: list[tuple[str, str]]  # what a name stands for
    evidence: Evidence
    pairs: list[tuple[str, str]]
    runs: dict[str, str]  # name here -> run
    points: Table | None = None  # of two sets: the points that their curves share

    @property
    def names(self) -> list[str]:
        return list(self.runs)

    def label(self, name: str) -> str:
        return self.evidence.paper.label(name)

    def trainings(self, name: str) -> list[RunResult]:
        return self.evidence.trainings(name)


def of_runs(runs: list[str], evidence: Evidence) -> Comparison:
    """Runs of one set of results. Errors: UserError where one has no finished training."""
    paper, results = evidence.paper, evidence.results
    for run in runs:
        if run in results.refused:
            raise UserError(f"{run} is refused: {dict(results.skipped)[run]}")
        if run not in results.runs:
            raise UserError(f"{run}: no finished training in results/{results.profile}; compare what was trained")
    runs = list(dict.fromkeys(runs))
    looks = {run: paper.look(run) | _look(i) for i, run in enumerate(runs)}
    pairs = list(combinations(runs, 2)) if len(runs) <= EACH else [(runs[0], other) for other in runs[1:]]
    shown = Evidence(replace(paper, runs=looks), Results(results.profile, {run: results.runs[run] for run in runs}))
    title = " and ".join(map(paper.label, runs)) if len(runs) <= EACH else f"{len(runs)} runs"
    name = slug([results.profile, *runs])
    origins = [(paper.label(run), f"{run}, profile {results.profile}") for run in runs]
    return Comparison(name, title, origins, shown, pairs, {run: run for run in runs})


def _look(i: int) -> dict[str, str]:
    """The i-th colour; the eighth line is the first one's, dashed."""
    return {"colour": TINTS[i % len(TINTS)], "line": "--" if i // len(TINTS) % 2 else "-"}


def of_sets(a: Results, b: Results, where: tuple[str, str], paper: Paper) -> Comparison:
    """The runs that two sets of results have in common. Errors: UserError where there is none."""
    common = [run for run in dict.fromkeys([*paper.runs, *a.runs]) if run in a.runs and run in b.runs]
    if not common:
        raise UserError(f"{where[0]} and {where[1]}: no run is finished in both")
    looks, trainings, runs = {}, {}, {}
    for i, run in enumerate(common):
        for letter, results, line in (("A", a, "-"), ("B", b, "--")):
            name = f"{run} ({letter})"
            look = {"label": f"{paper.label(run)} ({letter})", "colour": TINTS[i % len(TINTS)], "line": line}
            looks[name] = paper.look(run) | look
            trainings[name] = [replace(training, run=name) for training in results.runs[run]]
            runs[name] = run
    pairs = [(f"{run} (A)", f"{run} (B)") for run in common]
    shown = Evidence(replace(paper, runs=looks), Results(f"{a.profile} (A), {b.profile} (B)", trainings))
    title, origins = f"{where[0]} and {where[1]}", [("A", where[0]), ("B", where[1])]
    return Comparison(slug(list(where)), title, origins, shown, pairs, runs, points_in_common(a, b))


def slug(words: list[str]) -> str:
    """A folder's name for what is compared; long lists end in a digest."""
    text = "--".join(word.strip("/").replace("/", "-") for word in words)
    return text if len(text) <= 80 else f"{text[:70]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


# ---- Tables ----


def points_in_common(a: Results, b: Results) -> Table:
    """Training and test error (%) of each common run, seed and iteration; B - A of the training error."""
    rows: list[list[str] | str] = []
    for run, trainings in a.runs.items():
        for one in trainings:
            for other in (s for s in b.runs.get(run, []) if s.seed == one.seed):
                if one.curve is not None and other.curve is not None:
                    common = one.curve.merge(other.curve, on="iteration", suffixes=("_a", "_b"))
                    rows += [_row(f"{run} seed {one.seed}", point) for _, point in common.iterrows()]
    columns = ["run", "iteration", "training error A", "training error B", "B - A", "test error A", "test error B"]
    return Table("compare", f"A: {_conditions(a)}; B: {_conditions(b)}", columns, rows)


def _row(label: str, point: pd.Series) -> list[str]:
    train, test = (point["train_error_a"], point["train_error_b"]), (point["test_error_a"], point["test_error_b"])
    numbers = [*train, train[1] - train[0], *test]
    cells = [f"{number:+.2f}" if i == 2 else f"{number:.2f}" for i, number in enumerate(numbers)]
    return [label, str(int(point["iteration"])), *cells]


def _conditions(results: Results) -> str:
    precisions = sorted({str(training.provenance["precision"]) for training in results.all_runs})
    return f"`{results.profile}` ({', '.join(precisions) or 'nothing run'})"


def metrics_of(comparison: Comparison) -> Iterator[tuple[str, str | None, str]]:
    """(metric, protocol, words) of every error that two of the trainings have."""
    trainings, metrics = comparison.evidence.results.all_runs, comparison.evidence.paper.metrics
    for metric in ("train_error", "test_error"):
        yield metric, None, metrics[metric].label
    for protocol in sorted({protocol for training in trainings for protocol in training.evaluations}):
        for metric in TESTED:
            if sum(training.value(metric, protocol) is not None for training in trainings) > 1:
                yield metric, protocol, f"{metrics[metric].label}, {named(protocol, trainings)}"


def errors_table(comparison: Comparison) -> Table:
    """Each after its last iteration: mean ± std (n), and its length and data, without which no number says anything."""
    metrics = list(metrics_of(comparison))
    rows: list[list[str] | str] = []
    for name in comparison.names:
        found = [measure(comparison.evidence, name, metric, protocol) for metric, protocol, _ in metrics]
        conditions = conditions_for(comparison.trainings(name), comparison.evidence.paper, "test_error")
        rows.append([comparison.label(name), *(number.text() if number else "" for number in found), str(conditions)])
    columns = ["net", *(f"{words} (%)" for _, _, words in metrics), "measured on"]
    return Table("errors", "Errors after the last iteration", columns, rows, frozenset(range(1, len(columns) - 1)))


def differences_table(comparison: Comparison) -> Table:
    """Second minus first of each pair, and whether seeds tell them apart."""
    rows: list[list[str] | str] = []
    for metric, protocol, words in metrics_of(comparison):
        for first, second in comparison.pairs:
            a, b = (measure(comparison.evidence, name, metric, protocol) for name in (first, second))
            if a and b:
                test = permutation_test(a.values, b.values)
                alone = "one run each" if a.n == b.n == 1 else "a single training on one side"
                verdict = test.words if test else f"no test: {alone}"
                labels = f"{comparison.label(second)} − {comparison.label(first)}"
                rows.append([words, labels, f"{b.mean - a.mean:+.2f}", f"{a.n} and {b.n}", verdict])
    note = "Exact permutation test of the means, two-sided, at the level 0.05; several tests are not corrected for."
    columns = ["error", "pair", "difference (points)", "seeds", "significance"]
    return Table("differences", "Differences in final error", columns, rows, frozenset({2}), [note])


def config_differences(comparison: Comparison) -> Table:
    """The keys of the resolved configuration and of the provenance in which the pairs differ."""
    facts = {name: _facts(comparison, name) for name in comparison.names}
    keys = dict.fromkeys(key for found in facts.values() for key in found)
    differ = {key: [(a, b) for a, b in comparison.pairs if facts[a].get(key) != facts[b].get(key)] for key in keys}
    rows = _set_rows(differ, facts, comparison) if comparison.points else []
    if not comparison.points:
        rows = [[key, *(facts[name].get(key, "-") for name in facts)] for key, pairs in differ.items() if pairs]
    heads = ["A", "B", "runs"] if comparison.points else [comparison.label(name) for name in facts]
    return Table("config", "What differs in configuration and provenance", ["key", *heads], rows)


def _set_rows(
    differ: dict[str, list[tuple[str, str]]], facts: dict[str, dict[str, str]], comparison: Comparison
) -> list[list[str] | str]:
    """Of two sets: a row for each key and pair of values, with the runs that have them."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for key, pairs in differ.items():
        for a, b in pairs:
            values = (key, facts[a].get(key, "-"), facts[b].get(key, "-"))
            rows.setdefault(values, []).append(comparison.label(a).removesuffix(" (A)"))
    every = len(comparison.pairs)
    return [[*values, "all" if len(runs) == every else ", ".join(runs)] for values, runs in rows.items()]


def _facts(comparison: Comparison, name: str) -> dict[str, str]:
    trainings = comparison.trainings(name)
    every = [provenance_of(training) for training in trainings]
    origin = {key: " | ".join(dict.fromkeys(one[key] for one in every)) for key in every[0] if key not in LEFT_OUT}
    return config_of(trainings) | {"seeds": ", ".join(str(training.seed) for training in trainings)} | origin


# ---- The page ----


def write(comparison: Comparison, report: Path) -> Path:
    """<report>/compare/<name>/index.html with its figure and scripts."""
    folder = report / "compare" / comparison.name
    artefact = _artefact(comparison)
    tables = [errors_table(comparison), differences_table(comparison), config_differences(comparison)]
    context = {
        "comparison": comparison,
        "tables": tables,
        "drawing": draw(artefact, comparison.evidence, folder / "curves", ["svg"]) if artefact else None,
        "plot": interactive.plot_of(artefact, comparison.evidence) if artefact else None,
        "palette": comparison.evidence.paper.palette,
        "pasted": pasted,
        "root": "",
    }
    write_file(folder / "index.html", render("compare.html.j2", context))
    write_scripts(folder)
    return folder / "index.html"


def _artefact(comparison: Comparison) -> Artefact | None:
    """The curves as a figure, the paper's readings at the first net that stands for a run."""
    artefact = curve_artefact(comparison.names, comparison.title, comparison.evidence)
    if artefact is None:
        return None
    first = {run: name for name, run in reversed(comparison.runs.items())}
    like = comparison.evidence.paper.artefacts[comparison.evidence.paper.recipe(comparison.names[0]).curves]
    readings = [replace(cell, run=first[cell.run]) for cell in like.readings if cell.run in first]
    return replace(artefact, readings=readings)


def text(comparison: Comparison) -> str:
    """The same on a terminal, as Markdown."""
    tables = [errors_table(comparison), differences_table(comparison), config_differences(comparison)]
    return "\n".join(f"{table.caption}\n\n{table.markdown()}" for table in tables)
