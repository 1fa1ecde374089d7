"""Files under results/ that cannot be trusted are listed with the reason, and nothing stops."""

import json
from pathlib import Path
from typing import Any

import pytest

from paper_tables.__main__ import main
from paper_tables.results import files
from paper_tables.tables import measured
from paper_tables.tables.runs import errors_table
from tests.helpers import fake_imagenet
from tests.helpers.evidence import PAPER, evidence, row, table
from tests.helpers.fake_results import write_run
from tests.helpers.figures import Figure

P20, P56, R20, R56 = (f"cifar10-{net}" for net in ("plain-20", "plain-56", "resnet-20", "resnet-56"))


@pytest.mark.reliability
def test_files_that_cannot_be_trusted_are_listed_and_never_stop(tmp_path: Path, figure: Figure) -> None:
    good = json.loads((write_run(tmp_path, "paper", "cifar10-plain-20") / "result.json").read_text())
    broken: dict[str, str | bytes] = {
        "cifar10-plain-32": "{",
        "cifar10-plain-44": "[1]",
        "cifar10-plain-56": json.dumps(good),  # says plain-20
        "cifar10-plain-110": b"\xff\xfe\x00",
        "cifar10-resnet-20": json.dumps(good | {"run": "cifar10-resnet-20", "metrics": {"test_error": float("nan")}}),
        "cifar10-resnet-32": json.dumps(good | {"run": "cifar10-resnet-32", "metrics": {"test_error": 101}}),
        "cifar10-resnet-44": json.dumps(good | {"run": "cifar10-resnet-44", "provenance": {}}),
        "cifar10-resnet-56": json.dumps(good | {"run": "cifar10-resnet-56", "profile": "demo"}),
        "cifar10-resnet-110": json.dumps(good | {"run": "cifar10-resnet-110", "iterations": "many"}),
        "cifar10-resnet-1202": "[" * 100000,
    }
    for run, content in broken.items():
        folder = tmp_path / "paper" / run / "seed-0"
        folder.mkdir(parents=True)
        (folder / "result.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "paper" / "cifar10-plain-20" / "seed-x").mkdir()
    found = evidence(tmp_path, "paper")
    assert list(found.results.runs) == ["cifar10-plain-20"]
    assert {path.split("/")[0] for path, _ in found.results.skipped} == {*broken, "cifar10-plain-20"}
    assert all(reason and "\n" not in reason and str(tmp_path) not in reason for _, reason in found.results.skipped)
    code = main(["render", "fig1", "--results", str(tmp_path), "--report", str(tmp_path / "report")])
    listed = sum(f"{run}/seed-0" in (tmp_path / "report/paper/index.html").read_text() for run in broken)
    reached = f"exit {code}, {listed} of {len(broken)} listed with the reason"
    figure("T17", "malformed result files", reached=reached, demanded="exit 0, all listed")
    assert (code, listed) == (0, len(broken))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "iteration,lr\n1,2\n",
        "iteration,lr,train_loss,train_error,test_error\n",
        "iteration,lr,train_loss,train_error,test_error\n2,1,1,1,1\n1,1,1,1,1\n",
        "iteration,lr,train_loss,train_error,test_error\n1,1,1,many,1\n",
        "iteration,lr,train_loss,train_error,test_error\n1,1,1,101,1\n",
        "iteration,lr,train_loss,train_error,test_error\n1,1,inf,1,1\n",
    ],
)
def test_a_bad_curve_is_skipped_and_its_result_kept(text: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path, "paper", "cifar10-plain-20", test=9.5)
    (folder / "curve.csv").write_text(text)
    found = evidence(tmp_path, "paper")
    (seed,) = found.results.runs["cifar10-plain-20"]
    assert seed.curve is None
    assert seed.value("test_error") == 9.5
    assert [path for path, _ in found.results.skipped] == ["cifar10-plain-20/seed-0/curve.csv"]


def test_a_training_on_its_way_is_not_run_but_unfinished(tmp_path: Path) -> None:
    folder = tmp_path / "paper" / "cifar10-resnet-20" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "curve.csv").write_text(
        "iteration,lr,train_loss,train_error,test_error\n1000,0.1,1,40,\n2000,0.1,1,30,41\n"
    )
    found = evidence(tmp_path, "paper")
    assert found.results.unfinished == {"cifar10-resnet-20": 2000}
    assert found.results.skipped == []
    table = measured.artefact_table(PAPER.artefacts["table6"], found)
    assert table is not None
    assert "not run (unfinished, at iteration 2,000)" in table.markdown()


@pytest.mark.parametrize("content", ["{", '{"vgg-16": {"layers": 16}}', '{"vgg-16": 3}'])
def test_broken_architectures_are_skipped_with_a_reason(content: str, tmp_path: Path) -> None:
    (tmp_path / "architectures.json").write_text(content)
    found = evidence(tmp_path, "paper")
    assert found.results.architectures == {}
    assert [path for path, _ in found.results.skipped] == ["architectures.json"]
    assert row(table("table1", tmp_path), "FLOPs")[3] == "1.8×10⁹"


@pytest.mark.parametrize(
    "change",
    [{"weights_sha256": "cd"}, {"top1_error": 101}, {"top5_error": "low"}, {"n": 0}],
)
def test_an_evaluation_that_cannot_be_trusted_is_skipped(change: dict[str, Any], tmp_path: Path) -> None:
    folder = fake_imagenet.write_run(tmp_path, "paper", "imagenet-resnet-50")
    path = folder / "eval-10-crop.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    found = evidence(tmp_path, "paper")
    assert [where for where, _ in found.results.skipped] == ["imagenet-resnet-50/seed-0/eval-10-crop.json"]
    assert row(table("table3", tmp_path), "ResNet-50")[2].startswith("not run")


@pytest.mark.parametrize("change", [{"top5_error": None}, {"n": None}, {"protocol": 3}, {"top1_error": -1}])
def test_published_weights_and_ensembles_are_checked_too(change: dict[str, Any], tmp_path: Path) -> None:
    for path in (
        fake_imagenet.write_published(tmp_path, "torchvision-resnet50-v1", "10-crop", 22.1, 6.0),
        fake_imagenet.write_ensemble(tmp_path, "paper", "x", ["imagenet-resnet-50"], 4.0),
    ):
        value = json.loads(path.read_text()) | change
        path.write_text(json.dumps({k: v for k, v in value.items() if v is not None}))
    found = evidence(tmp_path, "paper")
    assert sorted(path.split("/")[0] for path, _ in found.results.skipped) == ["ensembles", "published"]


def test_figure_4_reads_curves_with_and_without_top5_columns(tmp_path: Path) -> None:
    folder = fake_imagenet.write_run(tmp_path, "paper", "imagenet-plain-18")
    assert {"test_top5_error"} <= set(files.curve(folder / "curve.csv"))
    lines = (folder / "curve.csv").read_text().splitlines()
    (folder / "curve.csv").write_text("\n".join(",".join(line.split(",")[:5]) for line in lines))
    assert list(files.curve(folder / "curve.csv")) == files.CURVE
    (folder / "curve.csv").write_text("\n".join([lines[0], *(line.rsplit(",", 1)[0] + ",999" for line in lines[1:])]))
    assert [path for path, _ in evidence(tmp_path, "paper").results.skipped] == ["imagenet-plain-18/seed-0/curve.csv"]


def test_the_plateau_lies_between_25_and_30_of_60_of_a_training(tmp_path: Path) -> None:
    folder = fake_imagenet.write_run(tmp_path, "short", "imagenet-plain-18", share=0.1)
    head = "iteration,lr,train_loss,train_error,test_error\n"
    rows = {20000: 90, 25000: 40, 30000: 42, 30001: 10, 60000: 31}
    (folder / "curve.csv").write_text(head + "".join(f"{at},0.1,1,50,{error}\n" for at, error in rows.items()))
    (seed,) = evidence(tmp_path, "short").results.runs["imagenet-plain-18"]
    assert seed.value("plateau_error") == 41


@pytest.mark.parametrize("starts", ["twice", [3], [{"processes": 0}], [{"processes": 2, "device": 7}]])
def test_starts_that_cannot_be_trusted_are_skipped_with_a_reason(starts: Any, tmp_path: Path) -> None:
    write_run(tmp_path, "paper", R20, test=8.7, starts=starts)
    found = evidence(tmp_path, "paper")
    assert found.results.runs == {}
    ((where, reason),) = found.results.skipped
    assert where == f"{R20}/seed-0/result.json"
    assert reason.startswith("provenance: starts")


BEST = {"iteration": 32000, "val_error": 8.1, "test_error": 8.9}


@pytest.mark.parametrize(
    "best", ["32000", [BEST], BEST | {"iteration": 0}, BEST | {"val_error": 101}, {"iteration": 5}]
)
def test_a_best_validation_error_that_cannot_be_trusted_is_skipped_with_a_reason(best: Any, tmp_path: Path) -> None:
    write_run(tmp_path, "paper", R20, test=8.7, best_validation=best)
    found = evidence(tmp_path, "paper")
    assert found.results.runs == {}
    assert len(found.results.skipped) == 1


def test_the_best_validation_error_has_a_row_beside_the_last_iterate(tmp_path: Path) -> None:
    write_run(tmp_path, "paper", R20, train=0.6, test=8.7, best_validation=BEST)
    write_run(tmp_path, "paper", R20, seed=1, train=0.6, test=8.8)
    rows = [row[:4] for row in errors_table(R20, evidence(tmp_path, "paper")).body()]
    best = ["0, at the best validation error (8.10 %)", "32,000", "", "8.90"]
    assert rows == [["0", "64,000", "0.60", "8.70"], best, ["1", "64,000", "0.60", "8.80"]]
