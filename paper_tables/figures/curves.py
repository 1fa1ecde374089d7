"""Figures 1, 4 and 6: training error (thin) and test error (bold) over iterations, beside the paper's readings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_tables.figures import canvas
from paper_tables.paper import Artefact, Cell, Paper
from paper_tables.results.evidence import Evidence
from paper_tables.results.published import publishers
from paper_tables.results.reader import RunResult
from paper_tables.tables.readings import words_for
from paper_tables.verdicts.cells import measure

TWO_PANELS = (8.6, 4.3)  # inches: a figure of training and test error


def paint(artefact: Artefact, evidence: Evidence) -> tuple[Figure, canvas.Drawing]:
    """The figure of an artefact with `panels`; a panel in which nothing was run says so."""
    panels = artefact.spec["panels"]
    figure, axes = canvas.panels(artefact, 1, len(panels))
    frame = frame_of(artefact, evidence)
    for ax, panel in zip(axes[0], panels, strict=True):
        _panel(ax, panel, artefact, evidence, frame)
    canvas.footline(figure, frame.trainings, evidence, "test_error")
    notes = notes_of(panels[0], frame.full, frame.share, frame.top)
    marks = canvas.marks_words(evidence.results, frame.full) if artefact.readings else ""
    return figure, canvas.Drawing(alt_text(artefact, evidence), notes, marks)


@dataclass(frozen=True)
class Frame:
    """Common to the panels: the paper's iterations, ours divided by them, the upper end of the y axis in percent."""

    trainings: list[RunResult]
    full: int
    share: float
    top: float


def frame_of(artefact: Artefact, evidence: Evidence) -> Frame:
    trainings = [s for run in artefact.named_runs() for s in evidence.trainings(run) if s.curve is not None]
    length = evidence.paper.length(artefact.named_runs()[0])
    budget = max((int(s.result["iterations"]) for s in trainings), default=length)
    full = length or budget
    top = max(top_of(panel, evidence, budget) for panel in artefact.spec["panels"])
    return Frame(trainings, full, budget / full, top)


def mean_curve(trainings: list[RunResult], series: str) -> pd.DataFrame:
    """mean and std over seeds at the iterations that every seed has; empty where there is no curve."""
    columns = [s.curve.set_index("iteration")[series].dropna() for s in trainings if s.curve is not None]
    if not columns:
        return pd.DataFrame({"mean": [], "std": []})
    table = pd.concat(columns, axis=1, join="inner")
    return pd.DataFrame({"mean": table.mean(axis=1), "std": table.std(axis=1, ddof=1).fillna(0.0)})


def notes_of(panel: dict[str, Any], full: int, share: float, top: float) -> list[str]:
    """How our axes differ from the paper's. `full`: its iterations; `share`: our iterations divided by them."""
    notes = [f"The x axes end with this budget, {share * full:,.0f} iterations; the paper's is {full:,}."]
    wider = f"Errors exceed the paper's axis ({panel['y'][0]} to {panel['y'][1]} %), so the y axes are wider."
    return (notes if share != 1 else []) + ([wider] if top > float(panel["y"][1]) else [])


def top_of(panel: dict[str, Any], evidence: Evidence, budget: int) -> float:
    """Upper end of the y axis: the paper's, or one that fits the curves where the training is short or ends above."""
    high, curves = float(panel["y"][1]), curves_of(panel, evidence)
    short = budget < evidence.paper.length(panel["curves"][0])
    if not curves or (not short and max(curve.iloc[-1] for curve in curves) <= 0.95 * high):
        return high
    shown = max(curve[curve.index >= budget / 10].max() for curve in curves)
    return min(100.0, max(high, math.ceil((shown + 1) / 10) * 10.0))


def _panel(ax: Axes, panel: dict[str, Any], artefact: Artefact, evidence: Evidence, frame: Frame) -> None:
    share, top = frame.share, frame.top
    unit, unit_name = unit_of(share * frame.full)
    curves = [(run, s, mean_curve(evidence.trainings(run), s)) for run in panel["curves"] for s in panel["series"]]
    there = {run for run, _, curve in curves if not curve.empty}
    for run, series, curve in curves:
        if not curve.empty:
            _line(ax, curve, run, series, unit, panel, evidence.paper)
    scale = 1e4 / unit * share  # from the paper's axis, in 10^4 iterations, to ours
    left, right = (float(x) * scale for x in panel["x"])
    ax.set(xlim=(left, right), ylim=(bottom_of(panel, evidence), top), title=panel["title"], ylabel="error (%)")
    if "xticks" in panel and share == 1:
        ax.set_xticks([float(t) for t in panel["xticks"]])
    ax.set_xlabel(f"iter. ({unit_name})" if unit_name else "iterations")
    as_printed = (bottom_of(panel, evidence), top) == tuple(float(y) for y in panel["y"])
    ax.set_yticks([float(t) for t in panel["ticks"]] if as_printed else np.arange(0, top + 1, 20 if top > 50 else 10))
    _marks(ax, panel, artefact, evidence, scale)
    _published_ends(ax, panel, evidence, right, right - left)
    if not there:
        canvas.say_not_run(ax, 0.75 if "marks_at" in artefact.spec else 0.5)
    _off_scale(ax, artefact, panel, evidence)
    _legend(ax, artefact, panel, there, evidence)


def bottom_of(panel: dict[str, Any], evidence: Evidence) -> float:
    """Lower end of the y axis: the paper's, or 0 where a curve goes below it."""
    low = float(panel["y"][0])
    return low if min((curve.min() for curve in curves_of(panel, evidence)), default=low) >= low else 0.0


def curves_of(panel: dict[str, Any], evidence: Evidence) -> list[pd.Series]:
    """The mean curves of a panel, those of runs that were trained."""
    found = [mean_curve(evidence.trainings(run), s)["mean"] for run in panel["curves"] for s in panel["series"]]
    return [curve for curve in found if not curve.empty]


def unit_of(budget: float) -> tuple[float, str]:
    """The x axis counts in 10⁴ iterations as the paper does, in smaller steps where the budget is short."""
    if budget >= 20000:
        return 1e4, "1e4"
    return (1e3, "1e3") if budget >= 2000 else (1.0, "")


def _line(
    ax: Axes, curve: pd.DataFrame, run: str, series: str, unit: float, panel: dict[str, Any], paper: Paper
) -> None:
    x, mean, std = curve.index.to_numpy() / unit, curve["mean"].to_numpy(), curve["std"].to_numpy()
    tint = canvas.colour(run, paper)
    ax.plot(x, mean, color=tint, zorder=4 if series == "test_error" else 3, **drawn(pen(series, panel, run, paper)))
    if std.any():
        ax.fill_between(x, mean - std, mean + std, color=tint, alpha=0.18, linewidth=0, zorder=2)


def pen(series: str, panel: dict[str, Any], run: str = "", paper: Paper | None = None) -> dict[str, Any]:
    """How a line is drawn: matplotlib's linestyle and linewidth."""
    if len(panel["series"]) == 1:  # Figure 1 has one kind of error in each panel
        return {"linestyle": paper.look(run).get("line", "-") if paper else "-", "linewidth": 1.6}
    if series == "train_error":  # thin, and dashed in Figure 6
        return {"linestyle": "-" if panel.get("thin") == "solid" else (0, (4, 2)), "linewidth": 0.9}
    return {"linestyle": "-", "linewidth": 2.0}


def drawn(pen: dict[str, Any]) -> dict[str, Any]:
    """The pen at the printed width."""
    return pen | {"linewidth": canvas.pt(pen["linewidth"])}


def _marks(ax: Axes, panel: dict[str, Any], artefact: Artefact, evidence: Evidence, scale: float) -> None:
    """The paper's readings, at the end of its axis unless `marks_at` says where (in 10^4 iterations).

    Circles for test, squares for training error, a triangle where it only gives a bound.
    """
    for cell, series, x in mark_places(panel, artefact, scale):
        canvas.mark(ax, (x, cell.paper, cell.pm or 0.0), cell.run, evidence, shape_of(cell, series))


def shape_of(cell: Cell, series: str) -> str:
    """matplotlib's marker of a reading, a key of canvas.SHAPES."""
    return {"below": "v", "above": "^"}.get(cell.bound or "", "o" if series == "test_error" else "s")


def _published_ends(ax: Axes, panel: dict[str, Any], evidence: Evidence, right: float, width: float) -> None:
    """Errors of published nets, filled marks beyond the right end of the axis; those of training errors are smaller."""
    for place, (found, marker) in enumerate(published_marks(evidence).values(), 1):
        for run, series in product(panel["curves"], panel["series"]):
            for training in found.trainings(run):
                look: dict[str, Any] = {"marker": marker, "color": canvas.colour(run, evidence.paper), "zorder": 6}
                size = canvas.pt(5 if series == "test_error" else 3)
                x = right + 0.03 * place * width
                ax.plot(x, training.result["metrics"][series], markersize=size, clip_on=False, linestyle="none", **look)


def published_marks(evidence: Evidence) -> dict[str, tuple[Evidence, str]]:
    """Publisher -> its nets and their mark."""
    marked = zip(publishers(evidence).items(), "DPX*", strict=False)
    return {publisher: (found, marker) for (publisher, found), marker in marked}


def mark_places(panel: dict[str, Any], artefact: Artefact, scale: float) -> Iterator[tuple[Cell, str, float]]:
    """(reading, its series, x) of each of the paper's readings in a panel; `scale` turns its 10^4 iterations into x."""
    for cell in artefact.readings:
        series = "test_error" if cell.metric == "plateau_error" else cell.metric
        if cell.run in panel["curves"] and series in panel["series"]:
            yield cell, series, float(artefact.spec.get("marks_at", {}).get(cell.metric, panel["x"][1])) * scale


def _off_scale(ax: Axes, artefact: Artefact, panel: dict[str, Any], evidence: Evidence) -> None:
    """The net that the paper does not display: its error in words."""
    run = panel.get("off_scale")
    if run is None:
        return
    measured = measure(evidence, run, "test_error")
    ours = f"test error {measured.mean:.2f} %" if measured else "not run"
    paper = next(cell.printed for cell in artefact.readings if (cell.run, cell.metric) == (run, "test_error"))
    text = f"{evidence.paper.label(run)} not displayed: {ours} (paper: {paper} %)"
    ax.text(0.0, 1.012, text, transform=ax.transAxes, size=canvas.pt(7.2), color="#555555", ha="left", va="bottom")
    ax.set_title(panel["title"], pad=canvas.pt(14))


def _legend(ax: Axes, artefact: Artefact, panel: dict[str, Any], there: set[str], evidence: Evidence) -> None:
    """Under the axes, where it covers no curve."""
    handles = [canvas.net_handle(run, there, evidence, 2) for run in panel["curves"]]
    if len(panel["series"]) > 1:
        names = {s: words_for(artefact).get(s, "").removesuffix(" error") for s in panel["series"]}
        handles += [Line2D([], [], color="#555555", label=names[s], **drawn(pen(s, panel))) for s in panel["series"]]
    for publisher, (found, marker) in published_marks(evidence).items():
        if any(found.trainings(run) for run in panel["curves"]):
            look: dict[str, Any] = {"marker": marker, "markersize": canvas.pt(5), "color": "#555555"}
            handles.append(Line2D([], [], linestyle="none", label=f"{publisher}'s weights", **look))
    shapes = {shape_of(cell, series) for cell, series, _ in mark_places(panel, artefact, 1.0)}
    handles += canvas.paper_handles(evidence.results, evidence.paper.length(panel["curves"][0]), shapes)
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)


def alt_text(artefact: Artefact, evidence: Evidence) -> str:
    """The figure in words: the panels, and where each curve ends."""
    parts = [f"{artefact.title}: {', '.join(p['title'] for p in artefact.spec['panels'])}."]
    for run in artefact.named_runs():
        ends = {word: measure(evidence, run, metric) for metric, word in words_for(artefact).items()}
        words = [f"{word} {number.mean:.2f} %" for word, number in ends.items() if number]
        parts.append(f"{evidence.paper.label(run)}: {', '.join(words) or 'not run'}.")
    return " ".join(parts)
