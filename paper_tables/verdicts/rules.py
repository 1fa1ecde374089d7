"""When a gap decides something: orderings, distances, and the noise that leaves both undecided.

`noise` is how far chance may move a gap, in the gap's unit: two standard errors where there are several seeds. More
noise can only turn a verdict into `undecided`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

TINY = 1e-9


def standard_error(samples: Iterable[tuple[float, int]]) -> float:
    """Of a sum or difference of means over independent trainings: samples are (standard deviation, n)."""
    return math.sqrt(sum(std**2 / n for std, n in samples))


def ordering(gaps: Sequence[float], margins: Sequence[float], noise: Sequence[float]) -> str:
    """holds where every gap is at least the larger of margin and noise, fails where one is as large but negative.

    A gap of zero never holds, and with neither margin nor noise it fails.
    """
    thresholds = [max(pair) for pair in zip(margins, noise, strict=True)]
    if all(gap > TINY and gap >= least - TINY for gap, least in zip(gaps, thresholds, strict=True)):
        return "holds"
    failed = any(gap <= TINY - least for gap, least in zip(gaps, thresholds, strict=True))
    return "fails" if failed else "undecided"


def distance(gaps: Sequence[float], margins: Sequence[float], noise: Sequence[float]) -> str:
    """holds where every |gap| + noise is within its margin, fails where one |gap| - noise is beyond it."""
    rows = list(zip(map(abs, gaps), margins, noise, strict=True))
    if all(gap + unsure <= margin + TINY for gap, margin, unsure in rows):
        return "holds"
    return "fails" if any(gap - unsure > margin + TINY for gap, margin, unsure in rows) else "undecided"
