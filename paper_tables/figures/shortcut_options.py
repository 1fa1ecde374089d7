"""The shortcut options A, B and C against the plain net: dots with intervals, the paper's hollow and ours filled."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_tables.figures import canvas
from paper_tables.paper import Artefact
from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import Results
from paper_tables.verdicts.cells import Judgement, Measured, judge

APART = 0.17  # of a row: the paper's dot above its middle, ours below
TINTS = {"none": "#8a929b", "A": "#9cc3e6", "B": "#4a90c9", "C": "#1f5d92"}
PAPER, OURS = "#6a717a", "#1f5d92"


def paint(artefact: Artefact, evidence: Evidence) -> tuple[Figure, canvas.Drawing]:
    """Two panels, top-1 and top-5, a row for each option; a net that was not measured says so."""
    figure, (axes,) = canvas.panels(artefact, 1, 2, sharey=True)
    runs, metrics = artefact.spec["options"], list(dict.fromkeys(cell.metric for cell in artefact.printed))
    names = {metric: evidence.paper.metrics[metric].label for metric in metrics}
    judged = {(c.run, c.metric): judge(c, evidence) for c in artefact.printed if c.run in runs.values()}
    for ax, (metric, name) in zip(axes, names.items(), strict=True):
        _panel(ax, [judged[run, metric] for run in runs.values()], evidence.results)
        ax.set_title(f"{name} error, {artefact.spec['eval']}")
    extras = {run: words for run in runs.values() if (words := extra_parameters(run, artefact, evidence))}
    labels = [f"{judged[run, metrics[0]].cell.label}\n{extras.get(run, '')}" for run in runs.values()]
    axes[0].set_yticks(range(len(runs)), labels)
    axes[0].set_ylim(len(runs) - 0.4, -0.6)
    figure.legend(handles=_handles(evidence, artefact), loc="outside upper center", ncols=2, frameon=False)
    protocol = artefact.spec["eval"]
    trainings = [s for run in runs.values() for s in evidence.trainings(run) if s.evaluation(protocol)]
    canvas.footline(figure, trainings, evidence, metrics[0], protocol)
    marks = f"Hollow: the paper's values, as printed in {artefact.title}. Filled: ours, mean ± std; small dots: seeds."
    return figure, canvas.Drawing(alt_text(artefact, judged, names), sentences(artefact, evidence), marks)


def extra_parameters(run: str, artefact: Artefact, evidence: Evidence) -> str:
    """What a net has more than the plain one, "+173,824 parameters (0.8 %)"; empty where they are not counted."""
    counted = evidence.results.architectures
    plain = artefact.spec["options"]["none"]
    if run not in counted or plain not in counted:
        return ""
    base = int(counted[plain]["parameters"])
    more = int(counted[run]["parameters"]) - base
    return f"+{more:,} parameters ({100 * more / base:.1f} %)" if run != plain else f"{base:,} parameters"


def sentences(artefact: Artefact, evidence: Evidence) -> list[str]:
    """A sentence for each option: what it is, and the parameters that it adds."""
    found = []
    for option, run in artefact.spec["options"].items():
        words, extra = artefact.spec["option_words"][option], extra_parameters(run, artefact, evidence)
        found.append(f"{evidence.paper.label(run)}: {words[0].lower()}{words[1:]}{f', {extra}' if extra else ''}.")
    return found


def _panel(ax: Axes, judged: list[Judgement], results: Results) -> None:
    """Dots on an axis that fits them: it does not begin at 0, so that half a point is seen."""
    every = [value for j in judged for value in (j.cell.paper, *(_ends(j.measured) if j.measured else ()))]
    room = max(max(every) - min(every), 0.5)
    ax.set(xlim=(min(every) - 0.12 * room, max(every) + 0.28 * room), xlabel="error (%)")
    for row, judgement in enumerate(judged):
        style: dict[str, Any] = {"marker": "o", "markersize": canvas.pt(6), "linestyle": "none", "color": PAPER}
        style |= {"markerfacecolor": "white", "alpha": canvas.paper_alpha(results)}
        ax.plot(judgement.cell.paper, row - APART, **style)
        _number(ax, judgement.cell.paper, row - APART, room, color=PAPER)
        _ours(ax, judgement.measured, row + APART, room)
    ax.tick_params(axis="y", length=0)
    ax.grid(True, axis="x")
    ax.grid(False, axis="y")


def _ours(ax: Axes, measured: Measured | None, row: float, room: float) -> None:
    if measured is None:
        style: dict[str, Any] = {"size": canvas.pt(7.5), "color": "#8a8a8a", "style": "italic", "va": "center"}
        ax.text(0.02, row, "not run", transform=ax.get_yaxis_transform(), **style)
        return
    look: dict[str, Any] = {"marker": "o", "markersize": canvas.pt(6), "capsize": canvas.pt(3), "color": OURS}
    ax.errorbar(measured.mean, row, xerr=measured.std or None, elinewidth=canvas.pt(1.4), **look)
    if measured.n > 1:
        seeds: dict[str, Any] = {"marker": ".", "markersize": canvas.pt(3), "linestyle": "none", "color": "black"}
        ax.plot(measured.values, [row + 0.15] * measured.n, **seeds)
    _number(ax, max(_ends(measured)), row, room, weight="bold", text=f"{measured.mean:.2f}")


def _ends(measured: Measured) -> tuple[float, float]:
    """How far ours reaches: one std on either side of the mean, or the seeds beyond it."""
    low, high = measured.mean - measured.std, measured.mean + measured.std
    return min(low, *measured.values), max(high, *measured.values)


def _number(ax: Axes, x: float, row: float, room: float, text: str = "", **style: Any) -> None:
    ax.text(x + 0.035 * room, row, text or f"{x:.2f}", va="center", size=canvas.pt(7.4), **style)


def _handles(evidence: Evidence, artefact: Artefact) -> list[Line2D]:
    results, length = evidence.results, evidence.paper.length(next(iter(artefact.spec["options"].values())))
    paper = "paper" if results.profile == "paper" else f"paper (official data, {length // 1000}k iterations)"
    dot: dict[str, Any] = {"marker": "o", "markersize": canvas.pt(6), "linestyle": "none"}
    hollow = Line2D([], [], label=paper, color=PAPER, markerfacecolor="white", alpha=canvas.paper_alpha(results), **dot)
    return [hollow, Line2D([], [], label="ours, mean ± std over seeds", color=OURS, **dot)]


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
