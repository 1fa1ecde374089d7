"""Cells against the paper's: standard errors, bounds, seeds and trainings that are not alike."""

from pathlib import Path
from typing import Any

import pytest

from paper_tables.__main__ import main
from paper_tables.report import commands, front_page
from paper_tables.results.reader import RunResult
from paper_tables.tables import measured
from paper_tables.verdicts.cells import conditions_of, ours_text
from tests.helpers.evidence import P20, P56, PAPER, R20, R56, R110, R1202, evidence, judged, verdict
from tests.helpers.fake_results import sample, write_run, write_seeds


def start(processes: int = 1, iteration: int = 0, **changes: Any) -> dict[str, Any]:
    found = {"processes": processes, "device": "CPU (two cores)", "versions": {"torch": "2.15.0"}, "commit": "f" * 40}
    return {**found, "start": "2026-01-02T03:04:05+00:00", "iteration": iteration, **changes}


def test_seeds_under_different_conditions_are_marked_and_not_judged(tmp_path: Path) -> None:
    write_run(tmp_path, "paper", "cifar10-resnet-20", 0, test=8.7)
    write_run(tmp_path, "paper", "cifar10-resnet-20", 1, test=8.8, precision="bf16")
    got = judged(tmp_path, R20)
    assert got.verdict == "not compared"
    assert "[mixed precision]" in measured.ours_text(got, evidence(tmp_path))


@pytest.mark.parametrize(
    ("changes", "iterations"),
    [({"precision": "bf16"}, 64000), ({}, 6400), ({"config": {"train": {"batch_size": 64}}}, 64000)],
)
def test_numbers_under_other_conditions_are_not_compared(changes: Any, iterations: int, tmp_path: Path) -> None:
    write_run(tmp_path, "paper", "cifar10-resnet-20", 0, test=30, iterations=iterations, **changes)
    assert judged(tmp_path, R20).verdict == "not compared"
    assert "Not the paper's conditions" in front_page.conditions_line(evidence(tmp_path))


def test_a_tolerance_is_fixed_whatever_was_measured(tmp_path: Path) -> None:
    for seed, error in enumerate([8.0, 9.0]):
        write_run(tmp_path, "paper", "cifar10-resnet-20", seed, test=error)
    write_run(tmp_path, "paper", "cifar10-resnet-32", 0, test=8.02)
    noisy = judged(tmp_path, R20)
    assert (noisy.tolerance, noisy.verdict) == (0.5, "undecided")  # 8.50 against 8.75, and 2 standard errors of 0.50
    outside = judged(tmp_path, "cifar10-resnet-32")
    assert (outside.tolerance, outside.verdict) == (0.5, "outside")  # 8.02 against 7.51


def test_seeds_whose_batch_normalisation_differs_are_not_one_number(tmp_path: Path) -> None:
    one = {"data": {"fingerprint": "f", "official": True}, "precision": "fp32", "processes": 1, "bn_group": "device"}
    found = [{**one}, {**one, "processes": 2}, {**one, "bn_group": 64}]
    seeds = [RunResult("cifar10-resnet-110", k, {"provenance": p, "iterations": 64000}) for k, p in enumerate(found)]
    assert conditions_of(seeds[:2], PAPER).mixed == ["images per batch normalisation"]
    assert conditions_of(seeds[1:], PAPER).mixed == []  # 64 on each of two devices is groups of 64


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


@pytest.mark.parametrize(("train", "word"), [(0.1, "not reproduced"), (0.09, "reproduced"), (0.11, "not reproduced")])
def test_below_a_printed_bound_is_strict(train: float, word: str, tmp_path: Path) -> None:
    write_seeds(tmp_path, R1202, [train, train], "train")
    assert verdict(tmp_path, "resnet-1202-trains").word == word
    assert judged(tmp_path, R1202, "fig6", "train_error").verdict == ("holds" if word == "reproduced" else "fails")


@pytest.mark.parametrize(("test", "word"), [(83.0, "holds"), (60.0, "fails"), (59.6, "fails")])
def test_a_bound_is_shown_as_a_bound(test: float, word: str, tmp_path: Path) -> None:
    write_run(tmp_path, "paper", "cifar10-plain-110", train=test, test=test)
    found = evidence(tmp_path, "paper")
    table = measured.artefact_table(PAPER.artefacts["table6"], found)
    assert table is not None
    row = next(r for r in table.body() if r[:2] == ["plain", "110"])
    assert (row[6], row[5]) == ("", f"above 60: {word} in one run")
    assert f"| plain-110 | above 60 | {test:.2f} |  | above 60: {word} in one run |" in front_page.headline(found)


def test_a_bound_within_two_standard_errors_is_undecided(tmp_path: Path) -> None:
    write_seeds(tmp_path, "cifar10-plain-110", sample(4, 62.0, 5.0))
    assert judged(tmp_path, "cifar10-plain-110").verdict == "undecided"


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
    ours = ours_text(judged(tmp_path, R20), found)
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
    assert (got.word, got.numbers) == ("holds (counted)", "plain-56 853,018, ResNet-56 853,018: difference +0")
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
    assert ours_text(got, evidence(tmp_path, "paper")) == f"8.80 ± 0.14 (n = 2) {words}"


def test_a_claim_says_that_its_runs_come_from_two_devices(tmp_path: Path) -> None:
    write_run(tmp_path, "paper", P20, test=9.7)
    write_run(tmp_path, "paper", P56, test=13.3, device="NVIDIA H100", dirty=True)
    numbers = verdict(tmp_path, "degradation-test").numbers
    assert "mixed device: CPU (two cores) and NVIDIA H100, dirty commit" in numbers


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
    assert ours_text(got, evidence(tmp_path, "paper")) == words
    assert (got.verdict == "not compared") == ("normalisation" in words)
