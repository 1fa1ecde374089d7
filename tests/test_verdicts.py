"""Verdicts: standard errors against fixed margins, single runs under words of their own, unlike seeds, bounds."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from paper_tables import artefacts, claims, commands, comparison, headline, measure, tables
from paper_tables.__main__ import main
from tests.helpers.evidence import PAPER, evidence
from tests.helpers.fake_results import write_run

P20, P56, R20, R56 = (f"cifar10-{net}" for net in ("plain-20", "plain-56", "resnet-20", "resnet-56"))
R110, R1202, NO_WARMUP = "cifar10-resnet-110", "cifar10-resnet-1202", "cifar10-resnet-110-no-warmup"


def verdict(root: Path, identifier: str, profile: str = "paper") -> claims.Verdict:
    claim = next(c for c in PAPER.claims if c["id"] == identifier)
    return claims.judge_claim(claim, evidence(root, profile))


def judged(root: Path, run: str, artefact: str = "table6", metric: str = "test_error") -> measure.Judgement:
    cell = next(c for c in PAPER.artefacts[artefact].cells() if (c.run, c.metric) == (run, metric))
    return measure.judge(cell, evidence(root))


def sample(n: int, mean: float, std: float) -> list[float]:
    """n values with exactly this mean and sample standard deviation."""
    raw = [k - (n - 1) / 2 for k in range(n)]
    return [mean + value * std / statistics.stdev(raw) for value in raw]


def write_seeds(root: Path, run: str, values: list[float], metric: str = "test", **changes: Any) -> None:
    for seed, value in enumerate(values):
        error: dict[str, Any] = {metric: value}
        write_run(root, "paper", run, seed, **error, **changes)


# ---- Standard errors ----


def test_ten_seeds_each_decide_what_lies_beyond_two_standard_errors(tmp_path: Path) -> None:
    write_seeds(tmp_path, P20, sample(10, 9.70, 0.30))
    write_seeds(tmp_path, P56, sample(10, 10.30, 0.30))  # a gap of 0.60, 4.5 standard errors
    assert verdict(tmp_path, "degradation-test").word == "reproduced"


def test_an_ordering_within_two_standard_errors_is_undecided(tmp_path: Path) -> None:
    write_seeds(tmp_path, P20, sample(4, 9.70, 1.0))
    write_seeds(tmp_path, P56, sample(4, 11.0, 1.0))  # a gap of 1.30; 2 standard errors are 1.41
    got = verdict(tmp_path, "degradation-test")
    assert (got.word, got.margin) == ("undecided", "0.50; 2 SE 1.41")


@pytest.mark.parametrize(
    ("mean", "std", "word"),
    [
        (8.50, 2.29, "undecided"),
        (8.50, 0.10, "not reproduced"),
        (6.70, 0.10, "reproduced"),
        (6.70, 0.60, "undecided"),  # 0.10 + 2 SE of 0.28 is more than 0.50
        (7.20, 0.10, "undecided"),  # beyond the margin by less than 2 SE
    ],
)
def test_noise_never_helps_two_nets_to_be_similar(mean: float, std: float, word: str, tmp_path: Path) -> None:
    write_seeds(tmp_path, R110, sample(5, 6.60, 0.20))
    write_seeds(tmp_path, NO_WARMUP, sample(5, mean, std))
    assert verdict(tmp_path, "warm-up-not-needed").word == word


@pytest.mark.parametrize(
    ("mean", "std", "word"),
    [(9.38, 2.19, "outside"), (8.00, 2.19, "undecided"), (6.70, 0.16, "within"), (6.70, 0.60, "undecided")],
)
def test_noise_never_helps_a_cell_to_lie_within_its_tolerance(
    mean: float, std: float, word: str, tmp_path: Path
) -> None:
    write_seeds(tmp_path, R110, sample(5, mean, std))  # the paper's: 6.61 with a std of 0.16 over five
    got = judged(tmp_path, R110)
    assert (got.verdict, got.tolerance) == (word, 0.5)


@pytest.mark.parametrize("rule", ["ascending", "near", "below"])
def test_more_noise_never_turns_undecided_into_a_verdict(rule: str) -> None:
    for gap in (-2.0, -0.6, -0.5, 0.0, 0.3, 0.5, 0.6, 2.0):
        outcomes = [claims.decide(rule, [gap], [0.5], [noise / 10]) for noise in range(40)]
        later = outcomes[outcomes.index("undecided") :] if "undecided" in outcomes else []
        assert set(later) <= {"undecided"}, gap
        assert outcomes[-1] == "undecided"


# ---- Single runs ----


def test_single_runs_have_a_word_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path, "paper", P20, train=1.4, test=9.7)
    write_run(tmp_path, "paper", P56, train=5.8, test=9.9)
    write_run(tmp_path, "paper", R56, train=9.0, test=9.0)
    words = [verdict(tmp_path, name).word for name in ("degradation-training", "degradation-test", "residual-training")]
    assert words == ["reproduced in one run each", "undecided in one run each", "not reproduced in one run each"]
    write_run(tmp_path, "paper", P20, 1, train=1.4, test=9.7)
    assert verdict(tmp_path, "degradation-training").word == "reproduced in one run each"  # still one of plain-56
    write_run(tmp_path, "paper", P56, 1, train=5.8, test=9.9)
    assert verdict(tmp_path, "degradation-training").word == "reproduced"


def test_every_claim_says_how_many_runs_it_rests_on(tmp_path: Path) -> None:
    write_run(tmp_path, "paper", P20, train=1.4)
    write_seeds(tmp_path, P56, [5.7, 5.9], "train")
    got = verdict(tmp_path, "degradation-training")
    assert got.numbers.startswith("plain-20 1.40 % (n = 1), plain-56 5.80 ± 0.14 % (n = 2)")


def test_a_count_of_parameters_holds_by_count_in_every_profile(tmp_path: Path) -> None:
    for run in (P20, R20):
        write_run(tmp_path, "demo", run)
    assert verdict(tmp_path, "no-extra-parameters", "demo").word == "holds by count"


def test_single_runs_keep_their_word_wherever_verdicts_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, arguments = tmp_path / "results", ["--results", str(tmp_path / "results")]
    for run, train, test in ((P20, 1.4, 9.7), (P56, 5.8, 13.3), (R20, 0.65, 8.8)):
        write_run(root, "paper", run, train=train, test=test)
    found = evidence(root, "paper")
    assert main(["check", *arguments]) == 0
    shown = {"check": capsys.readouterr().out, "headline": headline.headline(found)}
    assert main(["render", "all", *arguments, "--report", str(tmp_path / "report")]) == 0
    report = tmp_path / "report" / "paper"
    shown |= {name: (report / name).read_text() for name in ("index.html", "REPORT.md", "tables/claims.csv")}
    shown["artefacts.json"] = json.dumps(artefacts.content(found))
    for place, text in shown.items():
        assert "reproduced in one run each" in text, place
    counts = "claims: 3 not reproduced"
    assert counts not in shown["check"]
    assert "reproduced in one run each 2" in shown["headline"]
    assert "within 0.50 in one run" in shown["headline"]
    assert "within in one run" in shown["check"]
    made = comparison.of_runs([P20, P56], found)
    assert "one run each" in list(comparison.differences_table(made).body())[0][-1]


# ---- Single runs at a short length ----

SHORT = "undecided (one run each, at a short length)"


def short_runs(root: Path, seeds: int = 1, **train: float) -> None:
    for run, error in train.items():
        for seed in range(seeds):
            write_run(root, "short", f"cifar10-{run.replace('_', '-')}", seed, train=error, iterations=6400)


def test_one_seed_at_a_short_length_decides_nothing_between_20_and_56_layers(tmp_path: Path) -> None:
    short_runs(tmp_path, resnet_20=60.5, resnet_56=71.7)
    assert verdict(tmp_path, "residual-depth-training", "short").word == SHORT
    again = tmp_path / "again"  # the other end of what initial weights moved by 1e-7 made of ResNet-56
    short_runs(again, resnet_20=61.1, resnet_56=84.0)
    assert verdict(again, "residual-depth-training", "short").word == SHORT
    found = evidence(tmp_path, "short")
    assert f"{SHORT} 2" in headline.counts_line(claims.judge_claims(found))
    assert main(["check", "--profile", "short", "--results", str(tmp_path)]) == 0


def test_a_gap_beyond_what_chaos_moves_holds_in_one_run_each(tmp_path: Path) -> None:
    short_runs(tmp_path, plain_20=17.7, plain_56=57.1)
    got = verdict(tmp_path, "degradation-training", "short")
    assert got.word == "holds in one run each"
    assert PAPER.single_run_margin == 25
    assert got.margin == "0.50; 25 for single runs at a short length"


def test_similarity_is_not_shown_by_one_run_each_at_a_short_length(tmp_path: Path) -> None:
    short_runs(tmp_path, resnet_110=20.0, resnet_1202=20.1)
    assert verdict(tmp_path, "resnet-1202-training", "short").word == SHORT


def test_responses_of_single_short_runs_have_no_margin_and_decide_nothing(tmp_path: Path) -> None:
    short_runs(tmp_path, resnet_20=20.0, plain_20=20.0, resnet_56=20.0, plain_56=20.0)
    assert verdict(tmp_path, "responses-residual", "short").word == SHORT


def test_several_seeds_at_a_short_length_are_judged_by_their_spread(tmp_path: Path) -> None:
    short_runs(tmp_path, 3, resnet_20=20.0, resnet_56=15.0)
    assert verdict(tmp_path, "residual-depth-training", "short").word == "holds here"


# ---- Bounds ----


@pytest.mark.parametrize(("train", "word"), [(0.1, "not reproduced"), (0.09, "reproduced"), (0.11, "not reproduced")])
def test_below_a_printed_bound_is_strict(train: float, word: str, tmp_path: Path) -> None:
    write_seeds(tmp_path, R1202, [train, train], "train")
    assert verdict(tmp_path, "resnet-1202-trains").word == word
    assert judged(tmp_path, R1202, "fig6", "train_error").verdict == ("holds" if word == "reproduced" else "fails")


@pytest.mark.parametrize(("test", "word"), [(83.0, "holds"), (60.0, "fails"), (59.6, "fails")])
def test_a_bound_is_shown_as_a_bound(test: float, word: str, tmp_path: Path) -> None:
    write_run(tmp_path, "paper", "cifar10-plain-110", train=test, test=test)
    found = evidence(tmp_path, "paper")
    table = tables.artefact_table(PAPER.artefacts["table6"], found)
    assert table is not None
    row = next(r for r in table.body() if r[:2] == ["plain", "110"])
    assert (row[5], row[7]) == ("", f"above 60: {word} in one run")
    assert f"| plain-110 | above 60 | {test:.2f} |  | above 60: {word} in one run |" in headline.headline(found)


def test_a_bound_within_two_standard_errors_is_undecided(tmp_path: Path) -> None:
    write_seeds(tmp_path, "cifar10-plain-110", sample(4, 62.0, 5.0))
    assert judged(tmp_path, "cifar10-plain-110").verdict == "undecided"


# ---- Seeds that are not alike ----


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"recipe_hash": "fedcba9876543210"}, "recipes"),
        ({"data": {"source": "official", "fingerprint": "sha256:" + "cd" * 32, "official": True}}, "data"),
    ],
)
def test_seeds_of_another_recipe_or_other_data_are_refused(
    changes: dict[str, Any], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_seeds(tmp_path, R20, [8.7, 8.8])
    write_run(tmp_path, "paper", R20, 2, test=8.9, **changes)
    write_run(tmp_path, "paper", P20, test=9.7)
    write_run(tmp_path, "paper", R56, train=0.1, test=7.0)
    found = evidence(tmp_path, "paper")
    ours = measure.ours_text(judged(tmp_path, R20), found)
    assert ours == f"refused (seeds of different {what})"
    ((where, reason),) = found.results.skipped
    assert where == R20
    assert reason.startswith(f"seeds of different {what}: 0, 1 (")
    assert "2 (" in reason
    assert R20 in found.results.refused
    got = verdict(tmp_path, "residual-depth-test")
    assert (got.word, got.numbers) == ("undecided", f"ResNet-20 is refused: seeds of different {what}")
    arguments = ["--results", str(tmp_path)]
    assert main(["render", "table6", *arguments, "--report", str(tmp_path / "report")]) == 0
    captured = capsys.readouterr()
    assert f"skipped {R20}: seeds of different {what}" in captured.err
    assert f"reproduce train {R20}" not in captured.out
    assert main(["check", *arguments]) == 0
    assert f"skipped {R20}: seeds of different {what}" in capsys.readouterr().out
    assert main(["compare", R20, P20, *arguments, "--report", str(tmp_path / "report")]) == 2
    assert "refused" in capsys.readouterr().err


def test_a_refused_run_leaves_a_claim_on_pairs_to_the_other_pairs(tmp_path: Path) -> None:
    for run in (P20, R20, P56, R56):
        write_run(tmp_path, "demo", run)
    write_run(tmp_path, "demo", R20, 1, recipe_hash="fedcba9876543210")
    got = verdict(tmp_path, "no-extra-parameters", "demo")
    assert (got.word, got.numbers) == ("holds by count", "plain-56 853,018, ResNet-56 853,018: difference +0")
    found = evidence(tmp_path, "demo")
    assert commands.missing_commands(PAPER.artefacts["fig1"], found) == []
    assert not [c for c in commands.missing_commands(PAPER.artefacts["table6"], found) if R20 in c]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": "NVIDIA H100"}, "[mixed device: CPU (two cores) and NVIDIA H100]"),
        ({"versions": {"torch": "1.2.0"}}, "[mixed torch: 2.15.0 and 1.2.0]"),
        ({"commit": "e" * 40}, "[mixed commit: ffffffffff and eeeeeeeeee]"),
        ({"dirty": True}, "[dirty commit]"),
    ],
)
def test_another_device_version_or_commit_is_averaged_and_said(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    write_run(tmp_path, "paper", R20, 0, test=8.7)
    write_run(tmp_path, "paper", R20, 1, test=8.9, **changes)
    got = judged(tmp_path, R20)
    assert got.verdict == "within"
    assert measure.ours_text(got, evidence(tmp_path, "paper")) == f"8.80 ± 0.14 (n = 2) {words}"


def test_a_claim_says_that_its_runs_come_from_two_devices(tmp_path: Path) -> None:
    write_run(tmp_path, "paper", P20, test=9.7)
    write_run(tmp_path, "paper", P56, test=13.3, device="NVIDIA H100", dirty=True)
    numbers = verdict(tmp_path, "degradation-test").numbers
    assert "mixed device: CPU (two cores) and NVIDIA H100, dirty commit" in numbers


# ---- Trainings that were continued elsewhere ----


def start(processes: int = 1, iteration: int = 0, **changes: Any) -> dict[str, Any]:
    found = {"processes": processes, "device": "CPU (two cores)", "versions": {"torch": "2.15.0"}, "commit": "f" * 40}
    return {**found, "start": "2026-01-02T03:04:05+00:00", "iteration": iteration, **changes}


@pytest.mark.parametrize(
    ("starts", "group", "words"),
    [
        ([start(1), start(2, 32000)], "device", "8.70 [mixed images per batch normalisation]"),
        ([start(1), start(2, 32000)], 64, "8.70 [mixed processes: 1 and 2]"),
        ([start(2), start(2, 32000)], "device", "8.70"),
        (
            [start(2), start(2, 32000, device="NVIDIA H100")],
            "device",
            "8.70 [mixed device: CPU (two cores) and NVIDIA H100]",
        ),
        ([start(2), start(2, 9, versions={"torch": "2.16"})], "device", "8.70 [mixed torch: 2.15.0 and 2.16]"),
        ([start(2), start(2, 9, commit="e" * 40)], "device", "8.70 [mixed commit: ffffffffff and eeeeeeeeee]"),
        ([], "device", "8.70"),
    ],
)
def test_every_start_of_a_training_counts_among_its_conditions(
    starts: list[dict[str, Any]], group: Any, words: str, tmp_path: Path
) -> None:
    last = starts[-1] if starts else start(2)
    origin = {key: last[key] for key in ("processes", "device", "versions", "commit")}
    write_run(tmp_path, "paper", R20, test=8.7, starts=starts, bn_group=group, **origin)
    got = judged(tmp_path, R20)
    assert measure.ours_text(got, evidence(tmp_path, "paper")) == words
    assert (got.verdict == "not compared") == ("normalisation" in words)


@pytest.mark.parametrize("starts", ["twice", [3], [{"processes": 0}], [{"processes": 2, "device": 7}]])
def test_starts_that_cannot_be_trusted_are_skipped_with_a_reason(starts: Any, tmp_path: Path) -> None:
    write_run(tmp_path, "paper", R20, test=8.7, starts=starts)
    found = evidence(tmp_path, "paper")
    assert found.results.seeds == {}
    ((where, reason),) = found.results.skipped
    assert where == f"{R20}/seed-0/result.json"
    assert reason.startswith("provenance: starts")
