"""The claims of Sec. 4.1, on tests by 10-crop and at several scales."""

import json
from pathlib import Path
from typing import Any

import pytest

from paper_tables.__main__ import main
from paper_tables.report import front_page
from paper_tables.verdicts import claims
from paper_tables.verdicts.cells import Measured, conditions_of, judgements
from tests.helpers import fake_imagenet
from tests.helpers.evidence import PAPER, ROOT, evidence, verdict

CLAIMS = {c["id"]: c for c in PAPER.claims if str(c["section"]).startswith("4.1")}


def test_the_papers_own_numbers_hold_every_claim(imagenet: Path) -> None:
    words = {name: verdict(imagenet, name).word for name in CLAIMS}
    assert words.pop("option-a-adds-nothing") == words.pop("less-complex-than-vgg") == "holds (counted)"
    assert set(words.values()) == {"reproduced in one run each"}
    assert len(words) >= 16


def test_margins_are_half_of_the_smallest_difference_that_the_paper_prints() -> None:
    """Orderings of Sec. 4.1 with a margin of their own: as the paper's file says, and rounded down."""
    printed = {(c.run, c.metric, c.protocol): c.paper for a in PAPER.artefacts.values() for c in a.cells()}
    for claim in (c for c in CLAIMS.values() if "margin" in c and not c.get("counted")):
        runs = {run: printed[run, claim["metric"], claim["protocol"]] for run in claims.runs_of(claim)}
        numbers = {run: Measured((value,), conditions_of([], PAPER)) for run, value in runs.items()}
        gaps = claims.gaps_of(claim, numbers, claim.get("pairs", []))
        half = min(gap.value for gap in gaps) / 2
        assert -1e-9 <= half - float(claim["margin"]) < 0.01 - 1e-9, claim["id"]


@pytest.mark.parametrize(("plain_18", "word"), [(27.94, "reproduced"), (28.3, "undecided"), (28.9, "not reproduced")])
def test_a_claim_on_ten_crops_reads_the_evaluation(plain_18: float, word: str, tmp_path: Path) -> None:
    folder = fake_imagenet.write_run(tmp_path, "paper", "imagenet-plain-18")
    fake_imagenet.write_run(tmp_path, "paper", "imagenet-plain-34")  # 28.54
    path = folder / "eval-10-crop.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"top1_error": plain_18}))
    assert verdict(tmp_path, "imagenet-degradation-validation").word == f"{word} in one run each"
    path.unlink()
    assert verdict(tmp_path, "imagenet-degradation-validation").word == "not run"


@pytest.mark.parametrize(
    ("resnet_34", "word"),
    [(25.08, "reproduced"), (24.5, "not reproduced"), (28.0, "not reproduced")],
)
def test_better_by_so_many_points_is_a_distance(resnet_34: float, word: str, tmp_path: Path) -> None:
    fake_imagenet.write_run(tmp_path, "paper", "imagenet-resnet-18-A")  # 27.88
    path = fake_imagenet.write_run(tmp_path, "paper", "imagenet-resnet-34-A") / "eval-10-crop.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"top1_error": resnet_34}))
    got = verdict(tmp_path, "imagenet-residual-depth")
    assert got.word == f"{word} in one run each"
    assert f"{27.88 - resnet_34:+.2f} against +2.80" in got.numbers


def test_three_times_the_iterations_are_the_papers_length_of_that_run(tmp_path: Path) -> None:
    fake_imagenet.write_run(tmp_path, "paper", "imagenet-plain-18")
    fake_imagenet.write_run(tmp_path, "paper", "imagenet-plain-34-3x")
    assert verdict(tmp_path, "more-iterations-training").word == "reproduced in one run each"
    shorter = tmp_path / "shorter"
    fake_imagenet.write_run(shorter, "paper", "imagenet-plain-18")
    fake_imagenet.write_run(shorter, "paper", "imagenet-plain-34-3x", share=1 / 3)
    assert verdict(shorter, "more-iterations-training").word == "undecided in one run each"


@pytest.mark.parametrize(
    ("share", "changes", "reason"),
    [
        (0.1, {}, "the budget"),
        (1, {"precision": "bf16"}, "the precision"),
        (1, {"config": {"train": {"batch_size": 128}}}, "the budget"),
        (1, {"data": fake_imagenet.imagenet_data(False)}, "the data is not the official ImageNet"),
    ],
)
def test_other_conditions_are_not_the_papers(share: float, changes: Any, reason: str, tmp_path: Path) -> None:
    for run in ("imagenet-plain-18", "imagenet-plain-34"):
        fake_imagenet.write_run(tmp_path, "paper", run, share=share, **changes)
    found = evidence(tmp_path, "paper")
    word = verdict(tmp_path, "imagenet-degradation-training").word
    assert word == (claims.SHORT if reason == "the budget" else "holds in one run each")
    judged = judgements([PAPER.artefacts["table2"]], found)
    assert {j.verdict for j in judged} == {"not compared", "not run"}
    assert f"Not the paper's conditions: {reason}" in front_page.conditions_line(found)


def test_counted_claims_need_no_training_and_fail_where_the_count_does(tmp_path: Path) -> None:
    assert verdict(tmp_path, "less-complex-than-vgg").word == "not run"
    nets = json.loads((ROOT / "results" / "architectures.json").read_text())
    nets["vgg-16"]["multiply_adds"] = 10**10
    (tmp_path / "architectures.json").write_text(json.dumps(nets))
    assert verdict(tmp_path, "less-complex-than-vgg").word == "fails (counted)"
    assert main(["check", "--results", str(tmp_path)]) == 1
