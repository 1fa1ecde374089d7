"""The sentences of Sec. 4.1 and 4.2 as rules on measured numbers: signed gaps and a margin (see paper.yaml)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from paper_tables.measure import Conditions, Measured, conditions_of, measure, spread
from paper_tables.registry import Registry, label_of
from paper_tables.results import Results
from paper_tables.tested import how_tested

ERRORS = ("train_error", "test_error", "top1_error", "top5_error", "plateau_error")
COUNTS = ("parameters", "multiply_adds", "warmup_iterations")


@dataclass(frozen=True)
class Gap:
    """A difference that should be positive (near, equal: small), and its std."""

    value: float
    std: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What became of a claim. `outcome`: holds | fails | undecided | not run; `word` is what the report prints."""

    claim: dict[str, Any]
    outcome: str
    word: str
    numbers: str
    margin: str = ""
    conditions: Conditions | None = None


def judge_claims(results: Results, registry: Registry) -> list[Verdict]:
    return [judge_claim(claim, results, registry) for claim in registry.claims]


def judge_claim(claim: dict[str, Any], results: Results, registry: Registry) -> Verdict:
    """Applies the claim's rule. A run that is missing makes it `not run`, trainings that differ make it undecided."""
    if claim.get("counted"):
        return judge_count(claim, results, registry)
    wanted = runs_of(claim)
    numbers = {run: measure(results, registry, run, claim["metric"], claim.get("protocol")) for run in wanted}
    there = {run: number for run, number in numbers.items() if number is not None}
    pairs = [pair for pair in claim.get("pairs", []) if all(run in there for run in pair)]
    missing = [run for run in wanted if run not in there]
    if missing and not (claim.get("partial") and pairs):
        return Verdict(claim, "not run", "not run", "needs " + ", ".join(missing))
    if claim.get("partial"):
        there = {run: there[run] for pair in pairs for run in pair}
    seeds = [seed for run in there for seed in results.seeds[run]]
    testing = how_tested(seeds, registry, claim["metric"], claim.get("protocol"))
    conditions = conditions_of(seeds, registry, testing)
    gaps = gaps_of(claim, there, pairs)
    shown = words_of(claim, there, gaps)
    if conditions.mixed and claim["metric"] != "parameters":
        return Verdict(
            claim, "undecided", "undecided", f"{shown}; runs differ in {', '.join(conditions.mixed)}", "", conditions
        )
    margins = [margin_of(claim, gap, results.profile, registry) for gap in gaps]
    outcome = decide(claim["rule"], [gap.value for gap in gaps], margins)
    word = word_for(outcome, conditions, results.profile)
    return Verdict(claim, outcome, word, shown, _span(margins, claim), conditions)


def judge_count(claim: dict[str, Any], results: Results, registry: Registry) -> Verdict:
    """A claim about the nets themselves (architectures.json): it holds or fails whatever was trained."""
    counted = {run: results.architectures.get(run) for run in runs_of(claim)}
    there = {
        run: Measured((float(net[claim["metric"]]),), conditions_of([], registry))
        for run, net in counted.items()
        if net
    }
    if len(there) < len(counted):
        return Verdict(claim, "not run", "not run", "needs python -m reproduce architectures")
    gaps = gaps_of(claim, there, claim["pairs"])
    outcome = decide(claim["rule"], [gap.value for gap in gaps], [0.0] * len(gaps))
    word = {"holds": "holds by count", "fails": "fails by count"}[outcome]
    return Verdict(claim, outcome, word, words_of(claim, there, gaps), "exact")


def runs_of(claim: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys([*claim.get("of", []), *(run for pair in claim.get("pairs", []) for run in pair)]))


def decide(rule: str, gaps: list[float], margins: list[float]) -> str:
    """Orderings: every gap at least its margin holds, one as far below zero fails, closer is undecided.
    `near`, `gain` and `equal`: every distance within its margin holds, one beyond twice its margin fails."""
    tiny = 1e-9
    if rule in ("near", "gain", "equal"):
        if all(abs(gap) <= margin + tiny for gap, margin in zip(gaps, margins, strict=True)):
            return "holds"
        failed = any(abs(gap) > 2 * margin + tiny for gap, margin in zip(gaps, margins, strict=True))
        return "fails" if failed else "undecided"
    if all(gap >= margin - tiny for gap, margin in zip(gaps, margins, strict=True)):
        return "holds"
    failed = any(gap <= -margin + tiny and gap < 0 for gap, margin in zip(gaps, margins, strict=True))
    return "fails" if failed else "undecided"


def word_for(outcome: str, conditions: Conditions, profile: str) -> str:
    """`reproduced` is said of the paper's own conditions alone."""
    if outcome in ("undecided", "not run"):
        return outcome
    if profile == "paper" and conditions.as_paper:
        return {"holds": "reproduced", "fails": "not reproduced"}[outcome]
    return {"holds": "holds here", "fails": "does not hold here"}[outcome]


def margin_of(claim: dict[str, Any], gap: Gap, profile: str, registry: Registry) -> float:
    """The larger of 2 std of the gap and the claim's margin (points, unless the metric has another unit)."""
    if claim["rule"] == "equal":
        return 0.0
    least = claim.get("margins", {}).get(profile.partition("+")[0], claim.get("margin", registry.default_tolerance))
    return max(2 * gap.std, float(least))


def gaps_of(claim: dict[str, Any], numbers: dict[str, Measured], pairs: list[list[str]]) -> list[Gap]:
    """The rule's differences, each positive where the sentence is true (for near and equal: a distance)."""
    rule, runs = claim["rule"], claim.get("of", [])
    if rule in ("ascending", "lowest"):
        order = list(pairwise(runs)) if rule == "ascending" else [(runs[0], other) for other in runs[1:]]
        return [_between(numbers[low], numbers[high]) for low, high in order]
    if rule in ("less", "near", "equal") and pairs:
        return [_between(numbers[first], numbers[second]) for first, second in pairs]
    if rule == "gain":
        gap = _between(numbers[runs[0]], numbers[runs[1]])
        return [Gap(gap.value - target_of(claim), gap.std)]
    if rule == "excess":
        a, b, c, d = (numbers[run] for run in runs)
        return [Gap((b.mean - a.mean) - (d.mean - c.mean), spread([a, b, c, d]))]
    number, target = numbers[runs[0]], target_of(claim)
    return [Gap(target - number.mean if rule == "below" else number.mean - target, number.std)]


def _between(low: Measured, high: Measured) -> Gap:
    return Gap(high.mean - low.mean, spread([low, high]))


def target_of(claim: dict[str, Any]) -> float:
    return float(claim["to"] if claim["rule"] in ("near", "gain") else claim["than"])


def words_of(claim: dict[str, Any], numbers: dict[str, Measured], gaps: list[Gap]) -> str:
    """The numbers that a verdict rests on: each net once, then the differences."""
    metric = claim["metric"]
    values = ", ".join(f"{label_of(run)} {_with_std(number, metric)}" for run, number in numbers.items())
    if claim["rule"] == "gain":
        return f"{values}: difference {gaps[0].value + target_of(claim):+.2f} against {target_of(claim):+.2f}"
    if "to" in claim or "than" in claim:
        return f"{values} against {show(target_of(claim), metric)}"
    signed = [f"{gap.value:+,.0f}" if metric in COUNTS else f"{gap.value:+.2f}" for gap in gaps]
    return f"{values}: {'difference' if len(gaps) == 1 else 'differences'} {', '.join(signed)}"


def _with_std(number: Measured, metric: str) -> str:
    plus = f" ± {number.std:.2f} (n = {number.n})" if number.n > 1 and metric != "parameters" else ""
    return f"{show(number.mean, metric)}{plus}"


def show(value: float, metric: str) -> str:
    if metric in COUNTS:
        return f"{value:,.0f}"
    return f"{value:.2f}{' %' if metric in ERRORS else ''}"


def _span(margins: list[float], claim: dict[str, Any]) -> str:
    if claim["rule"] == "equal":
        return "exact"
    low, high = f"{min(margins):.2f}".removesuffix(".00"), f"{max(margins):.2f}".removesuffix(".00")
    return low if low == high else f"{low} to {high}"
