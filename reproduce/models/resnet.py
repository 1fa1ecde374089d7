"""Every plain and residual net of the paper: shortcuts A, B, C, basic and bottleneck blocks, CIFAR and ImageNet."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from reproduce.models.layers import Conv2d, Options, ZeroPadding, initialise, relu_
from reproduce.utils.errors import UserError

IMAGENET = {  # Table 1: depth -> block, blocks in conv2_x ... conv5_x
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
CIFAR_LAYERS = {"basic": 6, "bottleneck": 9}  # Sec. 4.2: 6n + 2 layers; three 1x1-3x3-1x1 blocks per n make it 9n + 2
CONV1 = {"imagenet-resnet": (64, 7, 2), "cifar-resnet": (16, 3, 1)}  # by model.name: filters, kernel, stride


def make_shortcut(c_in: int, c_out: int, stride: int, options: Options) -> nn.Module | None:
    """One block's shortcut (Sec. 3.3, 4.1): A without parameters, B projections where dimensions increase, C always."""
    increase = stride > 1 or c_in != c_out
    if options.shortcut == "none":
        return None
    if options.shortcut == "C" or options.shortcut == "B" and increase:
        conv, bn = Conv2d(c_in, c_out, 1, stride), options.batch_norm(c_out)
        return nn.Sequential(OrderedDict(conv=conv, bn=bn))
    return ZeroPadding(c_in, c_out, stride, options) if increase else nn.Identity()


class Basic(nn.Module):
    """Two 3x3 layers (Fig. 5 left): relu(F(x) + shortcut(x)), Eqs. 1 and 2; plain: relu(F(x))."""

    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int, options: Options) -> None:
        super().__init__()
        self.conv1, self.bn1 = Conv2d(c_in, width, 3, stride), options.batch_norm(width)
        self.conv2, self.bn2 = Conv2d(width, width, 3), options.batch_norm(width)
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
        self.conv1, self.bn1 = Conv2d(c_in, width, 1, first), options.batch_norm(width)
        self.conv2, self.bn2 = Conv2d(width, width, 3, second), options.batch_norm(width)
        self.conv3, self.bn3 = Conv2d(width, c_out, 1), options.batch_norm(c_out)
        self.shortcut = make_shortcut(c_in, c_out, stride, options)

    def forward(self, x: Tensor) -> Tensor:
        """[b, c_in, h, w] -> [b, 4 width, h / stride, w / stride]."""
        y = relu_(self.bn1(self.conv1(x)))
        y = relu_(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return relu_(y if self.shortcut is None else y.add_(self.shortcut(x)))


BLOCKS: dict[str, type[Basic] | type[Bottleneck]] = {"basic": Basic, "bottleneck": Bottleneck}


def family(name: str, depth: int, block: str = "auto") -> tuple[str, tuple[int, ...]]:
    """(block, blocks per stage) of a depth: Table 1, or n = (depth - 2) / 6 (Sec. 4.2); UserError where none is."""
    if name == "imagenet-resnet":
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


def make_layers(name: str, depth: int, block: str, classes: int, options: Options) -> "OrderedDict[str, nn.Module]":
    """The layers of a net in order, named as in Table 1."""
    kind, blocks = family(name, depth, block)
    make, (width, kernel, stride) = BLOCKS[kind], CONV1[name]
    conv, bn = Conv2d(3, width, kernel, stride), options.batch_norm(width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=conv, bn1=bn, relu=nn.ReLU(inplace=True))
    if name == "imagenet-resnet":
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


def build(
    *,
    name: str,
    depth: int,
    shortcut: str,
    zero_padding: str = "end",
    stride: str = "first-1x1",
    bn_group: int | None = None,
    bn_momentum: float = 0.1,
    bn_epsilon: float = 1e-5,
    classes: int = 10,
    block: str = "auto",
    init: str = "fan_in",
    subsample: str = "stride",
    seed: int = 0,
) -> nn.Module:
    """A net of the paper, [b, 3, h, w] -> logits [b, classes]; UserError names the key where the family has none.

    name: cifar-resnet (Sec. 4.2) or imagenet-resnet (Table 1). shortcut: none (plain net), A, B or C.
    zero_padding (end, both) and subsample (stride, average: 2x2 mean): option A. stride (first-1x1, 3x3): bottlenecks.
    bn_group: images normalised together in training; None: all that the device holds. bn_momentum: weight of the newest
    statistics in the moving averages; bn_epsilon: added to the variance. init: fan_in or fan_out.
    """
    options = Options(shortcut, zero_padding, subsample, stride, bn_group, bn_momentum, bn_epsilon)
    with torch.random.fork_rng(devices=[]):  # torch's own initial weights, replaced below, would move the global stream
        net = nn.Sequential(make_layers(name, depth, block, classes, options))
    initialise(net, seed, init)
    return net
