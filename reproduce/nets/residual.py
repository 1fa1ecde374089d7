"""Every plain and residual net of the paper: shortcuts A, B, C, basic and bottleneck blocks, CIFAR and ImageNet."""

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reproduce.errors import UserError

IMAGENET = {  # Table 1: depth -> block, blocks in conv2_x ... conv5_x
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
CIFAR_LAYERS = {"basic": 6, "bottleneck": 9}  # Sec. 4.2: 6n + 2 layers; three 1x1-3x3-1x1 blocks per n make it 9n + 2
STEMS = {"imagenet": (64, 7, 2), "cifar": (16, 3, 1)}  # conv1: filters, kernel, stride


@dataclass(frozen=True)
class Options:
    """What the blocks of one net have in common; see `build`."""

    shortcut: str
    zero_padding: str
    subsample: str
    stride: str
    bn_group: int | None


class Conv2d(nn.Conv2d):
    """Convolution, padded to keep the map, without bias: BN follows each (Sec. 3.4)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)

    def reset_parameters(self) -> None:
        """Draws nothing: `initialise` does, and torch's own weights would take as long again."""


class BatchNorm(nn.BatchNorm2d):
    """BN [16]; in training each `group` images are normalised by themselves, as on the authors' GPUs (None: all).

    PyTorch's counter of batches stands still: only a cumulative average (`momentum` None) reads it, and it would be an
    operation per layer, a tenth of those of a small net's step (tests/test_device_work.py).
    """

    def __init__(self, channels: int, group: int | None = None) -> None:
        super().__init__(channels)
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w] -> the same; running statistics move once, by the mean over the groups.

        UserError where b is no multiple of the group.
        """
        if not self.training or self.group is None:
            return self._normalise(x, self.momentum)
        if len(x) % self.group:
            raise UserError(f"model.bn_group: {len(x)} images per device are no multiple of the group of {self.group}")
        groups = x.split(self.group)
        momenta = [self._momentum_of(k, len(groups)) for k in range(1, len(groups) + 1)]
        return torch.cat([self._normalise(*pair) for pair in zip(groups, momenta, strict=True)])

    def _momentum_of(self, k: int, n: int) -> float | None:
        """Momentum for group k of n, such that n updates in turn are a single one by the mean of the groups.

        Group k keeps m / n of its weight after those that follow, and the old value 1 - m after all: no operation more.
        """
        return self.momentum and self.momentum / (n - self.momentum * (n - k))

    def _normalise(self, x: Tensor, momentum: float | None) -> Tensor:
        if momentum is None:
            return super().forward(x)
        moving, affine = (self.running_mean, self.running_var), (self.weight, self.bias)
        return F.batch_norm(x, *moving, *affine, self.training, momentum, self.eps)


class ZeroPadding(nn.Module):
    """Option A where dimensions increase: identity with stride, and extra zero channels (Sec. 3.3); no parameters."""

    def __init__(self, c_in: int, c_out: int, stride: int, options: Options) -> None:
        super().__init__()
        self.kernel, self.stride = stride if options.subsample == "average" else 1, stride
        before = (c_out - c_in) // 2 if options.zero_padding == "both" else 0
        self.padding = (0, 0, 0, 0, before, c_out - c_in - before)

    def forward(self, x: Tensor) -> Tensor:
        """[b, c_in, h, w] -> [b, c_out, h / stride, w / stride], rounded up as a strided convolution does.

        Every second pixel is the mean over a 1x1 window: x[:, :, ::2, ::2], whose gradient keeps the memory layout.
        """
        return F.pad(F.avg_pool2d(x, self.kernel, self.stride, ceil_mode=True), self.padding)


def relu_(x: Tensor) -> Tensor:
    """In place, as the addition before it: BN's gradient needs its input, not its output (hooks see it before ReLU)."""
    return F.relu(x, inplace=True)


def make_shortcut(c_in: int, c_out: int, stride: int, options: Options) -> nn.Module | None:
    """One block's shortcut (Sec. 3.3, 4.1): A without parameters, B projections where dimensions increase, C always."""
    increase = stride > 1 or c_in != c_out
    if options.shortcut == "none":
        return None
    if options.shortcut == "C" or options.shortcut == "B" and increase:
        conv, bn = Conv2d(c_in, c_out, 1, stride), BatchNorm(c_out, options.bn_group)
        return nn.Sequential(OrderedDict(conv=conv, bn=bn))
    return ZeroPadding(c_in, c_out, stride, options) if increase else nn.Identity()


class Basic(nn.Module):
    """Two 3x3 layers (Fig. 5 left): relu(F(x) + shortcut(x)), Eqs. 1 and 2; plain: relu(F(x))."""

    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int, options: Options) -> None:
        super().__init__()
        self.conv1, self.bn1 = Conv2d(c_in, width, 3, stride), BatchNorm(width, options.bn_group)
        self.conv2, self.bn2 = Conv2d(width, width, 3), BatchNorm(width, options.bn_group)
        self.shortcut = make_shortcut(c_in, width, stride, options)

    def forward(self, x: Tensor) -> Tensor:
        """[b, c_in, h, w] -> [b, width, h / stride, w / stride]."""
        y = relu_(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return relu_(y if self.shortcut is None else y.add_(self.shortcut(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 layers (Fig. 5 right); stride in the first 1x1 (alone fits the FLOPs of Table 1) or in the 3x3."""

    expansion = 4

    def __init__(self, c_in: int, width: int, stride: int, options: Options) -> None:
        super().__init__()
        c_out = width * self.expansion
        first, second = (stride, 1) if options.stride == "first-1x1" else (1, stride)
        self.conv1, self.bn1 = Conv2d(c_in, width, 1, first), BatchNorm(width, options.bn_group)
        self.conv2, self.bn2 = Conv2d(width, width, 3, second), BatchNorm(width, options.bn_group)
        self.conv3, self.bn3 = Conv2d(width, c_out, 1), BatchNorm(c_out, options.bn_group)
        self.shortcut = make_shortcut(c_in, c_out, stride, options)

    def forward(self, x: Tensor) -> Tensor:
        """[b, c_in, h, w] -> [b, 4 width, h / stride, w / stride]."""
        y = relu_(self.bn1(self.conv1(x)))
        y = relu_(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return relu_(y if self.shortcut is None else y.add_(self.shortcut(x)))


BLOCKS: dict[str, type[Basic] | type[Bottleneck]] = {"basic": Basic, "bottleneck": Bottleneck}


def family(stem: str, depth: int, block: str = "auto") -> tuple[str, tuple[int, ...]]:
    """(block, blocks per stage) of a depth: Table 1, or n = (depth - 2) / 6 (Sec. 4.2); UserError where none is."""
    if stem == "imagenet":
        if depth not in IMAGENET:
            raise UserError(f"model.depth: {depth} is not one of {', '.join(map(str, IMAGENET))} (Table 1)")
        kind, blocks = IMAGENET[depth]
        if block not in ("auto", kind):
            raise UserError(f"model.block: {depth} layers are {kind} blocks (Table 1), not {block}")
        return kind, blocks
    kind = "basic" if block == "auto" else block
    n, rest = divmod(depth - 2, CIFAR_LAYERS[kind])
    if n < 1 or rest:
        raise UserError(f"model.depth: {depth} is not {CIFAR_LAYERS[kind]}n + 2 with n = 1, 2, 3 ... ({kind} blocks)")
    return kind, (n, n, n)


def make_layers(stem: str, depth: int, block: str, classes: int, options: Options) -> "OrderedDict[str, nn.Module]":
    """The layers of a net in order, named as in Table 1."""
    kind, blocks = family(stem, depth, block)
    make, (width, kernel, stride) = BLOCKS[kind], STEMS[stem]
    conv, bn = Conv2d(3, width, kernel, stride), BatchNorm(width, options.bn_group)
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=conv, bn1=bn, relu=nn.ReLU(inplace=True))
    if stem == "imagenet":
        layers["max_pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    channels = width
    for stage, count in enumerate(blocks):
        modules = []
        for index in range(count):
            modules.append(make(channels, width << stage, 2 if stage and not index else 1, options))
            channels = (width << stage) * make.expansion
        layers[f"conv{stage + 2}_x"] = nn.Sequential(*modules)
    layers.update(average_pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(channels, classes))
    return layers


@torch.no_grad()
def initialise(net: nn.Module, seed: int, init: str) -> None:
    """Weights as in [13]: Gaussian, std sqrt(2 / n), n = k k c_in (fan_in) or k k c_out (fan_out); fc bias 0.

    Each weight has its own stream on CPU, keyed by seed and name: plain, A, B and C start from the same common weights.
    """
    for name, weight in net.named_parameters():
        if weight.dim() > 1 and not weight.is_meta:
            n = weight[0].numel() if init == "fan_in" else weight[:, 0].numel()
            key = hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8]
            generator = torch.Generator("cpu").manual_seed(int.from_bytes(key, "big"))
            weight.copy_(torch.randn(weight.shape, generator=generator, device="cpu") * math.sqrt(2 / n))
        elif name == "fc.bias":
            weight.zero_()


def build(
    *,
    stem: str,
    depth: int,
    shortcut: str,
    zero_padding: str = "end",
    stride: str = "first-1x1",
    bn_group: int | None = None,
    classes: int = 10,
    block: str = "auto",
    init: str = "fan_in",
    subsample: str = "stride",
    seed: int = 0,
) -> nn.Module:
    """A net of the paper, [b, 3, h, w] -> logits [b, classes]; UserError names the key where the family has none.

    stem: cifar (3x3, 16 filters; Sec. 4.2) or imagenet (7x7, 64; Table 1). shortcut: none (plain net), A, B or C.
    zero_padding (end, both) and subsample (stride, average: 2x2 mean): option A. stride (first-1x1, 3x3): bottlenecks.
    bn_group: images normalised together in training; None: all that the device holds. init: fan_in or fan_out.
    """
    options = Options(shortcut, zero_padding, subsample, stride, bn_group)
    with torch.random.fork_rng(devices=[]):  # torch's own initial weights, replaced below, would move the global stream
        net = nn.Sequential(make_layers(stem, depth, block, classes, options))
    initialise(net, seed, init)
    return net


def response_layers(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """(name, BN) of each 3x3 layer in order, without projections: the BN's output is the layer's response (Fig. 7)."""
    modules = dict(net.named_modules())
    layers = []
    for name, module in modules.items():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            stage, _, conv = name.rpartition("conv")
            layers.append((name, modules[f"{stage}bn{conv}"]))
    return layers
