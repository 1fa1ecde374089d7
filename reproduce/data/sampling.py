"""Random numbers as a function of what they are for, never drawn from a stream.

Integer arithmetic only, so that CPU, CUDA and a captured graph give the same bits, on any number of processes and after
any restart.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from reproduce.utils.errors import UserError

MASK = 0xFFFFFFFF
START = 0x9E3779B9  # the golden ratio, so that hash32(0) is not 0

# What a training's number is drawn for: the last word of its hash (SIDE to COLOUR: ImageNet's training view).
ORDER, SIDE, DOWN, ACROSS, FLIP, COLOUR, CROP_AND_FLIP = range(7)
# Detection: anchors and regions, of foreground and background, and units that dropout silences.
ANCHOR_FOREGROUND, ANCHOR_BACKGROUND, REGION_FOREGROUND, REGION_BACKGROUND, DROPOUT = range(16, 21)


def _mix(h: int | Tensor) -> int | Tensor:
    """A bijection of 32-bit integers (the multipliers of "lowbias32"); the second one is written as c - 2**32.

    Both factors stay below 2**32 and 2**31 in size, so the product fits in int64: signed overflow never happens.
    """
    h = h ^ (h >> 16)
    h = (h * 0x7FEB352D) & MASK
    h = h ^ (h >> 15)
    h = (h * -0x7B935975) & MASK
    return h ^ (h >> 16)


def hash32(*words: int | Tensor) -> Tensor:
    """Hash of 64-bit words (Python integers and integer tensors, broadcast together) → int64 in [0, 2**32).

    The order of the words counts. Each is folded in by halves, so seeds and iterations beyond 2**32 stay distinct.
    """
    h: int | Tensor = START
    for word in words:
        word = word.long() if isinstance(word, Tensor) else word
        low, high = word & MASK, (word >> 32) & MASK
        h = _mix((_mix(h ^ low) + high + h) & MASK)
    return torch.as_tensor(h)


def below(n: int, h: Tensor) -> Tensor:
    """Map 32-bit hashes to integers 0..n-1, by their high bits (n < 2**31)."""
    return (h * n) >> 32


def epoch_order(seed: int, epoch: int, n: int, device: torch.device | str = "cpu") -> Tensor:
    """The order in which an epoch visits n images: a permutation of 0..n-1, [n] int64 (ties keep their order)."""
    keys = hash32(seed, epoch, torch.arange(n, device=device), ORDER)
    return torch.argsort(keys, stable=True)


def choose(candidates: Tensor, k: int, key: Sequence[int], purpose: int) -> Tensor:
    """Indices of k True elements of `candidates` [n] bool, drawn by a hash of (key, index, purpose); all if fewer."""
    indices = candidates.nonzero()[:, 0]
    return indices[hash32(*key, indices, purpose).argsort(stable=True)[:k]]


CACHED_ORDERS = 4


class Order:
    """Position p = iteration · batch_size + j of the stream is image order(p // n)[p % n] of the n training images.

    So each image comes once per epoch, none is dropped, and a batch may span two epochs. The image depends on (seed,
    iteration, j) alone: neither on the number of processes nor on where a run was interrupted.
    """

    def __init__(self, n: int, *, batch_size: int, seed: int) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self._orders: dict[tuple[int, torch.device], Tensor] = {}

    def positions(self, rank: int, world: int, device: torch.device) -> Tensor:
        """The positions j [b] of each iteration that are the share of process `rank`, with b = batch_size / world.

        Raises UserError when batch_size is not a multiple of `world`.
        """
        if self.batch_size % world:
            raise UserError(f"train.batch_size: {self.batch_size} is not divisible by {world} processes")
        b = self.batch_size // world
        return torch.arange(rank * b, (rank + 1) * b, device=device)

    def indices(self, iterations: Tensor, j: Tensor) -> Tensor:
        """Index of the training image at each position: iterations [k], on the CPU, and j [b] → [k, b], where j is."""
        first = int(iterations.min()) * self.batch_size // self.n
        last = (int(iterations.max() + 1) * self.batch_size - 1) // self.n
        orders = [self._order(epoch, j.device) for epoch in range(first, last + 1)]
        position = iterations.to(j.device)[:, None] * self.batch_size + j - first * self.n
        return (torch.cat(orders) if len(orders) > 1 else orders[0])[position]

    def _order(self, epoch: int, device: torch.device) -> Tensor:
        """The epoch's permutation, kept while batches are drawn from it."""
        key, kept = (epoch, device), self._orders
        if key not in kept:  # a new dictionary, never a changed one: threads may ask at the same time
            kept = dict(list(kept.items())[1 - CACHED_ORDERS :]) | {key: epoch_order(self.seed, epoch, self.n, device)}
            self._orders = kept
        return kept[key]


def next_multiple(i: int, of: int) -> int:
    """The smallest multiple of `of` above i."""
    return (i // of + 1) * of
