"""When a difference of means decides something: orderings, distances, and how noise keeps both open.

`noise` is what chance alone may move a difference by, in the same unit: two standard errors where there are several
seeds. It can only turn a verdict into `undecided`, never the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

TINY = 1e-9


def standard_error(samples: Iterable[tuple[float, int]]) -> float:
    """Of a sum or difference of means over independent seeds: samples are (standard deviation, n)."""
    return math.sqrt(sum(std**2 / n for std, n in samples))


def ordering(gaps: Sequence[float], margins: Sequence[float], noise: Sequence[float]) -> str:
    """Gaps that should be positive: holds where each reaches the larger of margin and noise, fails where one lies as
    far on the wrong side. Strict: a gap of nothing never holds, and with neither margin nor noise it fails."""
    thresholds = [max(pair) for pair in zip(margins, noise, strict=True)]
    if all(gap > TINY and gap >= least - TINY for gap, least in zip(gaps, thresholds, strict=True)):
        return "holds"
    failed = any(gap <= TINY - least for gap, least in zip(gaps, thresholds, strict=True))
    return "fails" if failed else "undecided"


def distance(gaps: Sequence[float], margins: Sequence[float], noise: Sequence[float]) -> str:
    """Gaps that should be small: holds where each lies within its fixed margin even with the noise added, fails where
    one lies beyond it even with the noise taken off."""
    rows = list(zip(map(abs, gaps), margins, noise, strict=True))
    if all(gap + unsure <= margin + TINY for gap, margin, unsure in rows):
        return "holds"
    return "fails" if any(gap - unsure > margin + TINY for gap, margin, unsure in rows) else "undecided"
