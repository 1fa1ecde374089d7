"""The shortcut options A, B and C against the plain net, the paper's error outlined and ours filled."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from paper_tables.figures import canvas
from paper_tables.paper import Artefact
from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import Results
from paper_tables.verdicts.cells import Judgement, judge

BAR = 0.36
TINTS = {"none": "#8a929b", "A": "#9cc3e6", "B": "#4a90c9", "C": "#1f5d92"}


def paint(artefact: Artefact, evidence: Evidence) -> tuple[Figure, canvas.Drawing]:
    """Two panels, top-1 and top-5; a net that was not measured says so in the place of its bar."""
    figure, (axes,) = canvas.panels(artefact, 1, 2)
    runs, metrics = artefact.spec["options"], list(dict.fromkeys(cell.metric for cell in artefact.printed))
    names = {metric: evidence.paper.metrics[metric].label for metric in metrics}
    judged = {(c.run, c.metric): judge(c, evidence) for c in artefact.printed if c.run in runs.values()}
    for ax, (metric, name) in zip(axes, names.items(), strict=True):
        _panel(ax, {option: judged[run, metric] for option, run in runs.items()}, evidence.results)
        ax.set_title(f"{name} error, {artefact.spec['eval']}")
    length = evidence.paper.length(next(iter(runs.values())))
    figure.legend(handles=_handles(evidence.results, length), loc="outside upper center", ncols=2, frameon=False)
    protocol = artefact.spec["eval"]
    trainings = [s for run in runs.values() for s in evidence.trainings(run) if s.evaluation(protocol)]
    canvas.footline(figure, trainings, evidence, metrics[0], protocol)
    marks = f"Outlined: the paper's values, as printed in {artefact.title}."
    return figure, canvas.Drawing(alt_text(artefact, judged, names), [], marks)


def _panel(ax: Axes, judged: dict[str, Judgement], results: Results) -> None:
    high = max(max(j.cell.paper, j.measured.mean if j.measured else 0.0) for j in judged.values())
    ax.set(xlim=(-0.6, len(judged) - 0.4), ylim=(0, high * 1.16), ylabel="error (%)")
    for x, (option, judgement) in enumerate(judged.items()):
        tint = TINTS[option]
        _paper_bar(ax, x - BAR / 2 - 0.02, judgement.cell.paper, tint, high, results)
        _our_bar(ax, x + BAR / 2 + 0.02, judgement, tint, high)
    ax.set_xticks(range(len(judged)), [j.cell.label for j in judged.values()])
    ax.tick_params(axis="x", length=0)
    ax.grid(False)  # every bar carries its number


def _paper_bar(ax: Axes, x: float, value: float, tint: str, high: float, results: Results) -> None:
    look: dict[str, Any] = {
        "facecolor": "white",
        "edgecolor": tint,
        "linewidth": canvas.pt(1.4),
        "alpha": canvas.paper_alpha(results),
    }
    ax.bar(x, value, BAR, **look)
    ax.text(x, value + high * 0.015, f"{value:.2f}", ha="center", va="bottom", size=canvas.pt(7.4), color="#6a717a")


def _our_bar(ax: Axes, x: float, judgement: Judgement, tint: str, high: float) -> None:
    measured = judgement.measured
    if measured is None:
        ax.text(
            x,
            high * 0.03,
            "not run",
            ha="center",
            va="bottom",
            rotation=90,
            size=canvas.pt(8),
            color="#8a8a8a",
            style="italic",
        )
        return
    ax.bar(
        x,
        measured.mean,
        BAR,
        color=tint,
        edgecolor=tint,
        linewidth=canvas.pt(1.4),
        yerr=measured.std or None,
        ecolor="#333333",
    )
    top = measured.mean + measured.std + high * 0.015
    ax.text(x, top, f"{measured.mean:.2f}", ha="center", va="bottom", size=canvas.pt(7.4), weight="bold")


def _handles(results: Results, length: int) -> list[Patch]:
    paper = "paper" if results.profile == "paper" else f"paper (official data, {length // 1000}k iterations)"
    outlined: dict[str, Any] = {"facecolor": "white", "edgecolor": "#555555", "alpha": canvas.paper_alpha(results)}
    return [Patch(label=paper, linewidth=canvas.pt(1.4), **outlined), Patch(color="#777777", label="ours")]


def alt_text(artefact: Artefact, judged: dict[tuple[str, str], Judgement], names: dict[str, str]) -> str:
    parts = [f"{artefact.spec['about']}."]
    for run in dict.fromkeys(run for run, _ in judged):
        words = []
        for metric, name in names.items():
            judgement = judged[run, metric]
            ours = f"{judgement.measured.mean:.2f} %" if judgement.measured else "not run"
            words.append(f"{name} {ours} (paper {judgement.cell.printed} %)")
        parts.append(f"{judgement.cell.label}: {', '.join(words)}.")
    return " ".join(parts)
