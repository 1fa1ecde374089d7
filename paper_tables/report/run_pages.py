"""A page for each run that was trained: its errors beside the paper's, its curves, configuration and provenance."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paper_tables.figures import curves, interactive
from paper_tables.figures.canvas import Drawing
from paper_tables.figures.draw import draw
from paper_tables.paper import Artefact
from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import RunResult
from paper_tables.tables.runs import config_table, errors_table, paper_table, provenance_table
from paper_tables.tables.table import Table


@dataclass(frozen=True)
class RunPage:
    """What templates/run.html.j2 shows."""

    run: str
    label: str
    trainings: list[RunResult]
    paper: Table | None  # the paper's numbers that this run stands beside
    errors: Table
    config: Table
    provenance: Table
    drawing: Drawing | None
    plot: dict[str, Any] | None
    commands: list[str]
    files: dict[str, list[tuple[str, str]]]  # seed -> name and link of each file of its results


def run_page(run: str, evidence: Evidence, folder: Path) -> RunPage:
    """The page's content; draws <folder>/<run>.svg where there is a curve."""
    trainings, label = evidence.trainings(run), evidence.paper.label(run)
    artefact = curve_artefact([run], f"curves of {label}", evidence)
    return RunPage(
        run=run,
        label=label,
        trainings=trainings,
        paper=paper_table(run, evidence),
        errors=errors_table(run, evidence),
        config=config_table(run, evidence),
        provenance=provenance_table(run, evidence),
        drawing=draw(artefact, evidence, folder / run, ["svg"]) if artefact else None,
        plot=interactive.plot_of(artefact, evidence) if artefact else None,
        files={f"seed {training.seed}": files_of(training, evidence, folder) for training in trainings},
        commands=list(dict.fromkeys(str(training.provenance.get("command", "")) for training in trainings)),
    )


def files_of(training: RunResult, evidence: Evidence, folder: Path) -> list[tuple[str, str]]:
    """(name, link from `folder`) of the files that a seed left in results/."""
    results = evidence.results
    place = results.root / results.profile / training.run / f"seed-{training.seed}"
    found = sorted(path for path in place.glob("*") if path.suffix in (".json", ".csv"))
    return [(path.name, Path(os.path.relpath(path, folder)).as_posix()) for path in found]


def curve_artefact(runs: list[str], title: str, evidence: Evidence) -> Artefact | None:
    """Training and test error of some runs, with their recipe's axes and readings; None without curves."""
    if not any(training.curve is not None for run in runs for training in evidence.trainings(run)):
        return None
    recipe = evidence.paper.recipe(runs[0])
    like = evidence.paper.artefacts[recipe.curves]
    axes = {key: like.spec["panels"][0][key] for key in ("x", "y", "ticks")}
    if not recipe.iterations:  # a data set that the paper has not: the axis ends with the longest training
        longest = max(training.result["iterations"] for run in runs for training in evidence.trainings(run))
        axes["x"] = [0, longest / 1e4]
    series = {"train_error": "training error", "test_error": f"{recipe.test} error"}
    panels = [{"title": words, "series": [name], "curves": runs, **axes} for name, words in series.items()]
    spec = {"figure": "curves", "size": curves.TWO_PANELS, "panels": panels, "words": series}
    spec |= {"marks_at": like.spec["marks_at"]} if "marks_at" in like.spec else {}
    readings = [cell for cell in like.readings if cell.run in runs]
    return replace(like, name=runs[0], title=title, caption=title, protocol="", spec=spec, readings=readings)
