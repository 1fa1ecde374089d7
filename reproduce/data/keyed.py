"""Random numbers as a function of what they are for, never drawn from a stream.

Integer arithmetic only, so that CPU, CUDA and a captured graph give the same bits, on any number of processes and after
any restart.
"""

import torch
from torch import Tensor

MASK = 0xFFFFFFFF
START = 0x9E3779B9  # the golden ratio, so that hash32(0) is not 0

# What a training's number is drawn for: the last word of its hash (SIDE to COLOUR: ImageNet's training view).
ORDER, SIDE, DOWN, ACROSS, FLIP, COLOUR, CROP_AND_FLIP = range(7)


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
