"""Layers that the nets are made of: convolution, batch normalisation, option A's shortcut; initial weights."""

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reproduce.utils.errors import UserError


@dataclass(frozen=True)
class Options:
    """What the blocks of one net have in common; see `build`."""

    shortcut: str
    zero_padding: str
    subsample: str
    stride: str
    bn_group: int | None
    bn_momentum: float
    bn_epsilon: float

    def batch_norm(self, channels: int) -> "BatchNorm":
        return BatchNorm(channels, self.bn_group, self.bn_momentum, self.bn_epsilon)


class Conv2d(nn.Conv2d):
    """Convolution, padded to keep the map, without bias: BN follows each (Sec. 3.4)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)

    def reset_parameters(self) -> None:
        """Draws nothing: `initialise` does, and torch's own weights would take as long again."""


class BatchNorm(nn.BatchNorm2d):
    """BN [16]; in training each `group` images are normalised by themselves, as on the authors' GPUs (None: all).

    `micro_batch`: (k, n) for the k-th of the n parts in which an iteration's images come, counted from 0.
    PyTorch's counter of batches stands still: only a cumulative average (`momentum` None) reads it, and it would be an
    operation per layer, a tenth of those of a small net's step (tests/training/test_device_work.py).
    """

    def __init__(self, channels: int, group: int | None = None, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__(channels, eps, momentum)
        self.group, self.micro_batch = group, (0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w] -> the same; running statistics move once an iteration, by the mean over its groups.

        UserError where b is no multiple of the group.
        """
        if not self.training:
            return self._normalise(x, self.momentum)
        if self.group and len(x) % self.group:
            raise UserError(f"model.bn_group: {len(x)} images per device are no multiple of the group of {self.group}")
        groups = x.split(self.group) if self.group else (x,)
        before, n = (len(groups) * part for part in self.micro_batch)
        normalised = [self._normalise(group, self._momentum_of(k, n)) for k, group in enumerate(groups, before + 1)]
        return torch.cat(normalised) if self.group else normalised[0]

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


@torch.no_grad()
def initialise(net: nn.Module, seed: int, init: str) -> None:
    """Weights as in [13]: Gaussian, std sqrt(2 / n), n = k k c_in (fan_in) or k k c_out (fan_out); fc bias 0.

    Each weight has its own stream on CPU, keyed by seed and name: plain, A, B and C start from the same common weights.
    """
    for name, weight in net.named_parameters():
        if weight.dim() > 1:
            n = weight[0].numel() if init == "fan_in" else weight[:, 0].numel()
            draw_gaussian(weight, math.sqrt(2 / n), f"{seed}/{name}")
        elif name == "fc.bias":
            weight.zero_()


@torch.no_grad()
def draw_gaussian(weight: Tensor, std: float, key: str) -> None:
    """Fills a weight with Gaussian numbers from a stream of its own, on CPU, that `key` names; on `meta` nothing."""
    if weight.is_meta:
        return
    digest = hashlib.sha256(key.encode()).digest()[:8]
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest, "big"))
    weight.copy_(torch.randn(weight.shape, generator=generator, device="cpu") * std)
