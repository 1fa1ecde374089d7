"""`paper.yaml` as objects: the paper's tables and figures, their cells with run id and printed value, the claims."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

PAPER = Path(__file__).with_name("paper.yaml")
NAMES = [f"table{i}" for i in range(1, 15)] + [f"fig{i}" for i in range(1, 8)]
NOT_PRINTED = {"paper": math.nan, "printed": "not printed"}
STATUSES = ("measured", "no training", "later", "out of scope")


class UserError(Exception):
    """Bad input; the message is one line that names the cure. The command line prints it and exits 2."""


@dataclass(frozen=True)
class Cell:
    """One number of the paper that a run of ours stands beside, in percent; NaN where it prints none."""

    artefact: str
    label: str
    run: str
    metric: str
    paper: float
    printed: str
    protocol: str | None = None  # None: the last iterate in result.json; else the name in eval-<protocol>.json
    mean: float | None = None  # the paper's mean and std, where it prints them (ResNet-110)
    std: float | None = None
    best_of: int | None = None  # the paper prints the best of so many runs
    tolerance: float | None = None
    bound: str | None = None  # above | below: the paper says only that
    pm: float | None = None  # how well a reading could be read off the figure
    reading: bool = False


@dataclass(frozen=True)
class Artefact:
    """A table or figure of the paper. `spec` is its entry in paper.yaml."""

    name: str
    title: str
    target: str
    section: str
    caption: str
    protocol: str
    status: str
    reason: str
    spec: dict[str, Any]

    @property
    def columns(self) -> list[dict[str, Any]]:
        return [c if isinstance(c, dict) else {"title": str(c)} for c in self.spec.get("columns", [])]

    def rows(self) -> Iterator[tuple[dict[str, Any], list[str | Cell]]]:
        """Rows as (mapping, cells); a cell is the printed text, or a `Cell` where a run stands behind it."""
        for row in self.spec.get("rows", []):
            mapping = row if isinstance(row, dict) else {"cells": row}
            yield mapping, [self._cell(mapping, i, value) for i, value in enumerate(mapping.get("cells", []))]

    def _cell(self, row: dict[str, Any], index: int, value: Any) -> str | Cell:
        column = self.columns[index]
        given = value if isinstance(value, dict) else {"paper": value}
        given = given if "paper" in given else NOT_PRINTED | given
        run, metric = given.get("run", row.get("run")), given.get("metric", column.get("metric"))
        if not run or not metric or not is_number(given["paper"]):
            return str(given.get("printed", given["paper"]))
        return make_cell(self.name, run, metric, {**given, **reading_of(column)}, self.spec.get("eval"))

    def readings(self) -> list[Cell]:
        """The end points of a figure's curves as read off the paper."""
        return [
            make_cell(self.name, run, metric, {**value, "reading": True})
            for run, metrics in self.spec.get("readings", {}).items()
            for metric, value in metrics.items()
        ]

    def cells(self) -> list[Cell]:
        return [c for _, row in self.rows() for c in row if isinstance(c, Cell)] + self.readings()

    def runs(self) -> list[str]:
        """Run ids whose training this artefact needs, in order (none while its training is not built)."""
        return self.named_runs() if self.status == "measured" else []

    def named_runs(self) -> list[str]:
        """Every run id that this artefact names, borrowed rows left out."""
        runs = [*self.spec.get("curves", []), *self.spec.get("ensemble", [])]
        for panel in self.spec.get("panels", []):
            runs += panel["curves"] + [panel[key] for key in ("off_scale",) if key in panel]
        for row in self.spec.get("rows", []):
            if isinstance(row, dict) and row.get("borrowed"):
                break
            runs += [row["run"]] if isinstance(row, dict) and "run" in row else []
            cells = row.get("cells", []) if isinstance(row, dict) else row
            runs += [cell["run"] for cell in cells if isinstance(cell, dict) and "run" in cell]
        return list(dict.fromkeys(runs))


@dataclass(frozen=True)
class Registry:
    artefacts: dict[str, Artefact]
    claims: list[dict[str, Any]]
    nets: dict[str, dict[str, Any]]
    profiles: dict[str, str]
    lengths: dict[str, int]
    batches: dict[str, int]
    default_tolerance: float
    single_run_margin: float  # points that chance alone may put between two deep nets trained once, and not in full
    protocols: dict[str, dict[str, dict[str, Any]]]  # recipe -> protocol -> sides, n, precision
    palette: str = "safe"  # or paper: the colours that figures are drawn in

    def find(self, name: str) -> Artefact:
        """The artefact of that name or target. Raises UserError for any other word."""
        for artefact in self.artefacts.values():
            if name in (artefact.name, artefact.target):
                return artefact
        known = [*self.artefacts, *(a.target for a in self.artefacts.values())]
        raise UserError(f"unknown artefact '{name}'{guess(name, known)}; known: table1..table14, fig1..fig7")

    def select(self, names: list[str]) -> list[Artefact]:
        """The named artefacts without repeats; `all` stands for every one, in the paper's order."""
        if "all" in names:
            return list(self.artefacts.values())
        return list({artefact.name: artefact for artefact in map(self.find, names)}.values())

    def check_profile(self, profile: str, results: Path) -> str:
        """The profile if it is built in, of the form <profile>+<hash8>, or has results. Raises UserError otherwise."""
        if not results.is_dir():  # or a slip would render `not run` over a report that is there
            raise UserError(f"{results}: no folder of results; name one (--results), or start where it lies")
        base, plus, digest = profile.partition("+")
        if base in self.profiles and (not plus or re.fullmatch(r"[0-9a-f]{8}", digest)):
            return profile
        if re.fullmatch(r"[\w.+-]+", profile) and not profile.startswith(".") and (results / profile).is_dir():
            return profile
        raise UserError(
            f"unknown profile '{profile}'{guess(profile, list(self.profiles))}; known: {', '.join(self.profiles)}"
        )

    def profile_words(self, profile: str) -> str:
        """What a profile is, in a sentence; of <profile>+<hash8> only that the command line changed it."""
        base, plus, _ = profile.partition("+")
        changed = f"{base} with values of its own, which the command of each training names"
        return changed if plus else self.profiles.get(base, "a profile of your own")

    def length(self, run: str) -> int:
        """Iterations of the full training of this run in the paper."""
        return int(self.nets.get(run, {}).get("length", self.lengths[run.partition("-")[0]]))

    def batch(self, run: str) -> int:
        """Images per iteration in the paper."""
        return self.batches[run.partition("-")[0]]

    def protocol(self, run: str, name: str) -> dict[str, Any]:
        """How the paper tests this run by a protocol: sides, n, precision; empty for a protocol that is none of it."""
        return self.protocols[run.partition("-")[0]].get(name, {})


def guess(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean '{close[0]}'?" if close else ""


def is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def reading_of(column: dict[str, Any]) -> dict[str, Any]:
    return {key: column[key] for key in ("reading", "pm") if key in column}


def label_of(run: str) -> str:
    """The net's name in the paper's words: ResNet-110, plain-18."""
    name = run.upper() if run.startswith("vgg") else run.partition("-")[2].replace("resnet", "ResNet")
    return str(load().nets.get(run, {}).get("label", name))


def make_cell(artefact: str, run: str, metric: str, given: dict[str, Any], protocol: str | None = None) -> Cell:
    """One number of the paper from its entry in paper.yaml (`given`)."""
    numbers = {k: float(given[k]) for k in ("paper", "mean", "std", "tolerance", "pm") if given.get(k) is not None}
    prefix = (
        f"{given['bound']} " if "bound" in given else "about " if given.get("reading") and "pm" not in given else ""
    )
    return Cell(
        artefact=artefact,
        label=label_of(run),
        run=run,
        metric=metric,
        printed=str(given.get("printed", f"{prefix}{given['paper']}")),
        protocol=protocol,
        best_of=given.get("best_of"),
        bound=given.get("bound"),
        reading=bool(given.get("reading", False)),
        **numbers,
    )


class _AsPrinted(yaml.SafeLoader):
    """Reads 8.80 as the text "8.80": a number stays as the paper prints it."""


_AsPrinted.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def typeset(value: Any) -> Any:
    """3x3, 10^9 and +- of the source as 3×3, 10⁹ and ±, in every text of a nested value."""
    if isinstance(value, dict):
        return {key: typeset(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typeset(item) for item in value]
    if not isinstance(value, str):
        return value
    text = re.sub(r"(?<=\d)x(?=\d)|(?<=\] )x(?=\d)", "×", value.replace("+-", "±"))
    return re.sub(r"10\^(\d)", lambda m: "10" + "⁰¹²³⁴⁵⁶⁷⁸⁹"[int(m[1])], text)


def _artefact(name: str, spec: dict[str, Any]) -> Artefact:
    status = spec.get("status", "measured")
    missing = [key for key in ("title", "section", "caption", "protocol") if key not in spec]
    if missing or status not in STATUSES or (status != "measured" and "reason" not in spec):
        raise UserError(f"paper.yaml: {name}: needs title, section, caption, protocol, a known status and its reason")
    width = len(spec.get("columns", []))
    for row in spec.get("rows", []):
        cells = row.get("cells") if isinstance(row, dict) else row
        if cells is not None and len(cells) != width:
            raise UserError(f"paper.yaml: {name}: a row has {len(cells)} cells for {width} columns: {cells}")
    words = {key: str(spec[key]) for key in ("title", "section", "caption", "protocol")}
    return Artefact(
        name, status=status, reason=str(spec.get("reason", "")), target=spec.get("target", name), spec=spec, **words
    )


@lru_cache(maxsize=1)
def load() -> Registry:
    """The registry of `paper.yaml`, checked. Raises UserError where the file does not hold together."""
    data = typeset(yaml.load(PAPER.read_text(encoding="utf-8"), Loader=_AsPrinted))
    if sorted(data["artefacts"]) != sorted(NAMES):
        raise UserError("paper.yaml: artefacts: must list table1..table14 and fig1..fig7, each once")
    return Registry(
        artefacts={name: _artefact(name, spec) for name, spec in data["artefacts"].items()},
        claims=data["claims"],
        nets=data["nets"],
        profiles=data["profiles"],
        lengths=data["lengths"],
        batches=data["batches"],
        default_tolerance=float(data["default_tolerance"]),
        single_run_margin=float(data["single_run_margin"]),
        protocols=data["protocols"],
    )
