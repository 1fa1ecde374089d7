"""How a number was tested stands beside it, and decides whether it is compared with the paper's."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from paper_tables.__main__ import main
from paper_tables.report import commands, front_page
from paper_tables.verdicts.cells import Judgement, judge
from paper_tables.verdicts.claims import judge_claim
from paper_tables.verdicts.tested import of_evaluation
from tests.helpers import fake_imagenet, fake_results
from tests.helpers.evidence import PAPER, evidence, row, table

RUN = "imagenet-resnet-50"


def change(path: Path, name: str = "", **values: Any) -> Path:
    """The evaluation with other values; None: without the key. `name`: as another file beside it."""
    found = json.loads(path.read_text()) | values
    target = path.with_name(name or path.name)
    target.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))
    return target


def judged(root: Path, table: str = "table4", run: str = RUN) -> Judgement:
    cell = next(cell for cell in PAPER.artefacts[table].cells() if cell.run == run)
    return judge(cell, evidence(root))


OTHERS = {"data": {"description": "ImageNet-2012", "official": True, "fingerprint": "sha256:00"}}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"sides": [224]}, "side 224 instead of sides 224, 256, 384, 480, 640"),
        ({"precision": "bf16"}, "bf16 instead of fp32"),
        ({"precision": "tf32"}, "tf32 instead of fp32"),
        ({"n": 100}, "100 images instead of 50,000"),
        (OTHERS, "other images than the training's"),
        ({"sides": None}, "sides not said instead of"),
        ({"precision": None}, "precision not said instead of fp32"),
        ({"data": None}, "other images than the training's"),
    ],
)
def test_a_test_that_is_not_the_papers_is_never_judged(values: dict[str, Any], reason: str, tmp_path: Path) -> None:
    folder = fake_imagenet.write_run(tmp_path, "paper", RUN)
    assert judged(tmp_path).verdict == "within"
    change(folder / "eval-multi-scale.json", **values)
    found = judged(tmp_path)
    assert (found.verdict, found.difference_text) == ("not compared", "")
    assert reason in found.reason


def test_the_conditions_of_a_table_are_those_of_its_tests(tmp_path: Path) -> None:
    path = fake_imagenet.write_run(tmp_path, "paper", RUN) / "eval-multi-scale.json"
    assert "multi-scale: sides 224, 256, 384, 480, 640, fp32, 50,000 images" in table("table4", tmp_path).conditions
    change(path, sides=[64], precision="bf16", bn_statistics="recomputed")
    assert "multi-scale: side 64, bf16, 50,000 images, BN statistics recomputed" in table("table4", tmp_path).conditions
    assert "10-crop: side 256, fp32" in table("table3", tmp_path).conditions


def test_recomputed_statistics_are_compared_and_said(tmp_path: Path) -> None:
    """The paper does not say which it has."""
    path = fake_imagenet.write_run(tmp_path, "paper", RUN) / "eval-multi-scale.json"
    change(path, bn_statistics="recomputed")
    assert judged(tmp_path).verdict == "within"
    assert "BN statistics recomputed" in table("table4", tmp_path).conditions


def test_a_test_that_deviates_stands_below_the_configured_one(tmp_path: Path) -> None:
    path = fake_imagenet.write_run(tmp_path, "paper", RUN) / "eval-multi-scale.json"
    deviates = {"sides": [64], "precision": "bf16"}
    change(path, "eval-multi-scale+01234567.json", top1_error=30.0, deviations=deviates, **deviates)
    assert judged(tmp_path).verdict == "within"
    found = table("table4", tmp_path)
    assert row(found, "ResNet-50")[2] == "20.74"
    [note] = [note for note in found.notes if note.startswith("Tested otherwise")]
    assert note == "Tested otherwise (side 64, bf16): ResNet-50 20.74 → 30.00; ResNet-50 top-5 5.25 → 5.25."


def test_a_test_that_deviates_is_shown_where_there_is_no_other_and_not_compared(tmp_path: Path) -> None:
    path = fake_imagenet.write_run(tmp_path, "paper", RUN) / "eval-multi-scale.json"
    change(path, "eval-multi-scale+01234567.json", precision="bf16", deviations={"precision": "bf16"})
    path.unlink()
    assert row(table("table4", tmp_path), "ResNet-50")[2] == "20.74 [tested otherwise: bf16]"
    assert judged(tmp_path).verdict == "not compared"
    assert commands.state_of(PAPER.artefacts["table4"], evidence(tmp_path, "paper")) == "1 of 5 runs"


def test_nets_that_were_tested_differently_decide_no_claim(tmp_path: Path) -> None:
    fake_imagenet.write_run(tmp_path, "paper", "imagenet-plain-18")
    folder = fake_imagenet.write_run(tmp_path, "paper", "imagenet-plain-34")
    claim = next(claim for claim in PAPER.claims if claim["id"] == "imagenet-degradation-validation")
    assert judge_claim(claim, evidence(tmp_path)).word == "reproduced in one run each"
    change(folder / "eval-10-crop.json", precision="bf16")
    verdict = judge_claim(claim, evidence(tmp_path))
    assert (verdict.word, "how they were tested" in verdict.numbers) == ("undecided in one run each", True)
    change(folder.parents[1] / "imagenet-plain-18/seed-0/eval-10-crop.json", precision="bf16")
    assert judge_claim(claim, evidence(tmp_path)).word == "holds in one run each"


def trained(root: Path, **tested: str) -> None:
    """A training whose test errors were measured so."""
    config = {"train": {"batch_size": 128}, "eval": {"precision": "fp32", "bn_statistics": "moving"} | tested}
    fake_results.write_run(root, "paper", "cifar10-resnet-20", test=8.8, config=config)


@pytest.mark.parametrize(
    ("tested", "verdict", "words"),
    [
        ({}, "within", "fp32"),
        ({"precision": "bf16"}, "not compared", "fp32; tested in bf16"),
        ({"bn_statistics": "recomputed"}, "within", "fp32; tested with BN statistics recomputed"),
    ],
)
def test_the_errors_of_a_training_say_how_they_were_tested(
    tested: dict[str, str], verdict: str, words: str, tmp_path: Path
) -> None:
    trained(tmp_path, **tested)
    assert judged(tmp_path, "table6", "cifar10-resnet-20").verdict == verdict
    found = table("table6", tmp_path)
    assert found.conditions.endswith(f"· {words}")
    line = front_page.conditions_line(evidence(tmp_path))
    assert ("the precision is not fp32" in line) == (verdict == "not compared")


def test_what_comes_from_no_test_is_judged_whatever_the_tests_were(tmp_path: Path) -> None:
    """The running training error does not depend on how test images are tested."""
    trained(tmp_path, precision="bf16")
    cell = next(c for c in PAPER.artefacts["fig6"].cells() if (c.run, c.metric) == ("cifar10-resnet-20", "train_error"))
    assert judge(cell, evidence(tmp_path)).verdict in ("within", "outside")


def test_published_weights_and_ensembles_say_how_they_were_tested(tmp_path: Path) -> None:
    path = fake_imagenet.write_published(tmp_path, "torchvision-resnet50-v1", "multi-scale", 22.1, 6.0)
    both = fake_imagenet.write_ensemble(tmp_path, "paper", "two", [RUN, "imagenet-resnet-101"], 4.1)
    for name in ("table4", "table5"):
        assert "multi-scale: sides 224, 256, 384, 480, 640, fp32, 50,000 images" in " ".join(
            table(name, tmp_path).notes
        )
    for file in (path, both):
        change(file, sides=[64])
    assert "22.10 (side 64 instead of sides 224" in row(table("table4", tmp_path), "ResNet-50")[5]
    assert "4.10 (side 64 instead of sides 224" in row(table("table5", tmp_path), "ResNet-50, ResNet-101")[2]


def test_members_of_an_ensemble_are_named_as_it_writes_them(tmp_path: Path) -> None:
    path = fake_imagenet.write_ensemble(tmp_path, "paper", "two", [], 4.1)
    change(path, members=[{"run": RUN, "seed": 0, "weights_sha256": "ab"}, {"run": RUN, "seed": 1}])
    assert row(table("table5", tmp_path), "2 × ResNet-50")[2] == "4.10"


@pytest.mark.parametrize(
    "values",
    [{"sides": 224}, {"sides": ["224"]}, {"precision": 16}, {"deviations": [1]}, {"protocol": "10-crop"}],
)
def test_a_file_that_does_not_say_its_conditions_properly_is_skipped(values: dict[str, Any], tmp_path: Path) -> None:
    change(fake_imagenet.write_run(tmp_path, "paper", RUN) / "eval-multi-scale.json", **values)
    found = evidence(tmp_path, "paper")
    assert [where for where, _ in found.results.skipped] == [f"{RUN}/seed-0/eval-multi-scale.json"]


def test_a_test_in_other_words_says_what_is_different() -> None:
    given = {"protocol": "10-crop", "sides": [256], "precision": "fp32", "bn_statistics": "recomputed", "n": 50000}
    a = of_evaluation(given | OTHERS)
    b = of_evaluation(given | OTHERS | {"bn_statistics": "moving", "sides": [288]})
    assert (a.beside(a), a.beside(b)) == ("", "side 256, BN statistics recomputed")
    assert b.beside(a) == "side 288, BN statistics from moving averages"


def test_pages_of_runs_and_comparisons_name_a_deviating_test(tmp_path: Path) -> None:
    folders = [fake_imagenet.write_run(tmp_path, "paper", run) for run in (RUN, "imagenet-resnet-101")]
    for folder in folders:
        path = folder / "eval-multi-scale.json"
        change(path, "eval-multi-scale+01234567.json", sides=[64], deviations={"sides": [64]})
        shutil.copy(path, folder / "eval-mine.json")  # a protocol that nobody knows
        change(folder / "eval-mine.json", protocol="mine")
    words = ["--results", str(tmp_path), "--report", str(tmp_path / "report")]
    assert main(["render", "table4", *words]) == 0
    assert "multi-scale (side 64)" in (tmp_path / "report/paper/runs" / f"{RUN}.html").read_text()
    assert main(["compare", RUN, "imagenet-resnet-101", *words]) == 0
