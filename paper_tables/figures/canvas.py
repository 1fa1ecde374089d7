"""What the figures have in common: colours, the paper's hollow marks, the line that says what curves come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_tables.figures.palette import PALETTES
from paper_tables.paper import Artefact, Paper
from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import Results, RunResult
from paper_tables.verdicts.cells import conditions_for

SCREEN = 96.0  # pixels of the page per inch of a figure
# The paper's hollow marks -> what they stand for.
SHAPES = {"o": "test error", "s": "training error", "v": "below this", "^": "above this"}
FONT = 9.0  # font.size of style.mplstyle: sizes in the code go with it, and shrink with it to the printed width


def pt(size: float) -> float:
    """A size in points beside text of 9 points, as large as the figure is drawn."""
    return size * float(matplotlib.rcParams["font.size"]) / FONT


@dataclass(frozen=True)
class Drawing:
    """What the page says about a figure: a text for the image, what its marks are, how it differs from the paper's."""

    alt: str
    notes: list[str]
    marks: str = ""
    size: tuple[float, float] = (0, 0)  # inches, as drawn

    @property
    def pixels(self) -> tuple[int, int]:
        """On a screen, where the size on paper would be small."""
        return int(self.size[0] * SCREEN), int(self.size[1] * SCREEN)

    @property
    def shape(self) -> str:
        """wide and tall figures scroll on a narrow screen."""
        return "wide" if self.pixels[0] > 1150 else "tall" if self.pixels[1] > 1150 else ""


def panels(artefact: Artefact, rows: int, columns: int, sharey: bool = False) -> tuple[Figure, np.ndarray]:
    """A figure of the artefact's size and its axes, rows x columns, laid out around their labels and legends."""
    width, height = map(float, artefact.spec["size"])
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, sharey=sharey)


def colour(run: str, paper: Paper) -> str:
    """Of a run, in the palette that the report is drawn in."""
    return PALETTES[paper.palette][paper.look(run)["colour"]]


def paper_alpha(results: Results) -> float:
    """The paper's marks belong to official data at full length: lighter anywhere else."""
    return 1.0 if results.profile == "paper" else 0.5


def paper_words(results: Results, length: int) -> str:
    """What a hollow mark is; `length` is the paper's training in iterations."""
    length_words = "" if results.profile == "paper" else f" at {length // 1000}k iterations"
    return f"paper{length_words},\nread off the figure"


def marks_words(results: Results, length: int) -> str:
    """The same as a sentence of the page."""
    where = "" if results.profile == "paper" else f" (official data, {length:,} iterations)"
    return f"Hollow marks: values read off the paper's figure{where}."


def paper_handles(results: Results, length: int, shapes: set[str]) -> list[Line2D]:
    """A legend's entries for the hollow marks of these shapes; the first says where they come from."""
    found = [shape for shape in SHAPES if shape in shapes]
    words = [f"paper, {SHAPES[shape]}" for shape in found]
    if found:
        words[0] = paper_words(results, length) + (f":\n{SHAPES[found[0]]}" if len(found) > 1 else "")
    style: dict[str, Any] = {"color": "#555555", "alpha": paper_alpha(results), "markerfacecolor": "white"}
    style |= {"markersize": pt(5), "linestyle": "none"}
    return [Line2D([], [], marker=shape, label=text, **style) for shape, text in zip(found, words, strict=True)]


def mark(axes: Axes, at: tuple[float, float, float], run: str, evidence: Evidence, marker: str = "o") -> None:
    """A hollow mark: a value read off the paper's figure; `at`: x, y and the uncertainty of the reading."""
    x, y, pm = at
    style: dict[str, Any] = {"color": colour(run, evidence.paper), "alpha": paper_alpha(evidence.results)}
    style |= {"marker": marker, "markersize": pt(5), "markerfacecolor": "white", "markeredgewidth": pt(1.1)}
    axes.errorbar(x, y, yerr=pm or None, elinewidth=pt(0.8), clip_on=False, zorder=6, **style)


def net_handle(run: str, there: set[str], evidence: Evidence, width: float, line: Any = "-") -> Line2D:
    """A legend's entry for a net; `there`: the nets that have a curve, beside which the others are not run."""
    words = evidence.paper.label(run) + ("" if run in there or not there else " (not run)")
    return Line2D([], [], color=colour(run, evidence.paper), linestyle=line, linewidth=pt(width), label=words)


def say_not_run(axes: Axes, height: float = 0.5) -> None:
    """In the middle of the panel, or at another `height` (0 to 1) where marks stand there."""
    box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": "#d0d0d0", "linewidth": pt(1)}
    style: dict[str, Any] = {"ha": "center", "va": "center", "size": pt(15), "color": "#8a8a8a", "bbox": box}
    axes.text(0.4, height, "not run", transform=axes.transAxes, **style)


def footline(
    figure: Figure, trainings: list[RunResult], evidence: Evidence, metric: str, protocol: str | None = None
) -> None:
    """Which data and budget the numbers `metric` come from, in small print under the figure."""
    seen = conditions_for(trainings, evidence.paper, metric, protocol) if trainings else "nothing run; marks: the paper"
    figure.supxlabel(evidence.source or f"profile {evidence.results.profile}: {seen}", size=pt(7.5), color="#666666")
