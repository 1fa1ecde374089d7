"""Claims: orderings and distances, margins and noise, single runs under words of their own."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from paper_tables.__main__ import main
from paper_tables.report import comparison, export, front_page
from paper_tables.verdicts import claims
from paper_tables.verdicts.cells import Judgement, judge
from tests.helpers.evidence import PAPER, evidence, verdict
from tests.helpers.fake_results import write_run

FOUR = ["cifar10-plain-20", "cifar10-plain-56", "cifar10-resnet-20", "cifar10-resnet-56"]
P20, P56, R20, R56 = (f"cifar10-{net}" for net in ("plain-20", "plain-56", "resnet-20", "resnet-56"))
R110, R1202, NO_WARMUP = "cifar10-resnet-110", "cifar10-resnet-1202", "cifar10-resnet-110-no-warmup"
SHORT = "undecided (one run each, at a short length)"


def judged(root: Path, run: str, artefact: str = "table6", metric: str = "test_error") -> Judgement:
    cell = next(c for c in PAPER.artefacts[artefact].cells() if (c.run, c.metric) == (run, metric))
    return judge(cell, evidence(root))


def sample(n: int, mean: float, std: float) -> list[float]:
    """n values with exactly this mean and sample standard deviation."""
    raw = [k - (n - 1) / 2 for k in range(n)]
    return [mean + value * std / statistics.stdev(raw) for value in raw]


def write_seeds(root: Path, run: str, values: list[float], metric: str = "test", **changes: Any) -> None:
    for seed, value in enumerate(values):
        error: dict[str, Any] = {metric: value}
        write_run(root, "paper", run, seed, **error, **changes)


def short_runs(root: Path, seeds: int = 1, **train: float) -> None:
    for run, error in train.items():
        for seed in range(seeds):
            write_run(root, "short", f"cifar10-{run.replace('_', '-')}", seed, train=error, iterations=6400)


@pytest.mark.parametrize(
    ("plain_56", "outcome"),
    [(1.9, "reproduced"), (1.89, "undecided"), (1.4, "undecided"), (0.91, "undecided"), (0.9, "not reproduced")],
)
def test_an_ordering_closer_than_its_margin_is_undecided(plain_56: float, outcome: str, tmp_path: Path) -> None:
    write_run(tmp_path, "paper", "cifar10-plain-20", train=1.4)
    assert verdict(tmp_path, "degradation-training", "paper").word == "not run"
    write_run(tmp_path, "paper", "cifar10-plain-56", train=plain_56)
    got = verdict(tmp_path, "degradation-training", "paper")
    assert got.word == f"{outcome} in one run each"
    assert f"plain-56 {plain_56:.2f} % (n = 1)" in got.numbers


def test_the_spread_of_the_seeds_keeps_an_ordering_open(tmp_path: Path) -> None:
    for seed, (a, b) in enumerate([(1.0, 2.0), (2.0, 3.0)]):
        write_run(tmp_path, "paper", "cifar10-plain-20", seed, train=a)
        write_run(tmp_path, "paper", "cifar10-plain-56", seed, train=b)
    got = verdict(tmp_path, "degradation-training", "paper")  # gap 1.0, standard error of the gap 0.71
    assert (got.word, got.margin) == ("undecided", "0.50; 2 SE 1.41")


def test_outside_the_paper_profile_a_claim_holds_here(tmp_path: Path) -> None:
    for run, error in zip(FOUR, (30, 60, 30, 51), strict=True):
        for seed in range(2):
            write_run(tmp_path, "demo", run, seed, train=error, iterations=300)
    assert verdict(tmp_path, "degradation-training", "demo").word == "holds here"
    gap = verdict(tmp_path, "degradation-gap", "demo")
    assert (gap.word, gap.margin) == ("undecided", "10")  # 30 - 21 = 9 points
    assert verdict(tmp_path, "residual-depth-training", "demo").word == "does not hold here"


def test_bf16_in_the_paper_profile_reproduces_nothing(tmp_path: Path) -> None:
    write_run(tmp_path, "paper", "cifar10-plain-20", train=1, precision="bf16")
    write_run(tmp_path, "paper", "cifar10-plain-56", train=6, precision="bf16")
    assert verdict(tmp_path, "degradation-training", "paper").word == "holds in one run each"


def test_a_claim_over_runs_that_differ_is_undecided(tmp_path: Path) -> None:
    write_run(tmp_path, "paper", "cifar10-plain-20", train=1)
    write_run(tmp_path, "paper", "cifar10-plain-56", train=6, precision="bf16")
    got = verdict(tmp_path, "degradation-training", "paper")
    assert got.word == "undecided in one run each"
    assert "differ in precision" in got.numbers


@pytest.mark.parametrize(
    ("rule", "gaps", "outcome"),
    [
        ("near", [0.5, -0.5], "holds"),
        ("near", [0.9], "fails"),
        ("near", [-1.1], "fails"),
        ("ascending", [0.6, 0.2], "undecided"),
        ("ascending", [0.6, -0.6], "fails"),
        ("lowest", [0.6, 0.5], "holds"),
    ],
)
def test_rules(rule: str, gaps: list[float], outcome: str) -> None:
    assert claims.decide(rule, gaps, [0.5] * len(gaps), [0.0] * len(gaps)) == outcome


def test_equal_means_equal(tmp_path: Path) -> None:
    for run in FOUR:
        write_run(tmp_path, "demo", run)
    assert verdict(tmp_path, "no-extra-parameters", "demo").word == "holds (counted)"
    path = tmp_path / "demo" / FOUR[0] / "seed-0" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"parameters": 269723}))
    assert verdict(tmp_path, "no-extra-parameters", "demo").word == "fails (counted)"


def test_a_paper_like_tree_reproduces_every_claim_but_the_close_one(full: Path) -> None:
    judged = claims.judge_claims(evidence(full))
    words = {v.claim["id"]: v.word for v in judged if str(v.claim["section"]).startswith("4.2")}
    assert words.pop("resnet-110-best") == "undecided in one run each"  # 6.62 against 7.00: closer than half a point
    assert words.pop("warm-up-length") == "reproduced"  # ResNet-110 has five seeds, every other net one
    assert words.pop("no-extra-parameters") == words.pop("resnet-110-parameters") == "holds (counted)"
    assert set(words.values()) == {"reproduced in one run each"}
    assert len(words) >= 14


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


@pytest.mark.parametrize("rule", ["ascending", "near", "below"])
def test_more_noise_never_turns_undecided_into_a_verdict(rule: str) -> None:
    for gap in (-2.0, -0.6, -0.5, 0.0, 0.3, 0.5, 0.6, 2.0):
        outcomes = [claims.decide(rule, [gap], [0.5], [noise / 10]) for noise in range(40)]
        later = outcomes[outcomes.index("undecided") :] if "undecided" in outcomes else []
        assert set(later) <= {"undecided"}, gap
        assert outcomes[-1] == "undecided"


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
    assert verdict(tmp_path, "no-extra-parameters", "demo").word == "holds (counted)"


def test_single_runs_keep_their_word_wherever_verdicts_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, arguments = tmp_path / "results", ["--results", str(tmp_path / "results")]
    for run, train, test in ((P20, 1.4, 9.7), (P56, 5.8, 13.3), (R20, 0.65, 8.8)):
        write_run(root, "paper", run, train=train, test=test)
    found = evidence(root, "paper")
    assert main(["check", *arguments]) == 0
    shown = {"check": capsys.readouterr().out, "headline": front_page.headline(found)}
    assert main(["render", "all", *arguments, "--report", str(tmp_path / "report")]) == 0
    report = tmp_path / "report" / "paper"
    shown |= {name: (report / name).read_text() for name in ("index.html", "REPORT.md", "tables/claims.csv")}
    shown["artefacts.json"] = json.dumps(export.content(found))
    for place, text in shown.items():
        assert "reproduced in one run each" in text, place
    counts = "claims: 3 not reproduced"
    assert counts not in shown["check"]
    assert "reproduced in one run each 2" in shown["headline"]
    assert "within 0.50 in one run" in shown["headline"]
    assert "within in one run" in shown["check"]
    made = comparison.of_runs([P20, P56], found)
    assert "one run each" in list(comparison.differences_table(made).body())[0][-1]


def test_one_seed_at_a_short_length_decides_nothing_between_20_and_56_layers(tmp_path: Path) -> None:
    short_runs(tmp_path, resnet_20=60.5, resnet_56=71.7)
    assert verdict(tmp_path, "residual-depth-training", "short").word == SHORT
    again = tmp_path / "again"  # the other end of what initial weights moved by 1e-7 made of ResNet-56
    short_runs(again, resnet_20=61.1, resnet_56=84.0)
    assert verdict(again, "residual-depth-training", "short").word == SHORT
    found = evidence(tmp_path, "short")
    assert f"{SHORT} 2" in front_page.counts_line(claims.judge_claims(found))
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
