"""Published nets as evidence of their own: each publisher's nets in the place of trained runs, never among them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from paper_tables.paper import Paper
from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import Results, RunResult

PROFILE = "published"  # of such evidence: no verdict takes it for results/paper


def publishers(evidence: Evidence) -> dict[str, Evidence]:
    """Publisher -> its nets that were tested by the single view, as one training each (seed 0).

    They answer the same questions as runs of ours do: tables, figures and claims need to know nothing of them.
    """
    found: dict[str, list[RunResult]] = {}
    for name, evaluations in evidence.results.published.items():
        single = evaluations.get("single", {})
        if single.get("run") in evidence.paper.runs and "train_error" in single:
            training = _as_training(name, single, evidence.results, evidence.paper)
            found.setdefault(single["publisher"], []).append(training)
    results = replace(evidence.results, profile=PROFILE, unfinished={}, refused={}, skipped=[], ensembles={})
    return {
        publisher: replace(
            evidence,
            results=replace(results, runs={training.run: [training] for training in nets}),
            source=f"{publisher}'s weights, tested on {_description(nets[0])}",
        )
        for publisher, nets in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    }


def _as_training(name: str, single: dict[str, Any], results: Results, paper: Paper) -> RunResult:
    """The evaluation as the result of a training; its length, which is its publisher's, counts as the paper's."""
    provenance = {"data": single["data"], "precision": single["precision"], "recipe": single["recipe"]}
    metrics = {"test_error": single["top1_error"], "train_error": single["train_error"], "claimed": single["claimed"]}
    result = {"run": single["run"], "seed": 0, "profile": PROFILE, "iterations": paper.length(single["run"])}
    result |= {"metrics": metrics, "provenance": provenance, "n_test": single["n"], "claim": single["claim"]}
    return RunResult(single["run"], 0, result, responses=results.published_responses.get(name))


def data_words(evidence: Evidence) -> str:
    """The images that published nets were tested on."""
    trainings = [training for found in publishers(evidence).values() for training in found.results.all_runs]
    return "; ".join(dict.fromkeys(map(_description, trainings)))


def published_words(evidence: Evidence) -> str:
    """Whose nets stand beside ours, and on what they were tested, in a sentence; empty without any."""
    who = " and ".join(publishers(evidence))
    return f"{who}: weights that others published, tested here on {data_words(evidence)}." if who else ""


def _description(training: RunResult) -> str:
    return " ".join(str(training.provenance["data"]["description"]).split())


def recipe_words(publisher: str, evidence: Evidence) -> str:
    """How a publisher trained, how its own numbers were chosen, and what ours were measured on."""
    trainings = evidence.results.all_runs
    images = {evidence.paper.label(t.run): f"{t.result['n_test']:,} test images ({_description(t)})" for t in trainings}
    each = "; ".join(f"{words}: {label}" for label, words in images.items())
    measured = next(iter(images.values())) if len(set(images.values())) == 1 else each
    claim, recipe = trainings[0].result["claim"], trainings[0].provenance["recipe"]
    return (
        f"{publisher}'s weights: {recipe}. Claimed: {claim}. Measured on {measured}; "
        "training error on all training images, not augmented. One net each (n = 1)."
    )
