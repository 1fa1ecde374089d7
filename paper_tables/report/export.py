"""The trained tables and figures as one JSON file, for tools that draw them without knowing the paper (W&B dashboards).

Errors in percent; `x` as a fraction of the training, whose length depends on the profile; a missing number is null.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from paper_tables.figures import curves
from paper_tables.figures.canvas import colour
from paper_tables.figures.shortcut_options import TINTS
from paper_tables.io import write as write_file
from paper_tables.paper import Artefact, Paper
from paper_tables.report import front_page
from paper_tables.report.commands import make_command, missing_commands, state_of
from paper_tables.results.evidence import Evidence
from paper_tables.results.reader import Results, RunResult
from paper_tables.tables.measured import artefact_table
from paper_tables.tables.readings import words_for
from paper_tables.verdicts.claims import judge_claims

FORMAT = 1
DASHES = {True: "dashed", False: "solid"}


def write(evidence: Evidence, report: Path) -> Path:
    """Writes <report>/<profile>/artefacts.json and returns its path."""
    path = report / evidence.results.profile / "artefacts.json"
    write_file(path, json.dumps(content(evidence), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def content(evidence: Evidence) -> dict[str, Any]:
    """Every artefact that has trainings, in the paper's order, and every net they name, in the paper's colours."""
    evidence = replace(evidence, paper=replace(evidence.paper, palette="paper"))
    trained = [artefact for artefact in evidence.paper.artefacts.values() if artefact.runs()]
    runs = dict.fromkeys(run for artefact in trained for run in artefact.runs())
    return {
        "format": FORMAT,
        "profile": evidence.results.profile,
        "conditions": front_page.conditions_line(evidence),
        "claims": front_page.counts_line(judge_claims(evidence)),
        "nets": {run: _net(run, evidence) for run in runs},
        "artefacts": [_artefact(artefact, evidence) for artefact in trained],
    }


def _net(run: str, evidence: Evidence) -> dict[str, Any]:
    trainings = [_seed(training) for training in evidence.trainings(run)]
    return {"label": evidence.paper.label(run), "colour": colour(run, evidence.paper), "seeds": trainings}


def _seed(training: RunResult) -> dict[str, Any]:
    origin = {key: training.provenance.get(key) for key in ("recipe_hash", "command", "commit", "dirty")}
    return {
        "seed": training.seed,
        "iterations": training.result["iterations"],
        "metrics": training.result["metrics"],
        **origin,
    }


def _artefact(artefact: Artefact, evidence: Evidence) -> dict[str, Any]:
    table = artefact_table(artefact, evidence)
    return {
        "name": artefact.name,
        "target": artefact.target,
        "title": artefact.title,
        "section": artefact.section,
        "caption": artefact.caption,
        "protocol": artefact.protocol,
        "command": make_command(artefact, evidence),
        "state": state_of(artefact, evidence),
        "missing": missing_commands(artefact, evidence),
        "runs": artefact.runs(),
        "table": None if table is None else {"columns": table.columns, "rows": table.rows, "notes": table.notes},
        "markdown": "" if table is None else table.markdown(),
        "panels": _panels(artefact, evidence),
        "responses": _responses(artefact, evidence.results),
        "bars": _bars(artefact, evidence.paper),
    }


def _panels(artefact: Artefact, evidence: Evidence) -> list[dict[str, Any]]:
    """The panels of a figure of curves: which runs, which errors and by which line, which part of the axes."""
    found = []
    for panel in artefact.spec.get("panels", []):
        share = 1e4 / evidence.paper.length(panel["curves"][0])  # the paper's axis counts in 10^4 iterations
        span = [min(1.0, round(float(end) * share, 6)) for end in panel["x"]]
        pens = {series: curves.pen(series, panel) for series in panel["series"]}
        names = {"train_error": "training error", "test_error": "test error"} | words_for(artefact)
        looks = {s: {"mark": DASHES[p["linestyle"] != "-"], "width": p["linewidth"]} for s, p in pens.items()}
        lines = {series: look | {"words": names[series]} for series, look in looks.items()}
        y = [float(end) for end in panel["y"]] if evidence.results.profile == "paper" else None
        found.append({"title": panel["title"], "runs": panel["curves"], "lines": lines, "x": span, "y": y})
    return found


def _responses(artefact: Artefact, results: Results) -> dict[str, Any] | None:
    """Responses of nets, with the dashes that they are drawn with."""
    if artefact.spec.get("figure") != "responses":
        return None
    marks = {run: DASHES[run in artefact.spec["dashed"]] for run in artefact.spec["curves"]}
    y = [float(end) for end in artefact.spec["y"]] if results.profile == "paper" else None
    return {"runs": artefact.spec["curves"], "marks": marks, "y": y}


def _bars(artefact: Artefact, paper: Paper) -> list[dict[str, Any]]:
    """Final errors as bars: one group for a table's nets, one before it for the shortcut options."""
    metrics = [entry["metric"] for entry in [*artefact.columns, artefact.spec] if "metric" in entry]
    if not metrics:
        return []
    rest: dict[str, Any] = {"protocol": artefact.spec.get("eval"), "metrics": list(dict.fromkeys(metrics))}
    runs = {run: colour(run, paper) for run in artefact.runs()}
    groups = [{"title": artefact.title, "colours": runs, **rest}]
    if "options" in artefact.spec:
        tints = {run: TINTS[option] for option, run in artefact.spec["options"].items()}
        groups.insert(0, {"title": artefact.spec["about"], "colours": tints, **rest})
    return groups
