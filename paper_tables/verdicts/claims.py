"""The paper's claims as rules on measured numbers: signed gaps, a margin and noise (explained in papers/*.yaml)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from paper_tables.paper import Metric, Paper
from paper_tables.results.evidence import Evidence
from paper_tables.results.published import publishers
from paper_tables.verdicts import rules
from paper_tables.verdicts.cells import Conditions, Measured, conditions_for, conditions_of, measure

# The words of a verdict; those of one that rests on a single run, on any side, say so.
SHORT = "undecided (one run each, at a short length)"
GOOD = ("reproduced", "reproduced in one run each", "holds here", "holds in one run each", "holds (counted)")
BAD = (
    *("not reproduced", "not reproduced in one run each"),
    *("does not hold here", "does not hold in one run each", "fails (counted)"),
)
OPEN = ("undecided", "undecided in one run each", SHORT)


@dataclass(frozen=True)
class Gap:
    """A signed gap, positive where the claim holds (for near, gain and equal a distance); `n`: its fewest seeds."""

    value: float
    error: float = 0.0
    n: int = 1


@dataclass(frozen=True)
class Verdict:
    """A judged claim. `outcome`: holds | fails | undecided | not run; `word`: what the report prints."""

    claim: dict[str, Any]
    outcome: str
    word: str
    numbers: str
    margin: str = ""
    conditions: Conditions | None = None


def judge_claims(evidence: Evidence) -> list[Verdict]:
    return [judge_claim(claim, evidence) for claim in evidence.paper.claims]


def judge_claim(claim: dict[str, Any], evidence: Evidence) -> Verdict:
    """Applies the claim's rule: `not run` where a run is missing, undecided where the trainings' conditions differ."""
    if claim.get("counted"):
        return judge_count(claim, evidence)
    wanted = runs_of(claim)
    numbers = {run: measure(evidence, run, claim["metric"], claim.get("protocol")) for run in wanted}
    there = {run: number for run, number in numbers.items() if number is not None}
    pairs = [pair for pair in claim.get("pairs", []) if all(run in there for run in pair)]
    missing = [run for run in wanted if run not in there]
    if missing and not (claim.get("partial") and pairs):
        return without(claim, missing, evidence)
    if claim.get("partial"):
        there = {run: there[run] for pair in pairs for run in pair}
    trainings = [training for run in there for training in evidence.trainings(run)]
    conditions = conditions_for(trainings, evidence.paper, claim["metric"], claim.get("protocol"))
    return judge_numbers(claim, there, gaps_of(claim, there, pairs), conditions, evidence)


def on_published_weights(claim: dict[str, Any], evidence: Evidence) -> dict[str, Verdict]:
    """Publisher -> the same claim judged on its nets; only of those whose nets can decide it."""
    if claim.get("counted"):
        return {}
    verdicts = {publisher: judge_claim(claim, found) for publisher, found in publishers(evidence).items()}
    return {publisher: verdict for publisher, verdict in verdicts.items() if verdict.outcome != "not run"}


def without(claim: dict[str, Any], missing: list[str], evidence: Evidence) -> Verdict:
    """A claim with missing runs: not run, or undecided where all of these were refused."""
    refusals, label = evidence.results.refused, evidence.paper.label
    refused = [f"{label(run)} is refused: {refusals[run]}" for run in missing if run in refusals]
    needed = [run for run in missing if run not in refusals]
    numbers = "; ".join([*([f"needs {', '.join(needed)}"] if needed else []), *refused])
    word = "not run" if needed else "undecided"
    return Verdict(claim, word, word, numbers)


def judge_numbers(
    claim: dict[str, Any],
    numbers: dict[str, Measured],
    gaps: list[Gap],
    conditions: Conditions,
    evidence: Evidence,
) -> Verdict:
    """The verdict where every number has been measured."""
    paper, profile = evidence.paper, evidence.results.profile
    if paper.metrics[claim["metric"]].exact:
        return judge_exactly(claim, numbers, gaps, paper, conditions)
    single = any(gap.n == 1 for gap in gaps)
    remarks = [f"runs differ in {', '.join(conditions.mixed)}"] if conditions.mixed else []
    remarks += [", ".join(conditions.notes)] if conditions.notes else []
    shown = "; ".join([words_of(claim, numbers, gaps, paper), *remarks])
    if conditions.mixed:
        word = word_for("undecided", conditions, profile, single)
        return Verdict(claim, "undecided", word, shown, "", conditions)
    margins = [margin_of(claim, profile, paper)] * len(gaps)
    noise = [noise_of(gap, claim["metric"], conditions, paper) for gap in gaps]
    outcome = decide(claim["rule"], [gap.value for gap in gaps], margins, noise)
    word = word_for(outcome, conditions, profile, single)
    return Verdict(claim, outcome, word, shown, margin_words(margins, gaps, noise), conditions)


def judge_exactly(
    claim: dict[str, Any],
    numbers: dict[str, Measured],
    gaps: list[Gap],
    paper: Paper,
    conditions: Conditions | None = None,
) -> Verdict:
    """The verdict on a count of the net itself, which needs no margin and has no noise."""
    nothing = [0.0] * len(gaps)
    outcome = decide(claim["rule"], [gap.value for gap in gaps], nothing, nothing)
    return Verdict(claim, outcome, f"{outcome} (counted)", words_of(claim, numbers, gaps, paper), "exact", conditions)


def judge_count(claim: dict[str, Any], evidence: Evidence) -> Verdict:
    """A claim about the nets themselves, from architectures.json; no training is needed."""
    counted = {run: evidence.results.architectures.get(run) for run in runs_of(claim)}
    there = {
        run: Measured((float(net[claim["metric"]]),), conditions_of([], evidence.paper))
        for run, net in counted.items()
        if net
    }
    if len(there) < len(counted):
        return Verdict(claim, "not run", "not run", "needs python -m reproduce architectures")
    return judge_exactly(claim, there, gaps_of(claim, there, claim["pairs"]), evidence.paper)


def runs_of(claim: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys([*claim.get("of", []), *(run for pair in claim.get("pairs", []) for run in pair)]))


def decide(rule: str, gaps: list[float], margins: list[float], noise: list[float]) -> str:
    """holds | fails | undecided. The rules near, gain and equal bound distances; the others demand an order."""
    judge = rules.distance if rule in ("near", "gain", "equal") else rules.ordering
    return judge(gaps, margins, noise)


def word_for(outcome: str, conditions: Conditions, profile: str, single: bool) -> str:
    """`reproduced` only under the paper's own conditions; `in one run each` where a number comes from one seed."""
    if outcome == "undecided":
        short = single and conditions.short and not conditions.mixed
        return SHORT if short else f"undecided{' in one run each' if single else ''}"
    if profile == "paper" and conditions.as_paper:
        word = {"holds": "reproduced", "fails": "not reproduced"}[outcome]
    else:
        word = {"holds": "holds", "fails": "does not hold"}[outcome] + ("" if single else " here")
    return f"{word} in one run each" if single else word


def margin_of(claim: dict[str, Any], profile: str, paper: Paper) -> float:
    """The claim's fixed margin in this profile (points, unless the metric has another unit)."""
    margin = claim.get("margin", paper.default_tolerance)
    return float(claim.get("margins", {}).get(profile.partition("+")[0], margin))


def noise_of(gap: Gap, metric: str, conditions: Conditions, paper: Paper) -> float:
    """How far chance may move a gap: two standard errors.

    Single runs at a short length have no standard error: they get the paper file's single_run_margin, which is in
    points. A metric in another unit has no such margin, so nothing is decided about it.
    """
    if gap.n > 1 or not conditions.short:
        return 2 * gap.error
    return max(2 * gap.error, paper.single_run_margin if paper.metrics[metric].unit else math.inf)


def rule_words(paper: Paper) -> str:
    """How claims are judged, for a reader of the report."""
    return (
        "An ordering holds where every difference is at least the larger of its fixed margin "
        f"({paper.default_tolerance:g} points unless a claim has its own) and two standard errors of the "
        "difference (SE, the root of the sum of s²/n), fails where one is as large with the wrong sign, and is "
        "undecided in between. Numbers are similar where the difference plus two SE is within the margin. A single run "
        'has no standard error: a verdict based on one says "in one run each" and is weaker than one based on several '
        f"seeds. Below the paper's length deep nets are chaotic, and single runs decide no difference smaller than "
        f"{paper.single_run_margin:g} points."
    )


def gaps_of(claim: dict[str, Any], numbers: dict[str, Measured], pairs: list[list[str]]) -> list[Gap]:
    """The rule's gaps, each positive where the claim holds (for near and equal: a distance)."""
    rule, runs = claim["rule"], claim.get("of", [])
    if rule == "ascending":
        pairs = [[low, high] for low, high in pairwise(runs)]
    if rule == "lowest":
        pairs = [[runs[0], other] for other in runs[1:]]
    if pairs:
        return [_gap(numbers[high].mean - numbers[low].mean, [numbers[low], numbers[high]]) for low, high in pairs]
    if rule == "gain":
        low, high = (numbers[run] for run in runs)
        return [_gap(high.mean - low.mean - target_of(claim), [low, high])]
    if rule == "excess":
        a, b, c, d = (numbers[run] for run in runs)
        return [_gap((b.mean - a.mean) - (d.mean - c.mean), [a, b, c, d])]
    number, target = numbers[runs[0]], target_of(claim)
    return [_gap(target - number.mean if rule == "below" else number.mean - target, [number])]


def _gap(value: float, numbers: Iterable[Measured]) -> Gap:
    samples = [(number.std, number.n) for number in numbers]
    return Gap(value, rules.standard_error(samples), min(n for _, n in samples))


def target_of(claim: dict[str, Any]) -> float:
    return float(claim["to"] if claim["rule"] in ("near", "gain") else claim["than"])


def words_of(claim: dict[str, Any], numbers: dict[str, Measured], gaps: list[Gap], paper: Paper) -> str:
    """The numbers behind a verdict: each net once, then the differences."""
    metric = paper.metrics[claim["metric"]]
    values = ", ".join(f"{paper.label(run)} {_with_n(number, metric)}" for run, number in numbers.items())
    if claim["rule"] == "gain":
        return f"{values}: difference {gaps[0].value + target_of(claim):+.2f} against {target_of(claim):+.2f}"
    if "to" in claim or "than" in claim:
        return f"{values} against {metric.text(target_of(claim))}{_unit(metric)}"
    signed = [metric.text(gap.value, "+") for gap in gaps]
    return f"{values}: {'difference' if len(gaps) == 1 else 'differences'} {', '.join(signed)}"


def _with_n(number: Measured, metric: Metric) -> str:
    """8.80 % (n = 1), 8.80 ± 0.10 % (n = 3); a count has no n."""
    plus = f" ± {number.std:.2f}" if number.n > 1 and not metric.exact else ""
    n = "" if metric.exact else f" (n = {number.n})"
    return f"{metric.text(number.mean)}{plus}{_unit(metric)}{n}"


def _unit(metric: Metric) -> str:
    return f" {metric.unit}" if metric.unit else ""


def margin_words(margins: list[float], gaps: list[Gap], noise: list[float]) -> str:
    """The fixed margin and the noise, as the report prints them."""
    words, errors = [_span(margins)], [2 * gap.error for gap in gaps]
    if any(errors):
        words.append(f"2 SE {_span(errors)}")
    if any(unsure > error for unsure, error in zip(noise, errors, strict=True)):
        most = max(noise)
        words.append(f"{f'{most:g}' if math.isfinite(most) else 'no margin'} for single runs at a short length")
    return "; ".join(words)


def _span(values: list[float]) -> str:
    low, high = (f"{value:.2f}".removesuffix(".00") for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
