"""Figure 3: VGG-19, plain-34 and ResNet-34 as three columns of layers, drawn from what was counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_tables.figures import canvas, diagram
from paper_tables.paper import Artefact
from paper_tables.results.evidence import Evidence
from paper_tables.tables.counted import COMMAND, Net, layers_of

PITCH, BOX = 0.46, (1.62, 0.24)  # inches from layer to layer; a layer's box
TOP, LEFT, STEP, MARGIN = 1.3, 2.05, 2.5, 0.75  # first row; first column; from column to column; below the last row
REACH = 1.16  # of a shortcut, from the middle of its column
PT = 8.6


@dataclass(frozen=True)
class Layer:
    """A box of Figure 3: its row, its words and fill, the side of its map; where a shortcut around it ends."""

    words: str
    output: int
    look: tuple[str, str]
    row: int = 0


@dataclass(frozen=True)
class Shortcut:
    """Around the layers first ... last (places in their column)."""

    first: int
    last: int
    increase: bool


def paint(artefact: Artefact, evidence: Evidence) -> tuple[Figure, canvas.Drawing]:
    counted = evidence.results.architectures
    nets = [counted[name] for name in artefact.spec["nets"] if name in counted]
    if len(nets) < len(artefact.spec["nets"]):
        return diagram.not_counted(artefact, COMMAND)
    columns = [boxes(net) for net in nets]
    starts = first_rows(columns)
    height = TOP + starts[-1][1] * PITCH + MARGIN
    figure, axes = diagram.sheet(LEFT + STEP * len(nets) - 0.2, height)
    _sizes(axes, starts)
    for i, (net, column) in enumerate(zip(nets, columns, strict=True)):
        title = artefact.columns[i + 1]["title"]
        _column(axes, LEFT + STEP * i, title, net, placed(column, starts))
    _legend(axes, LEFT + STEP * (len(nets) - 1), height - MARGIN + 0.08)
    return figure, canvas.Drawing(alt_text(artefact, nets), [])


def boxes(net: Net) -> list[Layer]:
    return [
        Layer(words(layer), int(layer["output"]), look(layer)) for _, _, layers in layers_of(net) for layer in layers
    ]


def words(layer: dict[str, Any]) -> str:
    """A layer as the paper labels it: 3x3 conv, 64, /2."""
    halved = ", /2" if layer.get("stride", 1) > 1 else ""
    if layer["kind"] == "conv":
        return f"{layer['kernel']}×{layer['kernel']} conv, {layer['filters']}{halved}"
    return {"max pool": f"pool{halved}", "average pool": "avg pool", "fc": f"fc {layer['filters']}"}[layer["kind"]]


def look(layer: dict[str, Any]) -> tuple[str, str]:
    return diagram.FILLS.get(int(layer["filters"]), diagram.WHITE) if layer["kind"] == "conv" else diagram.WHITE


def first_rows(columns: list[list[Layer]]) -> list[tuple[int, int]]:
    """(side of the map, first row) of each section, as tall as its tallest column; at last (0, number of rows)."""
    sides = sorted({layer.output for column in columns for layer in column}, reverse=True)
    rows, starts = 0, []
    for side in sides:
        starts.append((side, rows))
        rows += max(sum(layer.output == side for layer in column) for column in columns)
    return [*starts, (0, rows)]


def placed(column: list[Layer], starts: list[tuple[int, int]]) -> list[Layer]:
    """The layers with their rows: each section begins at the same height in every column."""
    free, found = dict(starts), []
    for layer in column:
        found.append(replace(layer, row=free[layer.output]))
        free[layer.output] += 1
    return found


def shortcuts(net: Net) -> list[Shortcut]:
    found, place = [], 0
    for _, shortcut, layers in layers_of(net):
        if shortcut:
            found.append(Shortcut(place, place + len(layers) - 1, shortcut["increase"]))
        place += len(layers)
    return found


def _y(row: int) -> float:
    return TOP + (row + 0.5) * PITCH


def _sizes(axes: Axes, starts: list[tuple[int, int]]) -> None:
    """The sides of the maps on the left, and a hair line between the sections."""
    right = axes.get_xlim()[1] - 0.15
    for side, row in starts[:-1]:
        y = TOP + row * PITCH
        axes.plot([0.15, right], [y, y], color="#dfe2e6", linewidth=canvas.pt(0.7), zorder=1)
        diagram.say(axes, 0.15, y + 0.17, "output", PT - 1, ha="left", color="#6a717a")
        diagram.say(axes, 0.15, y + 0.33, f"size: {side}", PT - 1, ha="left", color="#6a717a")


def _column(axes: Axes, x: float, title: str, net: Net, column: list[Layer]) -> None:
    diagram.say(axes, x, 0.36, title, 11.5, weight="bold")
    diagram.say(axes, x, 0.62, f"{net['multiply_adds'] / 1e9:.1f}×10⁹ multiply-adds", PT - 0.6, color="#6a717a")
    diagram.say(axes, x, TOP - 0.28, "image", PT)
    above = TOP - 0.18
    for layer in column:
        y = _y(layer.row)
        diagram.arrow(axes, (x, above), (x, y - BOX[1] / 2), head=6)
        diagram.box(axes, (x, y), BOX, layer.words, layer.look, PT)
        above = y + BOX[1] / 2
    gap = PITCH - BOX[1]
    for shortcut in shortcuts(net):
        # It leaves in the lower part of the gap before the block and returns in the upper part of the gap after it.
        start = _y(column[shortcut.first].row) - BOX[1] / 2 - 0.45 * gap
        end = _y(column[shortcut.last].row) + BOX[1] / 2 + 0.25 * gap
        diagram.shortcut(axes, x, (start, end), REACH, 6, shortcut.increase)


def _legend(axes: Axes, x: float, y: float) -> None:
    """Under the residual net: what solid and dotted shortcuts are."""
    looks = [("identity shortcut", "-", 0.9), ("shortcut, dimensions increase", (0, (1.2, 1.6)), 1.2)]
    for i, (text, style, width) in enumerate(looks):
        at = y + 0.2 + 0.22 * i
        axes.plot([x - 0.95, x - 0.6], [at, at], color=diagram.INK, linestyle=style, linewidth=canvas.pt(width))
        diagram.say(axes, x - 0.5, at, text, PT - 0.8, ha="left")


def alt_text(artefact: Artefact, nets: list[Net]) -> str:
    """The figure in words."""
    parts = []
    for column, net in zip(artefact.columns[1:], nets, strict=True):
        found = shortcuts(net)
        around = f", {len(found)} shortcuts of which {sum(s.increase for s in found)} dotted" if found else ""
        parts.append(f"{column['title']} with {net['layers']} weighted layers{around}")
    return f"{artefact.title}, layer by layer from the image to the 1000-way fc: {'; '.join(parts)}."
