"""Memory of a training step, counted on tensors without contents: nothing is computed, any batch fits."""

import weakref
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


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
