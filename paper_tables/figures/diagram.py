"""What Figures 2, 3 and 5 are drawn with: boxes, arrows and shortcuts on a sheet measured in inches, y downwards."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline

from paper_tables.figures.canvas import Drawing
from paper_tables.figures.canvas import pt as points
from paper_tables.paper import Artefact

INK = "#30343a"
# Fill and edge by number of filters, as the paper colours the stages; pooling and fc layers are white.
FILLS = {
    64: ("#ece6f6", "#8a74b9"),
    128: ("#e0f0dc", "#6aa35f"),
    256: ("#fbe3da", "#d0805f"),
    512: ("#dcebf7", "#5b93c4"),
}
WHITE = ("#ffffff", "#7d838b")
Pair = tuple[float, float]


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure whose data coordinates are inches from the upper left corner."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def box(axes: Axes, at: Pair, size: Pair, words: str, look: tuple[str, str], pt: float) -> None:
    """A layer: a box centred at (x, y) with its words in it, of a fill and an edge."""
    (x, y), (width, height) = at, size
    corner, style = (x - width / 2, y - height / 2), f"round,pad=0,rounding_size={min(0.05, height / 4)}"
    pen: dict[str, Any] = {"facecolor": look[0], "edgecolor": look[1], "linewidth": points(0.9), "zorder": 4}
    axes.add_patch(FancyBboxPatch(corner, width, height, style, **pen))
    say(axes, x, y, words, pt)


def say(axes: Axes, x: float, y: float, words: str, pt: float, **style: Any) -> None:
    """Words centred at (x, y); on one line whether they have descenders or not."""
    given: dict[str, Any] = {"ha": "center", "va": "center_baseline", "color": INK, "zorder": 5}
    axes.text(x, y, words, size=points(pt), **(given | style))


def arrow(axes: Axes, start: Pair, end: Pair, head: float) -> None:
    look: dict[str, Any] = {"mutation_scale": points(head), "linewidth": points(0.9), "color": INK, "zorder": 2}
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", shrinkA=0, shrinkB=0, **look))


def shortcut(
    axes: Axes, x: float, ends: Pair, reach: float, head: float, dotted: bool = False, into: float = 0
) -> None:
    """From the line at (x, first end) out to x + reach and back to (x + into, second end), dotted or solid."""
    top, bottom = ends
    right, radius, tip = x + reach, min(0.16, (bottom - top) / 3), x + into + 0.01
    corners = [(x, top), (right - radius, top), (right, top), (right, top + radius)]
    corners += [(right, bottom - radius), (right, bottom), (right - radius, bottom), (tip + 0.06, bottom)]
    bend = Outline.CURVE3
    codes = [Outline.MOVETO, Outline.LINETO, bend, bend, Outline.LINETO, bend, bend, Outline.LINETO]
    look = {"linestyle": (0, (1.2, 1.6)) if dotted else "-", "linewidth": points(1.2 if dotted else 0.9)}
    axes.add_patch(PathPatch(Outline(corners, codes), facecolor="none", edgecolor=INK, zorder=2, **look))
    arrow(axes, (tip + 0.13, bottom), (tip, bottom), head)


def plus(axes: Axes, x: float, y: float, radius: float) -> None:
    """The addition, a circle with a cross."""
    axes.add_patch(Circle((x, y), radius, facecolor="white", edgecolor=INK, linewidth=points(1.0), zorder=4))
    arm = radius * 0.62
    for dx, dy in ((arm, 0.0), (0.0, arm)):
        axes.plot([x - dx, x + dx], [y - dy, y + dy], color=INK, linewidth=points(1.0), zorder=5)


def not_counted(artefact: Artefact, command: str) -> tuple[Figure, Drawing]:
    """What stands in place of a diagram whose nets were not counted, as wide as the diagram."""
    width, words = float(artefact.spec["size"][0]), f"{artefact.title} is drawn from the nets: {command}"
    figure, axes = sheet(width, 1.2)
    say(axes, width / 2, 0.45, "not run", 15, color="#8a8a8a")
    say(axes, width / 2, 0.85, words, min(8, 2 * width), color="#666666")
    return figure, Drawing(f"{artefact.title}: not run, {command} counts its nets.", [])
