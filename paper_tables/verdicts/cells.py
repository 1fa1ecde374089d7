"""Our numbers beside the paper's cells: mean and std over seeds, under which conditions, how far from the paper."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from paper_tables.paper import Artefact, Cell, Paper
from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import RunResult
from paper_tables.verdicts import rules
from paper_tables.verdicts.tested import FP32, Testing, how_tested


@dataclass(frozen=True)
class Conditions:
    """What a number was measured under. Each field lists the distinct values of its trainings: two mean a mixture."""

    data: tuple[str, ...]
    fingerprints: tuple[str, ...]
    official: bool
    budgets: tuple[tuple[int, int], ...]  # (iterations, iterations of the paper)
    batches: tuple[tuple[int, int], ...]  # (images per iteration, the same in the paper)
    precisions: tuple[str, ...]
    normalised: tuple[int, ...] = ()  # images per batch-normalisation group: 128 on one device, 64 on two
    machines: tuple[tuple[str, tuple[str, ...]], ...] = ()  # device, versions, commit, processes -> every value met
    dirty: bool = False  # uncommitted changes
    testing: Testing = Testing()

    @property
    def mixed(self) -> list[str]:
        """What differs between the trainings behind one number; such a number is not compared with the paper's."""
        named = {
            "data": self.fingerprints,
            "iterations": tuple(done / (full or 1) for done, full in self.budgets),
            "batch": self.batches,
            "precision": self.precisions,
            "images per batch normalisation": self.normalised,
            "how they were tested": self.testing.tests,
        }
        return [name for name, values in named.items() if len(set(values)) > 1]

    @property
    def notes(self) -> list[str]:
        """Differences in device, version or commit: reported, but the number is still compared."""
        differ = [f"mixed {name}: {' and '.join(values)}" for name, values in self.machines if len(values) > 1]
        return differ + (["dirty commit"] if self.dirty else [])

    @property
    def remarks(self) -> str:
        """All differences, as printed in brackets after a number."""
        return ", ".join(([f"mixed {', '.join(self.mixed)}"] if self.mixed else []) + self.notes)

    @property
    def as_paper(self) -> bool:
        """Official data at full length in fp32, tested by the paper's protocol."""
        full = all(done == full for done, full in (*self.budgets, *self.batches))
        return self.official and full and all(p in FP32 for p in self.precisions) and not self.testing.unlike

    @property
    def short(self) -> bool:
        """Fewer iterations, or images in each, than the paper's."""
        return any(done < full for done, full in (*self.budgets, *self.batches))

    @property
    def data_text(self) -> str:
        return " and ".join(self.data)

    @property
    def budget_text(self) -> str:
        """Iterations of how many in the paper (if it has any), and the batch size where it is not the paper's."""
        text = " and ".join(f"{done:,} of {full:,}" if full else f"{done:,}" for done, full in self.budgets)
        batches = " and ".join(f"{batch}" for batch, paper in self.batches if batch != paper)
        return text + (f" (batch {batches})" if batches else "")

    @property
    def precision_text(self) -> str:
        """Of the training, and how its net was tested where that is another or by a protocol of its own."""
        return "; ".join([" and ".join(self.precisions), *self.testing.words])

    def __str__(self) -> str:
        return f"{self.data_text} · iterations: {self.budget_text} · {self.precision_text}"


@dataclass(frozen=True)
class Measured:
    """Seeds of one run as one number. Errors in percent."""

    values: tuple[float, ...]
    conditions: Conditions

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def std(self) -> float:
        """Sample standard deviation; 0 for a single seed, where it is unknown."""
        return stdev(self.values) if self.n > 1 else 0.0

    def text(self, cell: Cell | None = None) -> str:
        """mean ± std (n); where the paper prints the best of several runs in a cell, and we have as many, ours too."""
        spread = f"{self.mean:.2f} ± {self.std:.2f}"
        if self.n == 1:
            text = f"{self.mean:.2f}"
        elif cell and cell.best_of and self.n >= cell.best_of:
            best = max(self.values) if cell.better == "higher" else min(self.values)
            text = f"{best:.2f} best ({spread}, n = {self.n})"
        else:
            text = f"{spread} (n = {self.n})"
        return text + (f" [{self.conditions.remarks}]" if self.conditions.remarks else "")


@dataclass(frozen=True)
class Judgement:
    """A cell of the paper beside ours."""

    cell: Cell
    measured: Measured | None
    difference: float | None
    tolerance: float
    verdict: str  # within | outside (of a bound: holds | fails) | undecided | not compared | not run | refused
    reason: str = ""

    @property
    def decided(self) -> bool:
        """Was it compared with the paper's number?"""
        return self.verdict in ("within", "outside", "holds", "fails", "undecided")

    @property
    def word(self) -> str:
        """The verdict; that of a single run says so."""
        single = self.decided and self.measured is not None and self.measured.n == 1
        return f"{self.verdict} in one run" if single else self.verdict

    @property
    def difference_text(self) -> str:
        """Ours minus the paper's; empty where the two are not compared, or the paper gives only a bound."""
        return f"{self.difference:+.2f}" if self.decided and not self.cell.bound else ""


def conditions_of(trainings: Iterable[RunResult], paper: Paper, testing: Testing = Testing()) -> Conditions:  # noqa: B008
    """`testing`: how the numbers in question were tested, where they come from tests."""
    trainings = list(trainings)
    data = [training.provenance["data"] for training in trainings]
    return Conditions(
        data=_distinct(" ".join(str(d.get("description", d.get("source", "unknown data"))).split()) for d in data),
        fingerprints=_distinct(d["fingerprint"] for d in data),
        official=bool(data) and all(d.get("official") is True for d in data),
        budgets=_distinct((int(s.result["iterations"]), paper.length(s.run)) for s in trainings),
        batches=_distinct((_batch(s, paper), paper.recipe(s.run).batch_size) for s in trainings),
        precisions=_distinct(s.provenance["precision"] for s in trainings),
        normalised=_distinct(images for s in trainings for images in _normalised(s, paper)),
        machines=_machines(trainings),
        dirty=any(start.get("dirty") is True for s in trainings for start in _starts(s)),
        testing=testing,
    )


def conditions_for(trainings: list[RunResult], paper: Paper, metric: str, protocol: str | None = None) -> Conditions:
    """What lies behind the number `metric` of these trainings."""
    return conditions_of(trainings, paper, how_tested(trainings, paper, metric, protocol))


def _starts(training: RunResult) -> list[dict[str, Any]]:
    """The recorded starts of a training, then its provenance, which describes the last one."""
    return [*training.provenance.get("starts", []), training.provenance]


def _normalised(training: RunResult, paper: Paper) -> list[int]:
    """Images per batch-normalisation group at each start: the configured group, or what a device computes at once."""
    group = training.provenance.get("bn_group", "device")
    if isinstance(group, int):
        return [group]
    batch, starts = _batch(training, paper), _starts(training)
    return [int(start.get("micro_batch") or batch // int(start.get("processes", 1))) for start in starts]


def _machines(trainings: list[RunResult]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Device, commit and versions of every start, and the number of processes where BN groups do not depend on it."""
    found: dict[str, dict[str, None]] = {}
    for training in trainings:
        fixed = isinstance(training.provenance.get("bn_group"), int)
        for start in _starts(training):
            versions = start.get("versions")
            facts = {"device": start.get("device"), **(versions if isinstance(versions, dict) else {})}
            facts |= {"commit": str(start.get("commit") or "")[:10]}
            facts |= {"processes": start.get("processes")} if fixed else {}
            for name, value in facts.items():
                if value:
                    found.setdefault(name, {})[str(value)] = None
    return tuple((name, tuple(values)) for name, values in found.items())


def _batch(training: RunResult, paper: Paper) -> int:
    """Images per iteration as configured; the paper's where the provenance does not say."""
    try:
        return int(training.provenance["config"]["train"]["batch_size"])
    except (KeyError, TypeError, ValueError):
        return paper.recipe(training.run).batch_size


def _distinct(values: Iterable) -> tuple:
    return tuple(dict.fromkeys(values))


def measure(evidence: Evidence, run: str, metric: str, protocol: str | None = None) -> Measured | None:
    """The number of a run over its finished trainings, None where nothing was measured."""
    found = [(training, training.value(metric, protocol)) for training in evidence.trainings(run)]
    kept = [(training, value) for training, value in found if value is not None]
    if not kept:
        return None
    conditions = conditions_for([training for training, _ in kept], evidence.paper, metric, protocol)
    return Measured(tuple(value for _, value in kept), conditions)


def judge(cell: Cell, evidence: Evidence) -> Judgement:
    """Ours against the paper's. Only profile `paper`, on official data at full length in fp32, gets a verdict."""
    measured = measure(evidence, cell.run, cell.metric, cell.protocol)
    tolerance = tolerance_of(cell, evidence.paper)
    if measured is None:
        return Judgement(cell, None, None, tolerance, "refused" if cell.run in evidence.results.refused else "not run")
    if math.isnan(cell.paper):
        return Judgement(cell, measured, None, tolerance, "not compared", "the paper prints no number")
    difference = measured.mean - (cell.paper if cell.mean is None else cell.mean)
    reason = why_not_compared(measured.conditions, evidence.results.profile)
    verdict = "not compared" if reason else _verdict(cell, measured, difference, tolerance)
    return Judgement(cell, measured, difference, tolerance, verdict, reason)


def tolerance_of(cell: Cell, paper: Paper) -> float:
    """The cell's own tolerance; else the default or the uncertainty of the reading, whichever is larger.

    A bound has only the uncertainty of its reading: none where it is printed. No measurement changes a tolerance.
    """
    if cell.bound:
        return cell.pm or 0.0
    return max(paper.default_tolerance, cell.pm or 0.0) if cell.tolerance is None else cell.tolerance


def _verdict(cell: Cell, measured: Measured, difference: float, tolerance: float) -> str:
    """Difference and two standard errors (ours and the paper's) against the tolerance; see papers/*.yaml."""
    noise = 2 * rules.standard_error([(measured.std, measured.n), (cell.std or 0.0, cell.best_of or 1)])
    if cell.bound:
        beyond = difference if cell.bound == "above" else -difference
        return rules.ordering([beyond + tolerance], [0.0], [noise])
    outcome = rules.distance([difference], [tolerance], [noise])
    return {"holds": "within", "fails": "outside"}.get(outcome, outcome)


def ours_text(judgement: Judgement, evidence: Evidence) -> str:
    """Our number, or why there is none."""
    if judgement.measured is not None:
        deviations = judgement.measured.conditions.testing.deviations
        marks = f" [tested otherwise: {'; '.join(deviations)}]" if deviations else ""
        return judgement.measured.text(judgement.cell) + marks
    if judgement.cell.run in evidence.results.runs and judgement.cell.protocol:
        return f"not run (trained, {judgement.cell.protocol} not measured)"
    return not_there(judgement.cell.run, evidence)


def not_there(run: str, evidence: Evidence) -> str:
    """Why a run has no number: refused, or not run."""
    if run in evidence.results.refused:
        return f"refused ({evidence.results.refused[run]})"
    reached = evidence.results.unfinished.get(run)
    return "not run" if reached is None else f"not run (unfinished, at iteration {reached:,})"


def why_not_compared(conditions: Conditions, profile: str) -> str:
    """Why a number is not compared with the paper's; empty where it is."""
    if conditions.mixed:
        return f"mixed conditions: {', '.join(conditions.mixed)}"
    if not conditions.as_paper:
        unlike = ", ".join(words for _, words in conditions.testing.unlike)
        return f"not the paper's conditions: {conditions}" + (f" (tested with {unlike})" if unlike else "")
    return "" if profile == "paper" else "not in results/paper"


def judgements(artefacts: Iterable[Artefact], evidence: Evidence) -> list[Judgement]:
    """Each number once: where a table prints it and a figure shows it, the printed cell is judged."""
    artefacts = list(artefacts)
    cells: dict[tuple[str, str, str | None], Cell] = {}
    for cell in [*(c for a in artefacts for c in a.printed), *(c for a in artefacts for c in a.readings)]:
        cells.setdefault((cell.run, cell.metric, cell.protocol), cell)
    return [judge(cell, evidence) for cell in cells.values()]
