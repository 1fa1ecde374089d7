"""Published weights are read strictly: the logits of the nets they come from, and an error for what does not fit."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from reproduce.models.pretrained import detect_layout, load_state, load_weights, read_state
from reproduce.models.resnet import build
from reproduce.utils.errors import UserError

IMAGENET = [(18, "first-1x1"), (34, "first-1x1"), (50, "3x3"), (101, "3x3"), (152, "3x3")]


class TheirBlock(nn.Module):
    """The basic block of akamaster/pytorch_resnet_cifar10 as its checkpoints imply it, written for this test."""

    def __init__(self, c_in: int, c_out: int, stride: int, option: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.stride, self.side = stride, (c_out - c_in) // 2
        self.shortcut = nn.Sequential()
        if option == "B" and c_in != c_out:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if len(self.shortcut):
            return F.relu(y + self.shortcut(x))
        return F.relu(y + F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.side, self.side)))


class TheirNet(nn.Module):
    """A CIFAR net with `layer1` ... `layer3` and `linear`."""

    def __init__(self, n: int, option: str = "A") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(TheirBlock(16, 16, 1, option) for _ in range(n)))
        self.layer2 = nn.Sequential(*(TheirBlock(16 if k == 0 else 32, 32, 1 + (k == 0), option) for k in range(n)))
        self.layer3 = nn.Sequential(*(TheirBlock(32 if k == 0 else 64, 64, 1 + (k == 0), option) for k in range(n)))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(y.mean((2, 3)))


def randomise(net: nn.Module) -> nn.Module:
    """Random BN statistics and affine values, of a size that keeps the logits of order 1; eval mode."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features, generator=generator) * 0.2
            module.running_var = torch.rand(module.num_features, generator=generator) + 0.5
            nn.init.uniform_(module.weight, 0.2, 0.8, generator=generator)
            nn.init.normal_(module.bias, std=0.2, generator=generator)
    return net.eval()


def their_state(n: int = 1, option: str = "A") -> dict[str, Any]:
    torch.manual_seed(0)
    return dict(randomise(TheirNet(n, option)).state_dict())


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def cifar(depth: int = 8, shortcut: str = "A", **choices: Any) -> nn.Module:
    return build(name="cifar-resnet", depth=depth, shortcut=shortcut, **choices).eval()


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize(("depth", "stride"), IMAGENET)
def test_torchvisions_nets_give_the_same_logits(depth: int, stride: str, tmp_path: Path) -> None:
    torch.manual_seed(depth)
    theirs = randomise(getattr(torchvision.models, f"resnet{depth}")(weights=None))
    path = save(tmp_path / "resnet.pth", theirs.state_dict())
    ours = build(name="imagenet-resnet", depth=depth, shortcut="B", stride=stride, classes=1000).eval()
    assert load_weights(ours, path) == "torchvision"
    ours, theirs = ours.double(), theirs.double()
    for size in (224, 320):
        x = torch.randn(1, 3, size, size, dtype=torch.float64)
        expected = theirs(x)
        assert 0.05 < expected.std() < 50
        torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-10)


def test_the_stride_of_a_bottleneck_changes_the_logits(tmp_path: Path) -> None:
    theirs = randomise(torchvision.models.resnet50(weights=None))
    path = save(tmp_path / "resnet.pth", theirs.state_dict())
    ours = build(name="imagenet-resnet", depth=50, shortcut="B", classes=1000).eval()
    load_weights(ours, path)  # the same shapes: the file alone cannot tell
    x = torch.randn(1, 3, 64, 64)
    assert not torch.allclose(ours(x), theirs(x), atol=1e-2)


@pytest.mark.arithmetic
@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("n", [1, 3])
def test_akamasters_nets_give_the_same_logits(n: int, prefix: str, image: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(n)
    theirs = randomise(TheirNet(n))
    state = {prefix + key: value for key, value in theirs.state_dict().items()}
    path = save(tmp_path / "resnet.th", {"state_dict": state, "best_prec1": 91.7})
    ours, other = cifar(6 * n + 2, zero_padding="both"), cifar(6 * n + 2, zero_padding="end")
    assert load_weights(ours, path) == load_weights(other, path) == "akamaster"
    image, ours, other, theirs = image.double(), ours.double(), other.double(), theirs.double()
    torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=1e-12)
    assert not torch.allclose(other(image), theirs(image), atol=1e-2)


class MartynBlock(nn.Module):
    """A block of a-martyn/resnet as its checkpoints imply it, plain or residual, written for this test."""

    def __init__(self, c_in: int, c_out: int, residual: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, c_out // c_in, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.residual, self.step, self.more = residual, c_out // c_in, c_out - c_in

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = torch.cat([x[:, :, :: self.step, :: self.step], x.new_zeros(len(x), self.more, *y.shape[2:])], 1)
        return F.relu(y + shortcut if self.residual else y)


class MartynNet(nn.Module):
    """A CIFAR net with `convIn`, `stack1`, `stack2a`, `stack2b`, `stack3a`, `stack3b` and `fcOut`."""

    def __init__(self, n: int, residual: bool) -> None:
        super().__init__()
        self.convIn, self.bnIn = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.stack1 = nn.Sequential(*(MartynBlock(16, 16, residual) for _ in range(n)))
        self.stack2a = MartynBlock(16, 32, residual)
        self.stack2b = nn.Sequential(*(MartynBlock(32, 32, residual) for _ in range(n - 1)))
        self.stack3a = MartynBlock(32, 64, residual)
        self.stack3b = nn.Sequential(*(MartynBlock(64, 64, residual) for _ in range(n - 1)))
        self.fcOut = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stack1(F.relu(self.bnIn(self.convIn(x))))
        y = self.stack3b(self.stack3a(self.stack2b(self.stack2a(y))))
        return self.fcOut(y.mean((2, 3)))


@pytest.mark.arithmetic
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_a_martyns_nets_give_the_same_logits(n: int, residual: bool, image: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(n)
    theirs = randomise(MartynNet(n, residual))
    ours = cifar(6 * n + 2, "A" if residual else "none")
    assert load_weights(ours, save(tmp_path / "net.pt", theirs.state_dict())) == "a-martyn"
    image, ours, theirs = image.double(), ours.double(), theirs.double()
    torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=1e-12)


def test_a_martyns_keys_are_named_as_in_the_file(tmp_path: Path) -> None:
    state = MartynNet(3, residual=False).state_dict()
    state["stack3b.1.conv2.weight"] = torch.zeros(1)
    with pytest.raises(UserError, match=r"stack3b\.1\.conv2\.weight has shape \[1\]"):
        load_weights(cifar(20, "none"), save(tmp_path / "net.pt", state))
    with pytest.raises(UserError, match=r"conv1\.weight is no key of the a-martyn layout"):
        read_state(save(tmp_path / "mixed.pt", state | {"conv1.weight": torch.zeros(1)}))


@pytest.mark.arithmetic
def test_akamasters_option_b_gives_the_same_logits(image: Tensor, tmp_path: Path) -> None:
    theirs = randomise(TheirNet(2, "B"))
    ours = cifar(14, "B")
    load_weights(ours, save(tmp_path / "b.th", {"state_dict": theirs.state_dict()}))
    ours, theirs, image = ours.double(), theirs.double(), image.double()
    torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=1e-12)


def test_a_cifar_net_in_torchvisions_layout_is_read(image: Tensor, tmp_path: Path) -> None:
    state = {key.replace("linear.", "fc."): value for key, value in their_state().items()}
    ours = cifar(zero_padding="both")
    assert load_weights(ours, save(tmp_path / "a.pth", state)) == "torchvision"
    twin = cifar(zero_padding="both")
    load_weights(twin, save(tmp_path / "a.th", their_state()))
    assert torch.equal(ours(image), twin(image))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("shortcut", ["none", "A", "B", "C"])
def test_our_own_files_are_read_back(shortcut: str, suffix: str, image: Tensor, tmp_path: Path) -> None:
    net, other = randomise(cifar(14, shortcut)), cifar(14, shortcut, seed=1)
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(net.state_dict(), path)
    assert load_weights(other, path) == "ours"
    assert torch.equal(net(image), other(image))


def test_old_files_lack_the_counters_of_batches(image: Tensor, tmp_path: Path) -> None:
    state = their_state()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    new_net, old_net = cifar(), cifar()
    load_weights(new_net, save(tmp_path / "new.th", state))
    load_weights(old_net, save(tmp_path / "old.th", old))
    assert len(old) < len(state)
    assert torch.equal(new_net(image), old_net(image))


def test_the_layout_is_known_before_a_net_is_built(tmp_path: Path) -> None:
    layout, state = read_state(save(tmp_path / "a.th", {"state_dict": their_state(2)}))
    net = cifar(14, zero_padding="both" if layout == "akamaster" else "end")
    load_state(net, layout, state, tmp_path / "a.th")
    assert layout == "akamaster"
    assert set(state) == set(net.state_dict())


@pytest.mark.parametrize(
    ("keys", "layout"),
    [
        (["conv1.weight", "conv2_x.0.conv1.weight", "fc.weight"], "ours"),
        (["conv1.weight", "layer1.0.conv1.weight", "fc.weight"], "torchvision"),
        (["conv1.weight", "layer1.0.conv1.weight", "linear.weight"], "akamaster"),
    ],
)
def test_layouts_are_told_apart_by_their_keys(keys: list[str], layout: str) -> None:
    assert detect_layout(keys) == layout


@pytest.mark.parametrize("keys", [[], ["features.0.weight"], ["layer1.0.conv1.weight"], ["fc.weight"]])
def test_other_layouts_are_refused(keys: list[str]) -> None:
    with pytest.raises(UserError, match="no layout known here") as error:
        detect_layout(keys, "x.pth")
    assert str(error.value).startswith("x.pth: ")


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in their_state().items() if name != key}


MISFITS: list[tuple[str, Any, str]] = [
    ("missing", lambda: without("layer2.0.conv1.weight"), "layer2.0.conv1.weight is missing"),
    ("missing bias", lambda: without("linear.bias"), "linear.bias is missing"),
    ("missing statistics", lambda: without("layer1.0.bn2.running_var"), "layer1.0.bn2.running_var is missing"),
    ("one counter missing", lambda: without("bn1.num_batches_tracked"), "bn1.num_batches_tracked is missing"),
    ("unexpected", lambda: their_state() | {"extra.weight": torch.ones(1)}, "unexpected key extra.weight"),
    ("both heads", lambda: their_state() | {"fc.weight": torch.ones(10, 64)}, "fc.weight is no key of the akamaster"),
    ("our key", lambda: their_state() | {"conv2_x.0.conv1.weight": torch.ones(1)}, "unexpected key "),
    (
        "one prefix",
        lambda: their_state() | {"module.conv1.weight": torch.ones(1)},
        "unexpected key module.conv1.weight",
    ),
    ("deeper", lambda: their_state(2), "unexpected key layer1.1.conv1.weight"),
    ("projections", lambda: their_state(1, "B"), "unexpected key layer2.0.shortcut.0.weight"),
    (
        "shape",
        lambda: their_state() | {"conv1.weight": torch.ones(16, 3, 5, 5)},
        "conv1.weight has shape [16, 3, 5, 5]",
    ),
    ("classes", lambda: their_state() | {"linear.bias": torch.ones(100)}, "linear.bias has shape [100]"),
    ("no tensor", lambda: their_state() | {"bn1.weight": [1.0]}, "'bn1.weight' is a list, not a named tensor"),
    ("no name", lambda: their_state() | {7: torch.ones(1)}, "7 is a Tensor, not a named tensor"),
    (
        "integers",
        lambda: their_state() | {"bn1.weight": torch.ones(16, dtype=torch.int64)},
        "bn1.weight holds torch.int64",
    ),
    ("sparse", lambda: their_state() | {"linear.weight": torch.ones(10, 64).to_sparse()}, "linear.weight holds"),
    (
        "envelope",
        lambda: {"state_dict": their_state(), "optimizer": {}},
        "unexpected key 'optimizer' beside state_dict",
    ),
    ("envelope of a list", lambda: {"state_dict": [1]}, "holds a list, not a dictionary of tensors"),
    ("a tensor", lambda: torch.ones(3), "holds a Tensor, not a dictionary of tensors"),
    ("nothing", dict, "keys of no layout known here"),
    ("another net", lambda: dict(torchvision.models.squeezenet1_0().state_dict()), "keys of no layout known here"),
]


@pytest.mark.parametrize(("content", "message"), [case[1:] for case in MISFITS], ids=[case[0] for case in MISFITS])
def test_what_does_not_fit_is_named_and_nothing_is_loaded(content: Any, message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "weights.th", content())
    refused(path, message)


def refused(path: Path, message: str) -> None:
    net = cifar()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_weights(net, path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


class Bomb:
    """A pickle that would run a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    refused(save(tmp_path / "zip.th", their_state() | {"bomb": Bomb(mark)}), "damaged, or holds more than tensors")
    (tmp_path / "bare.th").write_bytes(pickle.dumps(Bomb(mark)))
    refused(tmp_path / "bare.th", "damaged, or holds more than tensors")
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".th", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"\0", b"weights", b"PK\3\4", b"\x80\2.", b"\x80\4N.", b"<html></html>" * 99])
def test_files_that_are_no_checkpoint_are_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    refused(path, "damaged, or holds more than tensors")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_truncated_files_are_refused(kind: str, part: float, tmp_path: Path) -> None:
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.th")
    if kind == "safetensors":
        save_file(cifar().state_dict(), path)
    else:
        torch.save(their_state(), path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    refused(path, "damaged, or holds more than tensors")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.th", "no such file")
    refused(tmp_path, "a folder, not a file")
