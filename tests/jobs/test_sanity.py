"""`sanity`: every check passes on a sound training, and each one sees what it is for."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from reproduce.__main__ import main
from reproduce.config.run import Run
from reproduce.data.build import build_data
from reproduce.data.cifar10.datamodule import Cifar10DataModule
from reproduce.data.picture import picture
from reproduce.jobs import sanity
from reproduce.training.classification import Classifier
from reproduce.training.trainer import build_classifier
from tests.helpers.tiny import TINY

Make = Callable[..., Run]
CHECKS = ["images", "loss at iteration 0", "gradients", "one batch by heart", "speed"]


def wrong(run: Run) -> dict[str, str]:
    """The checks that fail, with what they say."""
    return {check.name: str(check) for check in sanity.sanity(run) if not check.ok}


def with_module(monkeypatch: pytest.MonkeyPatch, change: Callable[[Classifier], Any]) -> None:
    """The training's module, changed after it was built."""

    def build(config: Any) -> Classifier:
        module = build_classifier(config)
        change(module)
        return module

    monkeypatch.setitem(sanity.TASKS, "classification", build)


def with_batches(monkeypatch: pytest.MonkeyPatch, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """Training batches, changed each time they are read."""
    read = Cifar10DataModule.train_batch
    monkeypatch.setattr(
        Cifar10DataModule, "train_batch", lambda self, *args, **given: change(*read(self, *args, **given))
    )


@pytest.mark.parametrize("name", ["cifar10-plain-20", "imagenet-resnet-18-A"])
def test_a_sound_training_passes_and_leaves_a_picture(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word for word in TINY if not word.startswith(("model.", "data."))]
    assert main(["sanity", name, "--profile", "smoke", "--json", *words]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == {f"{name} seed 0": dict.fromkeys(CHECKS, True)}
    assert [line.split(":")[0] for line in lines[1:]] == [f"ok     {check}" for check in CHECKS]
    (path,) = tmp_path.glob("runs/*/*/seed-0/sanity.png")
    assert str(path.relative_to(tmp_path)) in lines[1]
    side = 96 if name.startswith("cifar10") else 64
    assert Image.open(path).size[0] == 8 + 8 * (side + 8)
    assert not (tmp_path / "results").exists()


def test_something_wrong_is_exit_code_1_and_the_cause_in_the_same_line(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny()  # in a folder of its own
    with_module(monkeypatch, lambda module: module.net.get_submodule("conv1").requires_grad_(False))
    assert main(["sanity", "cifar10-resnet-20", "--profile", "smoke", *TINY]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("wrong")]
    assert lines == [
        "wrong  gradients: conv1.weight: no gradient; likely cause: a frozen layer (requires_grad), "
        "one that the loss does not depend on, or a loss that is not finite"
    ]


def test_an_image_that_is_not_finite_is_seen(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with_batches(monkeypatch, lambda x, y: (x.index_fill(0, torch.tensor(3), float("nan")), y))
    found = wrong(tiny())
    assert list(found) == ["images"]
    assert "training images as the net sees them are not all finite" in found["images"]


def test_labels_that_the_net_has_no_output_for_are_seen(tiny: Make) -> None:
    assert "model.classes is smaller" in wrong(tiny(overrides=["model.classes=2"]))["images"]


def test_initial_weights_of_another_scale_are_seen(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with_module(monkeypatch, lambda module: module.net.get_parameter("fc.weight").data.mul_(100))
    found = wrong(tiny())["loss at iteration 0"]  # three blocks with a shortcut
    assert "that of a guess is ln 10 = 2.30, at most 1 lower or 2.7 higher; likely cause: initial weights" in found


def test_a_layer_that_the_loss_does_not_depend_on_is_seen(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with_module(monkeypatch, lambda module: nn.init.zeros_(module.net.get_parameter("bn1.weight")))
    assert "conv1.weight: zero" in wrong(tiny())["gradients"]


def test_labels_shuffled_against_their_images_at_each_reading_are_seen(
    tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    with_batches(monkeypatch, lambda x, y: (x, y[torch.randperm(len(y), generator=generator)]))
    assert list(wrong(tiny())) == ["one batch by heart"]


def test_an_update_that_does_not_reach_the_weights_is_seen(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanity, "RATE", 0.0)
    assert list(wrong(tiny())) == ["one batch by heart"]


@pytest.mark.parametrize(
    "words", [[], ["data.normalize=channels", "data.mean=[0.5,0.4,0.3]", "data.std=[0.2,0.3,0.2]"]]
)
def test_the_picture_shows_the_images_before_normalisation(tiny: Make, words: list[str]) -> None:
    data = build_data(tiny(overrides=words).config)
    data.setup("fit")
    assert isinstance(data, Cifar10DataModule)
    images, _ = next(data.test_batches("cpu", size=5))
    assert torch.equal(data.pixels(images), data.test_images[:5])


def test_a_picture_holds_every_image_under_its_title() -> None:
    green = torch.tensor([20, 200, 60], dtype=torch.uint8)
    images = green.view(1, 3, 1, 1).repeat(9, 1, 32, 32)
    images[8] = 0
    drawn = Image.open(io.BytesIO(picture({"one": (images, ["naïve"] * 9), "two": (images[:1], ["x"])})))
    pixels = torch.frombuffer(bytearray(drawn.tobytes()), dtype=torch.uint8).view(drawn.height, drawn.width, 3)
    assert int((pixels == green).all(2).sum()) == 9 * 96 * 96  # nine green images, enlarged three times
    assert bool((pixels[150:230, 20:90] == 0).all())  # the ninth begins the second row
