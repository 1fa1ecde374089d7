"""The learning rate as a function of the iteration and the curve until there (Sec. 3.4 and 4.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Plateau:
    """When "the error plateaus" (Sec. 3.4), made exact: no gain over the best in `patience` points of the curve.

    The rule of torch's ReduceLROnPlateau(threshold=gain, threshold_mode="abs", patience=patience - 1): the best moves
    only when the gain is reached, so that a curve falling by less than it at a time still gains in the end.
    """

    watch: str  # the error of the curve that is watched: train or validation
    patience: int
    gain: float  # percent

    def drops(self, errors: Sequence[float]) -> int:
        """How often the learning rate has been divided after these points of the curve."""
        best, waited, drops = float("inf"), 0, 0
        for error in errors:
            best, waited = (error, 0) if error < best - self.gain else (best, waited + 1)
            if waited == self.patience:
                drops, waited = drops + 1, 0
        return drops


@dataclass(frozen=True)
class Schedule:
    """Learning rate by iteration: `lr`, a tenth after each milestone; `warmup_lr` until the error is low enough.

    With a `plateau` the milestones do not count: a tenth after each plateau of the curve instead.
    """

    lr: float
    milestones: Sequence[int]
    warmup_lr: float = 0.0  # 0: no warm-up
    warmup_error: float = 80.0  # percent
    warmup_window: int = 100  # iterations
    plateau: Plateau | None = None

    def at(self, iteration: int, warming: bool, rows: Sequence[Mapping[str, float]] = ()) -> float:
        base = self.warmup_lr if warming else self.lr
        return base * 0.1 ** self.drops(iteration, rows)

    def drops(self, iteration: int, rows: Sequence[Mapping[str, float]] = ()) -> int:
        """Divisions by 10 before an iteration; `rows`: the curve until there."""
        if self.plateau is None:
            return sum(iteration >= step for step in self.milestones)
        return self.plateau.drops([row[f"{self.plateau.watch}_error"] for row in rows])
