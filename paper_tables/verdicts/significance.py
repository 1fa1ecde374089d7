"""An exact permutation test for the means of two sets of seeds; it assumes no distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

LEVEL = 0.05
EXACT = 200_000  # up to so many splits into two groups all are tried, beyond that as many random ones
TINY = 1e-9


@dataclass(frozen=True)
class Permutation:
    """`p`: the fraction of splits whose means are at least as far apart; `least`: the smallest p that n allows."""

    p: float
    least: float
    exact: bool

    @property
    def words(self) -> str:
        number = f"p {'=' if self.exact else '≈'} {self.p:.3f}"
        if self.least > LEVEL:
            return f"too few seeds: {number}, and never below {self.least:.3f}"
        return f"differ, {number}" if self.p < LEVEL else f"no significant difference, {number}"


def permutation_test(a: Sequence[float], b: Sequence[float]) -> Permutation | None:
    """The test, None where a side has fewer than two values."""
    if min(len(a), len(b)) < 2:
        return None
    pooled, size = np.array([*a, *b], dtype=np.float64), len(a)
    splits = comb(len(pooled), size)
    exact = splits <= EXACT
    chosen = _all(len(pooled), size) if exact else _drawn(len(pooled), size)
    sums = pooled[chosen].sum(axis=1)
    gaps = np.abs(sums / size - (pooled.sum() - sums) / len(b))
    seen = abs(np.mean(a) - np.mean(b))
    count = int((gaps >= seen - TINY).sum())
    p = count / splits if exact else (count + 1) / (len(chosen) + 1)
    return Permutation(float(p), (2 if len(a) == len(b) else 1) / splits, exact)


def _all(n: int, size: int) -> np.ndarray:
    """Every choice of `size` of n indices, one a row."""
    return np.array(list(combinations(range(n), size)))


def _drawn(n: int, size: int) -> np.ndarray:
    """EXACT random choices, from a fixed seed so that the page stays the same."""
    return np.argsort(np.random.default_rng(0).random((EXACT, n)), axis=1)[:, :size]
