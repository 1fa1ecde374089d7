"""Stochastic gradient descent, as values of a configuration and over the weights of a net."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent as in Sec. 3.4 and 4.2. The form is PyTorch's v := m v + g, w := w - lr v."""

    momentum: float = 0.9
    weight_decay: float = 1e-4
    nesterov: bool = False
    decay_all: bool = True  # False: convolution and fc weights only

    def over(self, net: nn.Module, fused: bool | None = None) -> torch.optim.SGD:
        """`fused`: kernels that read the learning rate on the device; they round otherwise than PyTorch's default."""
        decayed = [p for p in net.parameters() if self.decay_all or p.ndim > 1]
        others = [p for p in net.parameters() if not (self.decay_all or p.ndim > 1)]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        kept = [group for group in groups if group["params"]]
        return torch.optim.SGD(kept, lr=0.1, momentum=self.momentum, nesterov=self.nesterov, fused=fused)
