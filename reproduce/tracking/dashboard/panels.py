"""The panels of an artefact, for its view and for its part of the report.

Seeds of a run are one line, their mean, in a band of one standard deviation. W&B keeps dashes and widths by run id and
metric, and such a line has no run id: so training and test error stand in panels of their own there, and the paper's
dashes and bold lines in the panels of single seeds. Those panels ask to be ungrouped, also in a view whose runs are
grouped by net; in the report they stand over a run set of their own that is not grouped.
"""

from collections.abc import Iterable
from typing import Any

import wandb_workspaces.reports.v2 as wr
from wandb_workspaces import expr

from reproduce.tracking.dashboard.source import Source
from reproduce.tracking.names import AXIS, LAYER, METRICS, PROFILE, RUN, SEED, SORTED_STD, STD, evaluation

MANY = 100  # runs a panel shows; W&B stops at 10 otherwise
# One line, or one bar, a net.
GROUPED: dict[str, Any] = {"groupby": wr.Config(RUN), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
HALF, WHOLE = 12, 24  # widths in a report's grid


def selection(runs: Iterable[str], source: Source) -> expr.And:
    """The filter of a view: by run ids in the configuration, since one run serves several artefacts."""
    return expr.And(expr.Config(RUN).isin(list(runs)), expr.Config(PROFILE) == source.profile)


ORDER = [expr.Ordering(expr.Config(RUN), ascending=True), expr.Ordering(expr.Config(SEED), ascending=True)]
COLUMNS = [f"config:{key}.value" for key in (RUN, SEED, "command", "commit")]
COLUMNS += [f"summary:{METRICS[key]}" for key in ("train_error", "test_error")]


def curves(panel: dict[str, Any], source: Source) -> list[wr.LinePlot]:
    """Mean and spread over seeds, one panel for each kind of error."""
    return [
        wr.LinePlot(
            title=f"{_title(panel, line['words'])}, mean and std over seeds",
            y=[METRICS[series]],
            layout=wr.Layout(w=HALF, h=10),
            **GROUPED,
            **_axes(panel, source),
        )
        for series, line in panel["lines"].items()
    ]


def _title(panel: dict[str, Any], words: str) -> str:
    """Figure 1 calls its panels after the errors in them."""
    return words if panel["title"] == words else f"{panel['title']}: {words}"


def seeds(panel: dict[str, Any], source: Source) -> wr.LinePlot:
    """Every seed a line in its net's colour; dashed and bold by the kind of error, as the paper draws it."""
    looks = {
        f"{seed.id}:{METRICS[series]}": (line["mark"], line["width"], source.nets[seed.run]["colour"])
        for seed in source.of(panel["runs"])
        for series, line in panel["lines"].items()
    }
    return wr.LinePlot(
        title=f"{panel['title']}, each seed",
        y=[METRICS[series] for series in panel["lines"]],
        groupby="None",
        layout=wr.Layout(w=WHOLE, h=12),
        line_marks={key: mark for key, (mark, _, _) in looks.items()},
        line_widths={key: width for key, (_, width, _) in looks.items()},
        line_colors={key: colour for key, (_, _, colour) in looks.items()},
        **_axes(panel, source),
    )


def _axes(panel: dict[str, Any], source: Source) -> dict[str, Any]:
    """x ends with the training, y is the paper's where the profile is."""
    length = source.iterations(panel["runs"])
    low, high = panel["x"]
    span = (low * length if low else None, high * length) if length else (None, None)
    return {
        "x": AXIS,
        "range_x": span,
        "range_y": tuple(panel["y"] or (None, None)),
        "title_x": "iterations",
        "title_y": "error (%)",
        "max_runs_to_show": MANY,
        "ignore_outliers": False,
        "smoothing_type": "none",
    }


def responses(part: dict[str, Any], source: Source) -> list[wr.LinePlot]:
    """Figure 7: std by layer, and sorted by size; plain nets are dashed where seeds stand alone."""
    marks = {seed.id: part["marks"][seed.run] for seed in source.of(part["runs"])}
    titles = {STD: "layer index (original)", SORTED_STD: "layer index (sorted by size)"}
    return [
        wr.LinePlot(
            title="std of layer responses",
            x=LAYER,
            y=[metric],
            title_x=words,
            title_y="std",
            range_y=tuple(part["y"] or (None, None)),
            line_marks={f"{run_id}:{metric}": mark for run_id, mark in marks.items()},
            max_runs_to_show=MANY,
            smoothing_type="none",
            layout=wr.Layout(w=WHOLE, h=10),
        )
        for metric, words in titles.items()
    ]


def bars(group: dict[str, Any]) -> list[wr.BarPlot]:
    """One bar a net, the mean over its seeds; without a protocol the end of its curve, so that it moves in training."""
    protocol = group["protocol"]
    found = []
    for name in group["metrics"]:
        metric = evaluation(protocol, name) if protocol else METRICS[name]
        words = f"{name.removesuffix('_error').replace('top', 'top-')} error (%)"
        title = f"{group['title']}: {words}" + (f", {protocol}" if protocol else "")
        found.append(
            wr.BarPlot(
                title=title,
                metrics=[metric],
                orientation="v",
                title_y=words,
                max_runs_to_show=MANY,
                max_bars_to_show=MANY,
                layout=wr.Layout(w=HALF, h=10),
                **GROUPED,
            )
        )
    return found


def whole_curves(artefact: dict[str, Any]) -> dict[str, Any]:
    """A panel of curves for a table, which has none of its own: how its nets were trained."""
    thin, bold = {"mark": "dashed", "width": 0.9}, {"mark": "solid", "width": 2.0}
    lines = {"train_error": thin | {"words": "training error"}, "test_error": bold | {"words": "test error"}}
    return {"title": artefact["title"], "runs": artefact["runs"], "lines": lines, "x": [0.0, 1.0], "y": None}


def learning_rate() -> wr.LinePlot:
    return wr.LinePlot(title="learning rate", x=AXIS, y=["lr"], log_y=True, title_x="iterations", **GROUPED)
