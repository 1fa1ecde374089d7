"""Joins the paper's cells with the results: mean and std over seeds, under which conditions, how far from the paper."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev

from paper_tables.registry import Artefact, Cell, Registry
from paper_tables.results import Results, Seed
from paper_tables.tested import FP32, Testing, how_tested


@dataclass(frozen=True)
class Conditions:
    """What lay behind a number: each field holds every value met, in order, so that a mixture shows."""

    data: tuple[str, ...]
    fingerprints: tuple[str, ...]
    official: bool
    budgets: tuple[tuple[int, int], ...]  # (iterations, iterations of the paper)
    batches: tuple[tuple[int, int], ...]  # (images per iteration, the same in the paper)
    precisions: tuple[str, ...]
    normalised: tuple[int, ...] = ()  # images that batch normalisation sees together: 128 on one device, 64 on two
    testing: Testing = Testing()

    @property
    def mixed(self) -> list[str]:
        """Names of what differs between the trainings behind one number."""
        named = {
            "data": self.fingerprints,
            "iterations": tuple(done / full for done, full in self.budgets),
            "batch": self.batches,
            "precision": self.precisions,
            "images per batch normalisation": self.normalised,
            "how they were tested": self.testing.tests,
        }
        return [name for name, values in named.items() if len(set(values)) > 1]

    @property
    def as_paper(self) -> bool:
        """Official data at full length in fp32, tested by the paper's protocol."""
        full = all(done == full for done, full in (*self.budgets, *self.batches))
        return self.official and full and all(p in FP32 for p in self.precisions) and not self.testing.unlike

    @property
    def data_text(self) -> str:
        return " and ".join(self.data)

    @property
    def budget_text(self) -> str:
        """Iterations of how many in the paper, and the batch size where it is not the paper's."""
        text = " and ".join(f"{done:,} of {full:,}" for done, full in self.budgets)
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
        """Sample standard deviation; 0 for a single seed, of which nothing is known."""
        return stdev(self.values) if self.n > 1 else 0.0

    def text(self, best_of: int | None = None) -> str:
        """mean ± std (n); `best_of` runs or more print the best in front, as the paper does."""
        if self.n == 1:
            text = f"{self.mean:.2f}"
        elif best_of and self.n >= best_of:
            text = f"{min(self.values):.2f} best ({self.mean:.2f} ± {self.std:.2f}, n = {self.n})"
        else:
            text = f"{self.mean:.2f} ± {self.std:.2f} (n = {self.n})"
        return text + (f" [mixed {', '.join(self.conditions.mixed)}]" if self.conditions.mixed else "")


@dataclass(frozen=True)
class Judgement:
    """A cell of the paper beside ours."""

    cell: Cell
    measured: Measured | None
    difference: float | None
    tolerance: float
    verdict: str  # within | outside | not compared | not run
    reason: str = ""

    @property
    def difference_text(self) -> str:
        """Ours minus the paper's; nothing where other conditions than the paper's forbid the comparison."""
        held = self.difference is not None and self.verdict in ("within", "outside")
        return f"{self.difference:+.2f}" if held else ""


def conditions_of(seeds: Iterable[Seed], registry: Registry, testing: Testing = Testing()) -> Conditions:  # noqa: B008
    """`testing`: how the numbers in question were tested, where they come from tests."""
    seeds = list(seeds)
    data = [seed.provenance["data"] for seed in seeds]
    return Conditions(
        data=_distinct(" ".join(str(d.get("description", d.get("source", "unknown data"))).split()) for d in data),
        fingerprints=_distinct(d["fingerprint"] for d in data),
        official=bool(data) and all(d.get("official") is True for d in data),
        budgets=_distinct((int(s.result["iterations"]), registry.length(s.run)) for s in seeds),
        batches=_distinct((_batch(s, registry), registry.batch(s.run)) for s in seeds),
        precisions=_distinct(s.provenance["precision"] for s in seeds),
        normalised=_distinct(_normalised(s, registry) for s in seeds),
        testing=testing,
    )


def _normalised(seed: Seed, registry: Registry) -> int:
    """Images that batch normalisation took together: a group, or what one of the processes held."""
    group = seed.provenance.get("bn_group", "device")
    return group if isinstance(group, int) else _batch(seed, registry) // int(seed.provenance.get("processes", 1))


def _batch(seed: Seed, registry: Registry) -> int:
    """Images per iteration as configured; the paper's where the provenance does not say."""
    try:
        return int(seed.provenance["config"]["train"]["batch_size"])
    except (KeyError, TypeError, ValueError):
        return registry.batch(seed.run)


def _distinct(values: Iterable) -> tuple:
    return tuple(dict.fromkeys(values))


def measure(
    results: Results, registry: Registry, run: str, metric: str, protocol: str | None = None
) -> Measured | None:
    """The number of a run over its finished seeds, None where nothing was measured."""
    found = [(seed, seed.value(metric, protocol)) for seed in results.seeds.get(run, [])]
    kept = [(seed, value) for seed, value in found if value is not None]
    if not kept:
        return None
    seeds = [seed for seed, _ in kept]
    testing = how_tested(seeds, registry, metric, protocol)
    return Measured(tuple(value for _, value in kept), conditions_of(seeds, registry, testing))


def judge(cell: Cell, results: Results, registry: Registry) -> Judgement:
    """Ours against the paper's. Only profile `paper`, on official data at full length in fp32, gets a verdict."""
    measured = measure(results, registry, cell.run, cell.metric, cell.protocol)
    tolerance = cell.tolerance
    if tolerance is None:
        stds = (measured.std if measured else 0.0, cell.std or 0.0)
        tolerance = max(2 * max(stds), registry.default_tolerance, cell.pm or 0.0)
    if measured is None:
        return Judgement(cell, None, None, tolerance, "not run")
    if math.isnan(cell.paper):
        return Judgement(cell, measured, None, tolerance, "not compared", "the paper prints no number")
    difference = measured.mean - (cell.paper if cell.mean is None else cell.mean)
    reason = why_not_compared(measured.conditions, results.profile)
    if reason:
        return Judgement(cell, measured, difference, tolerance, "not compared", reason)
    excess = {"above": -difference, "below": difference}.get(cell.bound or "", abs(difference))
    within = excess <= tolerance + 1e-9
    return Judgement(cell, measured, difference, tolerance, "within" if within else "outside")


def ours_text(judgement: Judgement, results: Results) -> str:
    """Our number, or what stands in its place."""
    if judgement.measured is not None:
        deviations = judgement.measured.conditions.testing.deviations
        marks = f" [tested otherwise: {'; '.join(deviations)}]" if deviations else ""
        return judgement.measured.text(judgement.cell.best_of) + marks
    if judgement.cell.run in results.seeds and judgement.cell.protocol:
        return f"not run (trained, {judgement.cell.protocol} not measured)"
    reached = results.unfinished.get(judgement.cell.run)
    return "not run" if reached is None else f"not run (unfinished, at iteration {reached:,})"


def why_not_compared(conditions: Conditions, profile: str) -> str:
    """Why a number cannot be held against the paper's; empty where it can."""
    if conditions.mixed:
        return f"seeds differ in {', '.join(conditions.mixed)}"
    if not conditions.as_paper:
        unlike = ", ".join(words for _, words in conditions.testing.unlike)
        return f"not the paper's conditions: {conditions}" + (f" (tested with {unlike})" if unlike else "")
    return "" if profile == "paper" else "not in results/paper"


def judgements(artefacts: Iterable[Artefact], results: Results, registry: Registry) -> list[Judgement]:
    """Every cell once: a printed value goes before a reading of the same number."""
    cells: dict[tuple[str, str, str | None], Cell] = {}
    for cell in sorted((c for a in artefacts for c in a.cells()), key=lambda c: c.artefact.startswith("fig")):
        cells.setdefault((cell.run, cell.metric, cell.protocol), cell)
    return [judge(cell, results, registry) for cell in cells.values()]


def spread(measured: Iterable[Measured]) -> float:
    """Std of a sum or difference of means over independent seeds."""
    return math.sqrt(sum(m.std**2 for m in measured))
