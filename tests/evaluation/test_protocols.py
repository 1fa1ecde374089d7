"""The test protocols against the same thing done by hand: crops, dense scores, averages, every image once."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reproduce.__main__ import main
from reproduce.evaluation.protocols import Member, Protocol, count, dense_scores, ten_crops
from reproduce.models.resnet import build

CPU = torch.device("cpu")
ARGUMENTS = ["imagenet-resnet-18-A", "--profile", "smoke"]


def net_of(depth: int = 18, seed: int = 0, classes: int = 10) -> nn.Module:
    """A net whose BN layers have something to do, at test time."""
    net = build(
        name="imagenet-resnet", depth=depth, shortcut="A" if depth < 50 else "B", classes=classes, seed=seed
    ).eval()
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = 0.1 * torch.randn(module.num_features, generator=generator)
            module.running_var = 0.5 + torch.rand(module.num_features, generator=generator)
    return net


def halve(x: Tensor) -> Tensor:
    return x.float() / 128 - 1


def pictures(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(0, 256, (3, h, w), dtype=torch.uint8, generator=generator) for h, w in sizes]


def protocol(name: str, crop: int = 64, side: int = 72, sides: tuple[int, ...] = (64, 72, 96)) -> Protocol:
    return Protocol(name, crop, side, sides)


@torch.no_grad()
def test_ten_crops_are_corners_centre_and_their_mirror_images() -> None:
    [image] = pictures((72, 90))
    a, b, top, left = 72 - 64, 90 - 64, 4, 13
    by_hand = [image[:, :64, :64], image[:, :64, b:], image[:, a:, :64], image[:, a:, b:]]
    by_hand += [image[:, top : top + 64, left : left + 64]]
    by_hand += [view.flip(2) for view in by_hand]
    torch.testing.assert_close(ten_crops(image, 64), torch.stack(by_hand), rtol=0, atol=0)


@pytest.mark.arithmetic
@torch.no_grad()
def test_10_crop_is_the_mean_probability_of_ten_crops_done_by_hand() -> None:
    net, images = net_of(), pictures((72, 90), (100, 72))
    found = protocol("10-crop").probabilities(Member(net, halve), images)
    by_hand = [net(halve(ten_crops(image, 64))).softmax(1).mean(0) for image in images]
    torch.testing.assert_close(found, torch.stack(by_hand), rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("depth", [18, 50])
def test_the_dense_net_is_the_ordinary_one_at_the_size_of_training(depth: int) -> None:
    net = net_of(depth)
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(dense_scores(net, x, 224), net(x), rtol=1e-4, atol=1e-4)


@pytest.mark.arithmetic
@torch.no_grad()
def test_the_dense_net_averages_the_scores_of_its_windows() -> None:
    """The map of 96x128 pixels is 3x4; a window of 2x2 (crop 64) has 2 x 3 places there."""
    net, x = net_of(), torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(2))
    features = x
    for name, layer in net.named_children():
        if name == "average_pool":
            break
        features = layer(features)
    assert features.shape[2:] == (3, 4)
    fc = net.get_submodule("fc")
    windows = [fc(features[:, :, i : i + 2, j : j + 2].mean((2, 3))) for i in range(2) for j in range(3)]
    torch.testing.assert_close(dense_scores(net, x, 64), torch.stack(windows).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.arithmetic
@torch.no_grad()
def test_multi_scale_is_the_mean_over_sides_and_mirror_images() -> None:
    """Images that are at every side as they are: no resizing is between the two."""
    net, images = net_of(), pictures((64, 80), (64, 64), (64, 80))
    found = protocol("multi-scale", sides=(64,)).probabilities(Member(net, halve), images)
    for image, probabilities in zip(images, found, strict=True):
        views = [halve(image)[None], halve(image)[None].flip(3)]
        by_hand = torch.stack([dense_scores(net, x, 64).softmax(1)[0] for x in views]).mean(0)
        torch.testing.assert_close(probabilities, by_hand, rtol=1e-4, atol=1e-6)
    several = protocol("multi-scale").probabilities(Member(net, halve), images)
    each = [protocol("multi-scale", sides=(s,)).probabilities(Member(net, halve), images) for s in (64, 72, 96)]
    torch.testing.assert_close(several, torch.stack(each).mean(0), rtol=1e-5, atol=1e-6)


class Fixed(nn.Module):
    """Scores that do not depend on the image."""

    def __init__(self, *scores: float) -> None:
        super().__init__()
        self.scores = torch.tensor(scores)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores.expand(len(x), -1)


def test_an_ensemble_averages_probabilities_not_scores() -> None:
    """0.999 and 0.2 for the first of two classes: their mean says the first, the mean of votes would be undecided."""
    sure, unsure = Member(Fixed(7.0, 0.0), halve), Member(Fixed(0.0, 1.4), halve)
    labelled = [(image, 0) for image in pictures((72, 72), (72, 72))]
    assert count([unsure], labelled, protocol("single"), CPU).errors == 2
    assert count([unsure, sure], labelled, protocol("single"), CPU).errors == 0


def test_top5_counts_what_is_not_among_the_five_best() -> None:
    member = Member(Fixed(*range(10)), halve)  # best: 9, 8, 7, 6, 5
    labelled = list(zip(pictures(*[(72, 72)] * 10), range(10), strict=True))
    counts = count([member], labelled, protocol("single"), CPU)
    assert (counts.n, counts.errors, counts.top5_errors) == (10, 9, 5)


def test_images_are_counted_once_however_they_fall_into_chunks() -> None:
    labelled = [(image, 0) for image in pictures(*[(64, 64)] * 33)]
    assert count([Member(Fixed(1.0, 0.0), halve)], labelled, protocol("single", side=64), CPU).n == 33


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert main(["train", *ARGUMENTS]) == 0


def test_an_ensemble_of_one_equals_its_member_and_both_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path, monkeypatch)

    def printed(*words: str) -> dict[str, object]:
        assert main([*words, "--json"]) == 0
        found: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    for name in ("10-crop", "multi-scale"):
        alone = printed("evaluate", *ARGUMENTS, "--protocol", name)
        one = printed("ensemble", *ARGUMENTS, "--protocol", name)
        assert alone["n"] == 10
        assert {key: one[key] for key in ("n", "top1_error", "top5_error", "data")} == {
            key: alone[key] for key in ("n", "top1_error", "top5_error", "data")
        }
        assert (tmp_path / f"results/smoke/imagenet-resnet-18-A/seed-0/eval-{name}.json").is_file()
        assert (tmp_path / f"results/smoke/ensembles/{one['ensemble']}/eval-{name}.json").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ensemble", "--profile", "smoke"], "name at least one RUN"),
        (["ensemble", "cifar10-resnet-20:x.pt", "--profile", "smoke"], "x.pt: no such file"),
        (["evaluate", *ARGUMENTS, "--weights", "nowhere.pt"], "nowhere.pt: no such file"),
        (["evaluate", *ARGUMENTS], "python -m reproduce train imagenet-resnet-18-A --profile smoke"),
        (["published", "resnet19", "--profile", "smoke"], "resnet19 is neither a run nor one of akamaster-resnet-20"),
        (["published", "cifar10-plain-110", "--profile", "smoke"], "cifar10-plain-110 given; name nets of"),
        (["published", "torchvision-resnet18-v1", "--profile", "smoke", "--weights", "here"], "here: no such folder"),
        (["published", "torchvision-resnet18-v1", "--profile", "smoke", "--weights", "."], ".: no file of published"),
        (["published", "akamaster-resnet-20", "--profile", "smoke"], "akamaster-resnet-20: not torchvision's"),
        (
            ["evaluate", "cifar10-resnet-20", "--profile", "smoke", "--protocol", "10-crop"],
            "nets for cifar10 are tested by single",
        ),
        (["train", "imagenet-plain-18", "--profile", "demo"], "is made for cifar10, not for imagenet"),
        (["train", "imagenet-plain-18", "--profile", "folder", "data.root=nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    line = capsys.readouterr().err.strip()
    assert told in line
    assert "\n" not in line
