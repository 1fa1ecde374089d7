"""Figures as data for the page's script: every seed's curve, the mean with its spread, the paper's readings.

{"x", "y": words of the axes, "iterations": is x one of those, "nets", "series", "seeds", "panels": [{"title", "x", "y",
"lines", "marks"}]}. x in iterations (or layers), y in percent (or std).
Plain lists: the same results give the same text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from paper_tables.figures import curves
from paper_tables.figures.palette import PALETTES
from paper_tables.paper import Artefact
from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import RunResult
from paper_tables.tables.readings import layer_responses, sorted_responses, words_for

SHOWN = 10  # nets that are switched on at first
SYMBOLS = ("diamond", "cross", "x", "star")  # of publishers, as plotly names those of curves.published_marks
EXTRAS = ("lr", "train_loss")  # shown beside a point under the pointer
POINTS = 500  # of a line on the page at most; the files keep every point


def plot_of(artefact: Artefact, evidence: Evidence) -> dict[str, Any] | None:
    """The figure as data, None where it has no curves or nothing of it was run."""
    makers = {"curves": curves_plot, "responses": responses_plot}
    maker = makers.get(artefact.spec.get("figure", ""))
    plot = maker(artefact, evidence) if maker else None
    return plot if plot and any(panel["lines"] for panel in plot["panels"]) else None


def curves_plot(artefact: Artefact, evidence: Evidence) -> dict[str, Any]:
    """Error against iterations, with the axes of the printed figure."""
    panels = artefact.spec["panels"]
    runs = list(dict.fromkeys(run for panel in panels for run in panel["curves"]))
    frame = curves.frame_of(artefact, evidence)
    names = words_for(artefact)
    series = list(dict.fromkeys(series for panel in panels for series in panel["series"]))
    return {
        "x": "iterations",
        "y": "error (%)",
        "iterations": True,
        "nets": _nets(runs, evidence),
        "series": [{"id": name, "label": names.get(name, name)} for name in series],
        "seeds": _seeds(runs, evidence),
        "panels": [_curves_panel(panel, artefact, evidence, frame) for panel in panels],
    }


def _nets(runs: list[str], evidence: Evidence) -> list[dict[str, Any]]:
    nets = []
    for i, run in enumerate(runs):
        look = evidence.paper.look(run)
        colours = {name: palette[look["colour"]] for name, palette in PALETTES.items()}
        facts = {"there": run in evidence.results.runs, "on": i < SHOWN, "dashed": look.get("line") == "--"}
        nets.append({"id": run, "label": evidence.paper.label(run), **facts, "colours": colours})
    return nets


def _seeds(runs: list[str], evidence: Evidence) -> list[int]:
    """Every seed number, where some run has several."""
    if not any(len(evidence.trainings(run)) > 1 for run in runs):
        return []
    return sorted({training.seed for run in runs for training in evidence.trainings(run)})


def _curves_panel(panel: dict[str, Any], artefact: Artefact, evidence: Evidence, frame: curves.Frame) -> dict[str, Any]:
    lines: list[dict[str, Any]] = []
    for run in panel["curves"]:
        for series in panel["series"]:
            look = _look(curves.pen(series, panel, run, evidence.paper))
            lines += [{"net": run, "series": series, **look, **line} for line in seed_lines(evidence, run, series)]
    scale = 1e4 * frame.share
    return {
        "title": panel["title"],
        "x": [float(x) * scale for x in panel["x"]],
        "y": [curves.bottom_of(panel, evidence), frame.top],
        "lines": lines,
        "marks": [*_marks(panel, artefact, scale), *_published_marks(panel, evidence, scale)],
    }


def _look(pen: dict[str, Any]) -> dict[str, Any]:
    solid = pen["linestyle"] == "-"
    return {"width": pen["linewidth"] * 1.2, "dash": "solid" if solid else "dash"}


def seed_lines(evidence: Evidence, run: str, series: str) -> list[dict[str, Any]]:
    """A line for each seed, and before them the mean with its standard deviation where there are several."""
    trainings = [training for training in evidence.trainings(run) if training.curve is not None]
    lines = [_seed_line(training, series, len(trainings)) for training in trainings]
    if len(trainings) > 1:
        mean = curves.mean_curve(trainings, series)
        mean = mean.iloc[thinned(mean["mean"].to_numpy())]
        values = {"x": _round(mean.index, 0), "y": _round(mean["mean"]), "sd": _round(mean["std"])}
        lines.insert(0, {"seed": None, "n": len(trainings), **values})
    return [line for line in lines if line["x"]]


def _seed_line(training: RunResult, series: str, n: int) -> dict[str, Any]:
    assert training.curve is not None
    points = training.curve.dropna(subset=[series])
    points = points.iloc[thinned(points[series].to_numpy())]
    values = {"x": _round(points["iteration"], 0), "y": _round(points[series])}
    return {"seed": training.seed, "n": n, **values, **{name: _round(points[name], 5) for name in EXTRAS}}


def thinned(values: np.ndarray) -> np.ndarray:
    """Which of a curve's values to draw: at most POINTS, its ends and the lowest and highest of equal stretches."""
    if len(values) <= POINTS:
        return np.arange(len(values))
    stretches = np.array_split(np.arange(len(values)), POINTS // 2 - 1)
    extremes = [[part[values[part].argmin()], part[values[part].argmax()]] for part in stretches]
    return np.unique([0, *np.ravel(extremes), len(values) - 1])


def _round(values: Iterable[float], digits: int = 3) -> list[float | int | None]:
    """Numbers for JSON: nothing in place of NaN, whole numbers as such."""
    kept = [None if pd.isna(value) else round(float(value), digits) for value in values]
    return [int(value) if value is not None and digits == 0 else value for value in kept]


def _marks(panel: dict[str, Any], artefact: Artefact, scale: float) -> Iterable[dict[str, Any]]:
    """The paper's readings of a panel (see curves.mark_places)."""
    for cell, series, x in curves.mark_places(panel, artefact, scale):
        text = f"{cell.printed}{f' ± {cell.pm:g}' if cell.pm else ''} %"
        place = {"x": x, "y": cell.paper, "pm": cell.pm or 0.0, "bound": cell.bound or ""}
        yield {"net": cell.run, "series": series, **place, "text": text}


def _published_marks(panel: dict[str, Any], evidence: Evidence, scale: float) -> Iterable[dict[str, Any]]:
    """The errors of published nets at the right end of a panel, each publisher's by a symbol of its own."""
    for (who, (found, _)), symbol in zip(curves.published_marks(evidence).items(), SYMBOLS, strict=False):
        for run, series in product(panel["curves"], panel["series"]):
            for training in found.trainings(run):
                error = training.result["metrics"][series]
                place = {"x": float(panel["x"][1]) * scale, "y": error, "pm": 0.0, "bound": ""}
                text = f"{error:.2f} % ({who}'s weights, tested here)"
                yield {"net": run, "series": series, **place, "text": text, "who": who, "symbol": symbol}


def responses_plot(artefact: Artefact, evidence: Evidence) -> dict[str, Any]:
    """Std of the layers' responses, in layer order and sorted by size."""
    spec = artefact.spec
    sides = (
        ("in layer order", layer_responses, spec["layer_readings"]),
        ("sorted by size", sorted_responses, spec["sorted_readings"]),
    )
    panels = []
    for title, values_of, readings in sides:
        values = {run: values_of(evidence, run) for run in spec["curves"]}
        lines = [_response_line(run, stds, run in spec["dashed"]) for run, stds in values.items() if stds]
        marks = [m for run in spec["curves"] for m in _response_marks(run, readings.get(run, {}), float(spec["pm"]))]
        every = [float(y) for y in spec["y"]] + [std for line in lines for std in line["y"]]
        y = [math.floor(min(every) * 2) / 2, math.ceil(max(every) * 2) / 2]
        panels.append({"title": title, "x": [float(x) for x in spec["x"]], "y": y, "lines": lines, "marks": marks})
    nets = _nets(spec["curves"], evidence)
    axes = {"x": "layer", "y": "std", "iterations": False}
    return {**axes, "nets": nets, "series": [{"id": "std", "label": "std"}], "seeds": [], "panels": panels}


def _response_line(run: str, stds: list[float], dashed: bool) -> dict[str, Any]:
    dash = "dash" if dashed else "solid"
    points = {"x": list(range(1, len(stds) + 1)), "y": _round(stds)}
    return {"net": run, "series": "std", "seed": None, "n": 1, "width": 1.8, "dash": dash, **points}


def _response_marks(run: str, readings: dict[int, str], pm: float) -> Iterable[dict[str, Any]]:
    for layer, std in readings.items():
        place = {"x": int(layer), "y": float(std), "pm": pm, "bound": ""}
        yield {"net": run, "series": "std", **place, "text": f"{std} ± {pm:g}"}
