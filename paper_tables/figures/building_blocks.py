"""Figures 2 and 5: the building blocks, drawn from the blocks of the nets."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_tables.figures import canvas, diagram
from paper_tables.paper import Artefact
from paper_tables.results.evidence import Evidence
from paper_tables.tables.counted import COMMAND, layers_of

BOX, PITCH, WIDTH = (1.5, 0.34), 0.72, 3.9  # inches: a layer, from layer to layer, a block with its shortcut
PT = 11


def paint(artefact: Artefact, evidence: Evidence) -> tuple[Figure, canvas.Drawing]:
    """One block beside the other: in Figure 2 in general terms, in Figure 5 with kernels and filters."""
    wanted, label = artefact.spec["blocks"], evidence.paper.label
    if any(block["net"] not in evidence.results.architectures for block in wanted):
        return diagram.not_counted(artefact, COMMAND)
    found = [identity_block(evidence.results.architectures[b["net"]], b["stage"]) for b in wanted]
    rows = max(len(layers) for layers in found)
    general = bool(artefact.spec.get("general"))
    figure, axes = diagram.sheet(WIDTH * len(found), (1.28 if general else 1.62) + PITCH * rows)
    for i, (block, layers) in enumerate(zip(wanted, found, strict=True)):
        extra = PITCH * (rows - len(layers)) / 2  # the shorter block in the middle
        _block(axes, WIDTH * i + 1.75, 0.45 + extra, layers, general)
        if not general:
            side = layers[-1]["output"]
            words_below = f"{label(block['net'])}, {block['stage']} ({side}×{side} maps)"
            diagram.say(axes, WIDTH * i + 1.75, 1.42 + PITCH * rows, words_below, 9, color="#6a717a")
    text = "; ".join(f"{label(b['net'])}: {', '.join(map(words, ls))}" for b, ls in zip(wanted, found, strict=True))
    drawing = canvas.Drawing(f"{artefact.title}: weight layers with an identity shortcut around them. {text}.", [])
    return figure, drawing


def identity_block(net: dict[str, Any], stage: str) -> list[dict[str, Any]]:
    """The layers of the first block of a stage with an identity shortcut."""
    blocks = (block for block in layers_of(net) if block[0] == stage and block[1] and block[1]["kind"] == "identity")
    return next(blocks)[2]


def words(layer: dict[str, Any]) -> str:
    return f"{layer['kernel']}×{layer['kernel']}, {layer['filters']}"


def _block(axes: Axes, x: float, y: float, layers: list[dict[str, Any]], general: bool) -> None:
    """From the input at the top: layers with ReLU between them, the addition, the last ReLU."""
    look = diagram.WHITE if general else diagram.FILLS[64]
    if general:
        diagram.say(axes, x, y - 0.2, r"$\mathbf{x}$", PT)
    else:
        diagram.say(axes, x - 0.12, y - 0.06, f"{layers[-1]['filters']}-d", PT, ha="right")
    above, branch = y - 0.06, y + 0.08
    for i, layer in enumerate(layers):
        at = y + 0.42 + PITCH * i
        diagram.arrow(axes, (x, above), (x, at - BOX[1] / 2), head=10)
        diagram.box(axes, (x, at), BOX, "weight layer" if general else words(layer), look, PT)
        above = at + BOX[1] / 2
        if i < len(layers) - 1:
            diagram.say(axes, x + 0.12, above + (PITCH - BOX[1]) / 2, "relu", PT - 1.5, ha="left", style="italic")
    add = above + 0.42
    diagram.arrow(axes, (x, above), (x, add - 0.1), head=10)
    diagram.plus(axes, x, add, 0.1)
    diagram.arrow(axes, (x, add + 0.1), (x, add + 0.5), head=10)
    diagram.say(axes, x + 0.14, add + 0.28, "relu", PT - 1.5, ha="left", style="italic")
    _around(axes, x, (branch, add), general)
    if general:
        middle = y + 0.42 + PITCH * (len(layers) - 1) / 2
        diagram.say(axes, x - BOX[0] / 2 - 0.16, middle, r"$\mathcal{F}(\mathbf{x})$", PT, ha="right")
        diagram.say(axes, x - 0.2, add, r"$\mathcal{F}(\mathbf{x}) + \mathbf{x}$", PT, ha="right")


def _around(axes: Axes, x: float, ends: tuple[float, float], general: bool) -> None:
    """The shortcut, into the right side of the addition."""
    reach = BOX[0] / 2 + 0.45
    diagram.shortcut(axes, x, ends, reach, 10, into=0.1)
    if general:
        middle = sum(ends) / 2
        diagram.say(axes, x + reach + 0.12, middle - 0.11, r"$\mathbf{x}$", PT, ha="left")
        diagram.say(axes, x + reach + 0.12, middle + 0.13, "identity", PT - 1.5, ha="left")
