"""A page for each run that was trained: its errors beside the paper's, its curves, configuration and provenance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from paper_tables import curves, figures, plots
from paper_tables.registry import Artefact, Registry, label_of
from paper_tables.results import Results, Seed
from paper_tables.run_tables import config_table, errors_table, paper_table, provenance_table
from paper_tables.table import Table


@dataclass(frozen=True)
class RunPage:
    """What templates/run.html.j2 shows."""

    run: str
    label: str
    seeds: list[Seed]
    paper: Table | None  # the paper's numbers that this run stands beside
    errors: Table
    config: Table
    provenance: Table
    drawing: figures.Drawing | None
    plot: dict[str, Any] | None
    commands: list[str]


def run_page(run: str, results: Results, registry: Registry, folder: Path) -> RunPage:
    """The page's content; draws <folder>/<run>.svg where there is a curve."""
    seeds = results.seeds[run]
    artefact = curve_artefact([run], f"curves of {label_of(run)}", results, registry)
    drawing = draw(artefact, results, registry, folder) if artefact else None
    return RunPage(
        run=run,
        label=label_of(run),
        seeds=seeds,
        paper=paper_table(run, results, registry),
        errors=errors_table(run, seeds),
        config=config_table(run, {f"seed {seed.seed}": [seed] for seed in seeds}),
        provenance=provenance_table(run, seeds),
        drawing=drawing,
        plot=plots.plot_of(artefact, results, registry) if artefact else None,
        commands=list(dict.fromkeys(str(seed.provenance.get("command", "")) for seed in seeds)),
    )


def draw(artefact: Artefact, results: Results, registry: Registry, folder: Path) -> figures.Drawing:
    """The curves as <folder>/<name>.svg alone."""
    with plt.style.context(str(figures.STYLE)):
        figure, drawing = curves.paint(artefact, results, registry)
        width, height = figure.get_size_inches()
        figures.save(figure, folder / artefact.name, ["svg"])
    return replace(drawing, size=(float(width), float(height)))


def curve_artefact(
    runs: list[str], title: str, results: Results, registry: Registry, name: str = ""
) -> Artefact | None:
    """Training and test error of some runs as in Figure 1, with the paper's readings; None without curves."""
    if not any(seed.curve is not None for run in runs for seed in results.seeds.get(run, [])):
        return None
    imagenet = runs[0].startswith("imagenet")
    like = registry.artefacts["fig4" if imagenet else "fig6"].spec
    axes = {key: like["panels"][0][key] for key in ("x", "y", "ticks")}
    series = {"train_error": "training error", "test_error": "validation error" if imagenet else "test error"}
    panels = [{"title": words, "series": [name], "curves": runs, **axes} for name, words in series.items()]
    known = {run: values for run, values in like["readings"].items() if run in runs}
    spec = {"figure": "curves", "size": curves.TWO_PANELS, "panels": panels, "readings": known, "words": series}
    spec |= {"marks_at": like["marks_at"]} if "marks_at" in like else {}
    return Artefact(name or runs[0], title, "", "", title, "", "measured", "", spec)
