"""What can be computed from a net itself: layers, parameters, multiply-adds (Table 1, "# params" of Table 6)."""

import weakref
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def layers(net: nn.Module) -> int:
    """Weighted layers as the paper counts them (6n + 2; 18 ... 152): convolutions and fc, no projection shortcuts."""
    weighted = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return sum("shortcut" not in name.split(".") for name in weighted)


def parameters(net: nn.Module) -> int:
    """Trainable values: convolutions, BN scale and shift, fc with its bias; running statistics not counted."""
    return sum(parameter.numel() for parameter in net.parameters())


def multiply_adds(net: nn.Module, size: int = 32) -> int:
    """Multiply-adds ("FLOPs" of Table 1) of convolutions and fc for one [3, size, size] image; `net` is left as it is.

    One image on the net's device: faster than on `meta`, where torch derives every shape of 1,202 layers in Python.
    """
    training = net.training
    image = torch.zeros(1, 3, size, size, device=next(net.parameters()).device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(image)
    net.train(training)
    return counter.get_total_flops() // 2  # the counter takes a multiply-add for two


class Peak(TorchDispatchMode):
    """The most bytes that the tensors made inside hold at a time: activations, their gradients and the weights'."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self._now = 0
        self._alive: dict[int, int] = {}  # storage -> bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._hold(tensor.untyped_storage())
        return out

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._alive:
            self._alive[key] = storage.nbytes()
            self._now += storage.nbytes()
            self.bytes = max(self.bytes, self._now)
            weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self._now -= self._alive.pop(key)


def step_bytes(net: nn.Module, batch: int, size: int, bf16: bool) -> int:
    """The most that a step on images [batch, 3, size, size] holds at a time beside weights and momentum."""
    device = next(net.parameters()).device
    with Peak() as peak:
        images = torch.zeros(batch, 3, size, size, device=device)
        labels = torch.zeros(batch, dtype=torch.int64, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            loss = F.cross_entropy(net.train()(images).float(), labels)
            loss.backward()
    return peak.bytes
