"""Responses of a net: std of each 3x3 layer's response, in layer order (above) and sorted by size (below)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_tables.figures import canvas
from paper_tables.paper import Artefact, Paper
from paper_tables.results.evidence import Evidence
from paper_tables.tables.readings import layer_responses, sorted_responses

Values = dict[str, list[float]]  # run -> std of each layer's responses


def paint(artefact: Artefact, evidence: Evidence) -> tuple[Figure, canvas.Drawing]:
    spec = artefact.spec
    figure, ((top,), (bottom,)) = canvas.panels(artefact, 2, 1)
    ordered = {run: layer_responses(evidence, run) for run in spec["curves"]}
    ranked = {run: sorted_responses(evidence, run) for run in spec["curves"]}
    _panel(top, artefact, evidence, ordered, spec["layer_readings"], "layer index (original)")
    _panel(bottom, artefact, evidence, ranked, spec["sorted_readings"], "layer index (sorted by size)")
    _legend(bottom, artefact, evidence, {run for run, values in ordered.items() if values})
    trainings = [s for run in spec["curves"] for s in evidence.trainings(run) if s.responses is not None]
    canvas.footline(figure, trainings, evidence, "response_mean")
    printed = f"({' to '.join(map(str, spec['y']))})"
    wider = top.get_ylim() != tuple(float(y) for y in spec["y"])
    notes = [f"The y axes are wider than the paper's {printed}, to hold every layer."] if wider else []
    marks = canvas.marks_words(evidence.results, evidence.paper.length(spec["curves"][0]))
    return figure, canvas.Drawing(alt_text(artefact, ordered, evidence.paper), notes, marks)


def _panel(ax: Axes, artefact: Artefact, evidence: Evidence, values: Values, readings: Any, title: str) -> None:
    """One panel: our curves, and hollow marks where the paper's could be read off."""
    spec = artefact.spec
    for run, stds in values.items():
        if stds:
            width = 1.2 if run in spec["thin"] else 1.5
            pen: dict[str, Any] = {"linestyle": style_of(run, artefact), "color": canvas.colour(run, evidence.paper)}
            ax.plot(np.arange(1, len(stds) + 1), stds, linewidth=canvas.pt(width), zorder=3, **pen)
        for index, std in readings.get(run, {}).items():
            shape = "s" if run in spec["dashed"] else "o"
            canvas.mark(ax, (int(index), float(std), 0.0), run, evidence, shape)
    every = [std for stds in values.values() for std in stds]
    low, high = (float(y) for y in spec["y"])
    if every and (min(every) < low or max(every) > high):
        low, high = min(low, np.floor(min(every) * 2) / 2), max(high, np.ceil(max(every) * 2) / 2)
    ax.set_ylim(low, high)
    ax.set_yticks(np.arange(1, int(high) + 1, max(1, int(high) // 5)))
    ax.set_xlim(*(float(x) for x in spec["x"]))
    ax.set_xlabel(title)
    ax.set_ylabel("std")
    if not every:
        canvas.say_not_run(ax)


def _legend(ax: Axes, artefact: Artefact, evidence: Evidence, there: set[str]) -> None:
    runs, full = artefact.spec["curves"], evidence.paper.length(artefact.spec["curves"][0])
    handles = [canvas.net_handle(run, there, evidence, 1.6, style_of(run, artefact)) for run in runs]
    ax.legend(handles=[*handles, *canvas.paper_handles(evidence.results, full, {"o"})], loc="upper right", ncols=2)


def style_of(run: str, artefact: Artefact) -> Literal["--", "-"]:
    return "--" if run in artefact.spec["dashed"] else "-"


def alt_text(artefact: Artefact, ordered: Values, paper: Paper) -> str:
    parts = [f"{artefact.title}: standard deviation of layer responses, in layer order and sorted by size."]
    for run, stds in ordered.items():
        words = f"{len(stds)} layers, mean {np.mean(stds):.2f}, largest {max(stds):.2f}" if stds else "not run"
        parts.append(f"{paper.label(run)}: {words}.")
    return " ".join(parts)
