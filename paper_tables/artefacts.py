"""The trained tables and figures as one JSON file, for tools that draw them without knowing the paper (W&B dashboards).

Errors in percent; `x` as a part of the whole training, since its length is the profile's; a missing number is null.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from paper_tables import curves, figures, headline, options
from paper_tables.claims import judge_claims
from paper_tables.commands import make_command, missing_commands, state_of
from paper_tables.readings import words_for
from paper_tables.registry import Artefact, Registry, label_of
from paper_tables.results import Results, Seed
from paper_tables.tables import artefact_table

FORMAT = 1
DASHES = {True: "dashed", False: "solid"}


def write(results: Results, registry: Registry, report: Path) -> Path:
    """Writes <report>/<profile>/artefacts.json and returns its path."""
    path = report / results.profile / "artefacts.json"
    figures.write(path, json.dumps(content(results, registry), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def content(results: Results, registry: Registry) -> dict[str, Any]:
    """Every artefact that has trainings, in the paper's order, and every net they name, in the paper's colours."""
    registry = replace(registry, palette="paper")
    trained = [artefact for artefact in registry.artefacts.values() if artefact.runs()]
    runs = dict.fromkeys(run for artefact in trained for run in artefact.runs())
    return {
        "format": FORMAT,
        "profile": results.profile,
        "conditions": headline.conditions_line(results, registry),
        "claims": headline.counts_line(judge_claims(results, registry)),
        "nets": {run: _net(run, results, registry) for run in runs},
        "artefacts": [_artefact(artefact, results, registry) for artefact in trained],
    }


def _net(run: str, results: Results, registry: Registry) -> dict[str, Any]:
    seeds = [_seed(seed) for seed in results.seeds.get(run, [])]
    return {"label": label_of(run), "colour": figures.colour(run, registry), "seeds": seeds}


def _seed(seed: Seed) -> dict[str, Any]:
    origin = {key: seed.provenance.get(key) for key in ("recipe_hash", "command", "commit", "dirty")}
    return {"seed": seed.seed, "iterations": seed.result["iterations"], "metrics": seed.result["metrics"], **origin}


def _artefact(artefact: Artefact, results: Results, registry: Registry) -> dict[str, Any]:
    table = artefact_table(artefact, results, registry)
    return {
        "name": artefact.name,
        "target": artefact.target,
        "title": artefact.title,
        "section": artefact.section,
        "caption": artefact.caption,
        "protocol": artefact.protocol,
        "command": make_command(artefact, results),
        "state": state_of(artefact, results),
        "missing": missing_commands(artefact, results),
        "runs": artefact.runs(),
        "table": None if table is None else {"columns": table.columns, "rows": table.rows, "notes": table.notes},
        "markdown": "" if table is None else table.markdown(),
        "panels": _panels(artefact, results, registry),
        "responses": _responses(artefact, results),
        "bars": _bars(artefact, registry),
    }


def _panels(artefact: Artefact, results: Results, registry: Registry) -> list[dict[str, Any]]:
    """The panels of a figure of curves: which runs, which errors and by which line, which part of the axes."""
    found = []
    for panel in artefact.spec.get("panels", []):
        share = 1e4 / registry.length(panel["curves"][0])  # the paper's axis counts in 10^4 iterations
        span = [min(1.0, round(float(end) * share, 6)) for end in panel["x"]]
        pens = {series: curves.pen(series, panel) for series in panel["series"]}
        names = {"train_error": "training error", "test_error": "test error"} | words_for(artefact)
        looks = {s: {"mark": DASHES[p["linestyle"] != "-"], "width": p["linewidth"]} for s, p in pens.items()}
        lines = {series: look | {"words": names[series]} for series, look in looks.items()}
        y = [float(end) for end in panel["y"]] if results.profile == "paper" else None
        found.append({"title": panel["title"], "runs": panel["curves"], "lines": lines, "x": span, "y": y})
    return found


def _responses(artefact: Artefact, results: Results) -> dict[str, Any] | None:
    """Figure 7: dashes by net, as drawn there."""
    if artefact.spec.get("figure") != "responses":
        return None
    marks = {run: DASHES["plain" in run] for run in artefact.spec["curves"]}
    y = [float(end) for end in artefact.spec["y"]] if results.profile == "paper" else None
    return {"runs": artefact.spec["curves"], "marks": marks, "y": y}


def _bars(artefact: Artefact, registry: Registry) -> list[dict[str, Any]]:
    """Final errors as bars: one group for a table's nets, one before it for the shortcut options."""
    metrics = [column["metric"] for column in artefact.columns if "metric" in column]
    metrics = metrics or (["top5_error"] if "ensemble" in artefact.spec else [])
    if not metrics:
        return []
    rest: dict[str, Any] = {"protocol": artefact.spec.get("eval"), "metrics": list(dict.fromkeys(metrics))}
    runs = {run: figures.colour(run, registry) for run in artefact.runs()}
    groups = [{"title": artefact.title, "colours": runs, **rest}]
    if "options" in artefact.spec:
        tints = {run: options.tint_of(run) for run in artefact.spec["options"]}
        groups.insert(0, {"title": "Shortcut options A, B and C beside the plain net", "colours": tints, **rest})
    return groups
