"""Conditions of a test (sides, precision, BN statistics, images) belong to the test, not to the training."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from reproduce.__main__ import main
from reproduce.config.load import profile_name, resolve
from reproduce.config.run import Run
from reproduce.evaluation import classification as evaluation
from reproduce.jobs.runner import train_all
from reproduce.utils.precision import computed
from tests.helpers.published import publish
from tests.helpers.tiny import TINY

Make = Callable[..., Run]
CIFAR = ["cifar10-resnet-20", "--profile", "smoke", *TINY]
IMAGENET = ["imagenet-resnet-18-A", "--profile", "smoke"]
RECOMPUTED = "eval.bn_statistics=recomputed"


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 of a few iterations on the synthetic images: runs/ and results/."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", *IMAGENET]) == 0
    return folder


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working directory; the results' folder is returned."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results/smoke/imagenet-resnet-18-A/seed-0"


def evaluations(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("eval-*.json"))}


# ---- No part of the training's identity ----


@pytest.mark.parametrize("override", ["eval.precision=bf16", RECOMPUTED, "eval.test_sides=[64,96]"])
def test_how_a_net_is_tested_is_no_part_of_what_its_training_is(override: str) -> None:
    plain, other = (resolve("imagenet-resnet-50", overrides=words) for words in ([], [override]))
    assert other.recipe_hash == plain.recipe_hash
    assert other.profile == plain.profile == profile_name("paper", [override], "imagenet") == "paper"
    assert not [key for key in plain.recipe() if key.startswith("eval.")]


def test_the_same_words_train_evaluate_and_measure_responses(tiny: Make, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*CIFAR, "eval.precision=fp32"]
    for verb in ("train", "evaluate", "responses"):
        assert main([verb, *words]) == 0, capsys.readouterr().err
    folder = Path("results") / tiny().folder
    [(name, found)] = evaluations(folder).items()
    assert found["precision"] == "fp32"
    assert name.startswith("eval-single+")  # the profile asks for bf16
    assert (folder / "responses.csv").is_file()
    trained = json.loads((folder / "result.json").read_text())
    assert trained["metrics"]["test_error"] == found["top1_error"]


def test_weights_are_the_same_whatever_they_are_tested_with(tiny: Make) -> None:
    """Recomputed BN statistics are a condition of the test error; the weights that are kept have moving averages."""
    found = []
    for words in ([], [RECOMPUTED]):
        run = tiny(overrides=words)
        assert train_all([run]) == 0
        (result,) = (Path("results") / run.folder).glob("result.json")
        found.append(json.loads(result.read_text())["weights_sha256"])
        weights = load_file(Path("runs") / run.folder / "final.safetensors")
        result.unlink()
    assert found[0] == found[1]
    assert weights["bn1.num_batches_tracked"] == 0  # counts only while statistics are averaged again


def test_recomputed_errors_of_a_training_and_of_its_evaluation_are_the_same(tiny: Make) -> None:
    run = tiny(overrides=[RECOMPUTED])
    assert train_all([run]) == 0
    trained = json.loads((Path("results") / run.folder / "result.json").read_text())
    assert evaluation.evaluate(run)["top1_error"] == trained["metrics"]["test_error"]


# ---- A test that deviates lies beside the configured one ----


def test_a_deviating_test_never_takes_the_place_of_the_configured_one(trained: Path) -> None:
    multi = ["evaluate", *IMAGENET, "--protocol", "multi-scale"]
    assert main(multi) == 0
    before = (trained / "eval-multi-scale.json").read_bytes()
    assert main([*multi, "eval.test_sides=[64]", "eval.precision=fp32"]) == 0
    assert (trained / "eval-multi-scale.json").read_bytes() == before
    found = evaluations(trained)
    assert len(found) == 2
    [other] = [found[name] for name in found if name != "eval-multi-scale.json"]
    assert other["deviations"] == {"sides": [64], "precision": "fp32"}
    assert (other["sides"], other["precision"], other["bn_statistics"]) == ([64], "fp32", "moving")
    standard = found["eval-multi-scale.json"]
    assert (standard["sides"], standard["precision"], standard["deviations"]) == ([64, 72], computed("bf16", "cpu"), {})


def test_what_a_protocol_does_not_look_at_is_no_deviation(trained: Path) -> None:
    """10-crop has no use for the sides of multi-scale; values that the profile has anyway deviate in nothing."""
    words = ["eval.test_sides=[64]", "eval.precision=bf16"]
    assert main(["evaluate", *IMAGENET, "--protocol", "10-crop", *words]) == 0
    assert list(evaluations(trained)) == ["eval-10-crop.json"]


def write_images(root: Path, grey: int) -> None:
    """Ten images of each class in train/ and test/, as Pillow would save them."""
    from PIL import Image

    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(10):
                Image.new("RGB", (32, 32), (grey + i, 10 * i, 90)).save(folder / f"{i}.png")


def test_a_test_on_other_images_than_the_trainings_lies_beside(tiny: Make, tmp_path: Path) -> None:
    write_images(tmp_path / "a", 0)
    write_images(tmp_path / "b", 100)
    words = ["data.source=folder", "data.subset=0", "model.classes=2"]
    assert main(["train", *CIFAR, *words, "data.root=a"]) == 0
    for root in ("a", "b"):
        assert main(["evaluate", *CIFAR, *words, f"data.root={root}"]) == 0
    [path] = Path("results").glob("*/*/*/eval-single.json")
    found = evaluations(path.parent)
    assert len(found) == 2
    [other] = [value for name, value in found.items() if name != path.name]
    assert other["deviations"] == {"fingerprint": other["data"]["fingerprint"]}
    assert other["data"]["fingerprint"] != found[path.name]["data"]["fingerprint"]


def test_recomputed_responses_lie_beside_those_of_the_configured_statistics(tiny: Make) -> None:
    assert train_all([tiny()]) == 0
    for words in ([], [RECOMPUTED]):
        assert main(["responses", *CIFAR, *words]) == 0
    plain, other = sorted((Path("results") / tiny().folder).glob("responses*.csv"), key=lambda path: len(path.name))
    assert plain.name == "responses.csv"
    assert plain.read_text() != other.read_text()


# ---- What a file says was done was done ----


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The nets of every test, as they were when their errors were counted."""
    found: list[nn.Module] = []
    untouched = evaluation.count_on

    def count(nets: Sequence[nn.Module], *rest: Any) -> Any:
        found.extend(nets)
        return untouched(nets, *rest)

    monkeypatch.setattr(evaluation, "count_on", count)
    return found


@pytest.mark.parametrize("given", ["", ":odd.safetensors"], ids=["own weights", "a file"])
def test_an_ensemble_recomputes_the_statistics_that_it_says_are_recomputed(
    given: str, trained: Path, tested: list[nn.Module]
) -> None:
    name, *profile = IMAGENET
    weights = load_file("runs/smoke/imagenet-resnet-18-A/seed-0/final.safetensors")
    save_file(weights | {"bn1.running_mean": torch.full((64,), 7.0)}, "odd.safetensors")
    words = [*profile, "--protocol", "10-crop", RECOMPUTED]
    assert main(["ensemble", name + given, f"{name}:odd.safetensors", *words]) == 0
    assert main(["evaluate", name, "--weights", "odd.safetensors", *words]) == 0
    means = [net.state_dict()["bn1.running_mean"] for net in tested]
    assert len(means) == 3
    for mean in means:  # by an ensemble as by an evaluation
        torch.testing.assert_close(mean, means[2])
        assert not (mean == 7).any()


def test_an_ensemble_that_deviates_lies_beside(trained: Path) -> None:
    for words in ([], ["eval.precision=fp32"], [RECOMPUTED]):
        assert main(["ensemble", *IMAGENET, "--protocol", "10-crop", *words]) == 0
    [folder] = Path("results/smoke/ensembles").iterdir()
    found = evaluations(folder)
    assert [value["deviations"] for value in found.values() if value["deviations"]] != []
    assert len(found) == 3
    assert found["eval-10-crop.json"]["deviations"] == {}


def test_statistics_cannot_be_recomputed_without_training_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """val/ alone will do for published weights, but not for this: averages over no batch would be zeros."""
    from torchvision import models

    from reproduce.data.synthetic.imagenet import write_shapes

    monkeypatch.chdir(tmp_path)
    root = write_shapes(tmp_path / "cache")
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "val").symlink_to(root / "val")
    weights = tmp_path / "resnet18-f37072fd.pth"
    torch.save(models.resnet18(num_classes=10).state_dict(), weights)
    publish(monkeypatch, "torchvision-resnet18-v1", weights)
    words = ["--profile", "smoke", "--weights", ".", "data.source=folder", "data.root=only", "data.subset=0"]
    assert main(["published", "torchvision-resnet18-v1", *words]) == 0
    shutil.rmtree("results/published")  # or what was measured is kept
    assert main(["published", "torchvision-resnet18-v1", *words, RECOMPUTED]) == 2
    assert "needs the training images" in capsys.readouterr().err.splitlines()[-1]
