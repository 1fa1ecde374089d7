"""Figure 7: std of each 3x3 layer's response, in layer order (above) and sorted by size (below)."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_tables import figures
from paper_tables.curves import artefact_size
from paper_tables.readings import layer_responses, sorted_responses
from paper_tables.registry import Artefact, Registry, label_of
from paper_tables.results import Results


def paint(artefact: Artefact, results: Results, registry: Registry) -> tuple[Figure, figures.Drawing]:
    spec = artefact.spec
    figure, (top, bottom) = plt.subplots(2, 1, figsize=artefact_size(artefact))
    ordered = {run: layer_responses(results, run) for run in spec["curves"]}
    ranked = {run: sorted_responses(results, run) for run in spec["curves"]}
    _panel(top, artefact, results, registry, ordered, spec["layer_readings"], "layer index (original)")
    _panel(bottom, artefact, results, registry, ranked, spec["sorted_readings"], "layer index (sorted by size)")
    _legend(bottom, artefact, results, registry, {run for run, values in ordered.items() if values})
    seeds = [s for run in spec["curves"] for s in results.seeds.get(run, []) if s.responses is not None]
    figures.footline(figure, results, figures.conditions(seeds, registry, "response_mean"))
    low, high = top.get_ylim()
    wider = (low, high) != tuple(float(y) for y in spec["y"])
    notes = ["The y axes are wider than the paper's (0.5 to 3.5), to hold every layer."] if wider else []
    marks = figures.marks_words(results, registry.lengths["cifar10"])
    return figure, figures.Drawing(alt_text(artefact, ordered), notes, marks)


def _panel(
    ax: Axes,
    artefact: Artefact,
    results: Results,
    registry: Registry,
    values: dict[str, list[float]],
    readings: dict[str, dict[int, str]],
    title: str,
) -> None:
    """One panel: our curves, and hollow marks where the paper's could be read off."""
    spec = artefact.spec
    for run, stds in values.items():
        if stds:
            style = "--" if "plain" in run else "-"
            width = 1.2 if "110" in run else 1.5
            tint = figures.colour(run, registry)
            ax.plot(np.arange(1, len(stds) + 1), stds, linestyle=style, linewidth=width, color=tint, zorder=3)
        for index, std in readings.get(run, {}).items():
            shape = "s" if "plain" in run else "o"
            figures.mark(ax, int(index), float(std), 0.0, figures.colour(run, registry), results, shape)
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
        figures.say_not_run(ax)


def _legend(ax: Axes, artefact: Artefact, results: Results, registry: Registry, there: set[str]) -> None:
    handles = []
    for run in artefact.spec["curves"]:
        words = label_of(run) + ("" if run in there or not there else " (not run)")
        pen: dict[str, Any] = {"linestyle": "--" if "plain" in run else "-", "linewidth": 1.6}
        tint = figures.colour(run, registry)
        handles.append(Line2D([], [], color=tint, label=words, **pen))
    ax.legend(
        handles=[*handles, figures.paper_handle(results, registry.lengths["cifar10"])], loc="upper right", ncols=2
    )


def alt_text(artefact: Artefact, ordered: dict[str, list[float]]) -> str:
    parts = [f"{artefact.title}: standard deviation of layer responses, in layer order and sorted by size."]
    for run, stds in ordered.items():
        words = f"{len(stds)} layers, mean {np.mean(stds):.2f}, largest {max(stds):.2f}" if stds else "not run"
        parts.append(f"{label_of(run)}: {words}.")
    return " ".join(parts)
