"""`papers/*.yaml` as objects: a paper's tables and figures, their cells with run id and printed value, the claims."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

PAPERS = Path(__file__).with_name("papers")
STATUSES = ("measured", "no training", "later", "out of scope")


class UserError(Exception):
    """Bad input; the message is one line that names the cure. The command line prints it and exits 2."""


@dataclass(frozen=True)
class Metric:
    """What is measured. `split`: train or test images, empty where no images decide it."""

    label: str
    split: str = ""
    better: str = "lower"  # or higher: an average precision
    unit: str = ""
    count: bool = False  # a whole number
    exact: bool = False  # of the net itself: no seed changes it

    def text(self, value: float, sign: str = "") -> str:
        """As it is printed; `sign`: "+" for a difference."""
        return f"{value:{sign},.0f}" if self.count else f"{value:{sign}.2f}"


@dataclass(frozen=True)
class Recipe:
    """How the paper trains and tests on a data set."""

    name: str
    test: str  # what the paper calls the images that it tests on
    iterations: int
    batch_size: int
    curves: str  # the figure whose axes the curves of single runs take
    protocols: dict[str, dict[str, Any]]  # protocol -> sides, n, precision


@dataclass(frozen=True)
class Cell:
    """One number of the paper that a run of ours stands beside, in percent; NaN where it prints none."""

    artefact: str
    label: str
    run: str
    metric: str
    split: str
    better: str
    paper: float
    printed: str
    protocol: str | None = None  # None: after the last iteration, in result.json; else the name in eval-<protocol>.json
    mean: float | None = None  # the paper's mean and std, where it prints them (ResNet-110)
    std: float | None = None
    best_of: int | None = None  # the paper prints the best of so many runs
    tolerance: float | None = None
    bound: str | None = None  # above | below: the paper says only that
    pm: float | None = None  # how well a reading could be read off the figure
    reading: bool = False


@dataclass(frozen=True)
class Artefact:
    """A table or figure of the paper. `spec` is its entry in the file; a row is its mapping there and its cells."""

    name: str
    title: str
    target: str
    section: str
    caption: str
    protocol: str
    status: str
    reason: str
    spec: dict[str, Any]
    rows: list[tuple[dict[str, Any], list[str | Cell]]]
    readings: list[Cell]  # of a figure's curves, read off their ends

    @property
    def columns(self) -> list[dict[str, Any]]:
        return columns_of(self.spec)

    @property
    def printed(self) -> list[Cell]:
        return [cell for _, row in self.rows for cell in row if isinstance(cell, Cell)]

    def cells(self) -> list[Cell]:
        return self.printed + self.readings

    def runs(self) -> list[str]:
        """Run ids whose training this artefact needs, in order (none while its training is not built)."""
        return self.named_runs() if self.status == "measured" else []

    def named_runs(self) -> list[str]:
        """Every run id that this artefact names, borrowed rows left out."""
        runs = [*self.spec.get("curves", []), *self.spec.get("ensemble", [])]
        for panel in self.spec.get("panels", []):
            runs += panel["curves"] + [panel[key] for key in ("off_scale",) if key in panel]
        borrowed = False
        for mapping, _ in self.rows:
            borrowed = bool(mapping.get("borrowed")) if "block" in mapping else borrowed
            if borrowed:
                continue
            named = [mapping, *(value for value in mapping.get("cells", []) if isinstance(value, dict))]
            runs += [entry["run"] for entry in named if "run" in entry]
        return list(dict.fromkeys(runs))


@dataclass(frozen=True)
class Paper:
    title: str
    citation: str
    artefacts: dict[str, Artefact]
    claims: list[dict[str, Any]]
    claim_groups: dict[str, str]  # section -> title
    front_page: list[dict[str, Any]]
    runs: dict[str, dict[str, Any]]  # recipe, label, colour
    nets: dict[str, str]  # counted and not trained: id -> label
    profiles: dict[str, str]
    recipes: dict[str, Recipe]
    metrics: dict[str, Metric]
    published: dict[str, str]  # weights by others: whose they are
    default_tolerance: float
    single_run_margin: float  # points that chance alone may put between two deep nets trained once, and not in full
    palette: str = "safe"  # or paper: the colours that figures are drawn in

    @property
    def claims_title(self) -> str:
        return f"Claims of Sec. {' and '.join(self.claim_groups)}"

    def find(self, name: str) -> Artefact:
        """The artefact of that name or target. Raises UserError for any other word."""
        for artefact in self.artefacts.values():
            if name in (artefact.name, artefact.target):
                return artefact
        known = [*self.artefacts, *(a.target for a in self.artefacts.values())]
        raise UserError(f"unknown artefact '{name}'{guess(name, known)}; known: {', '.join(self.artefacts)}")

    def select(self, names: list[str]) -> list[Artefact]:
        """The named artefacts without repeats; `all` stands for every one, in the paper's order."""
        if "all" in names:
            return list(self.artefacts.values())
        return [self.artefacts[name] for name in dict.fromkeys(self.find(word).name for word in names)]

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
        if "+" in profile:
            return f"{profile.partition('+')[0]} with values of its own, which the command of each training names"
        return self.profiles.get(profile, "a profile of your own")

    def recipe(self, run: str) -> Recipe:
        """How the paper trains this run; of a data set that it has not, a recipe without length.

        The id of a run that the paper has not begins with its data set.
        """
        name = self.look(run).get("recipe", run.partition("-")[0])
        return self.recipes.get(name, Recipe(name, "test", 0, 0, next(iter(self.recipes.values())).curves, {}))

    def length(self, run: str) -> int:
        """Iterations of the full training of this run in the paper; 0 where it has no such data set."""
        return int(self.look(run).get("iterations", self.recipe(run).iterations))

    def protocol(self, run: str, name: str) -> dict[str, Any]:
        """How the paper tests this run by a protocol: sides, n, precision; empty for a protocol that is none of it."""
        return self.recipe(run).protocols.get(name, {})

    def label(self, run: str) -> str:
        """The net's name in the paper's words, ResNet-110 or plain-18; of a run that it has not, the run's id."""
        return str(self.look(run).get("label", self.nets.get(run, run)))

    def look(self, run: str) -> dict[str, Any]:
        """Recipe, label, colour and line of a run; of one that the paper has not, the colour alone."""
        return self.runs.get(run, {"colour": "grey"})


def guess(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean '{close[0]}'?" if close else ""


# ---- Loading ----

# What an entry, a row and a claim may say; papers/resnet.yaml explains each.
ARTEFACT_KEYS = (
    *(
        "title",
        "target",
        "section",
        "caption",
        "protocol",
        "status",
        "reason",
        "text",
        "columns",
        "rows",
        "eval",
        "metric",
    ),
    *("detailed", "ensemble", "nets", "counted_too", "text_flops", "figure", "picture", "size", "printed", "panels"),
    *("readings", "marks_at", "words", "curves", "dashed", "thin", "x", "y", "pm", "sorted_readings", "layer_readings"),
    *("with_published_weights", "options", "option_words", "about", "blocks", "general"),
)
ROW_KEYS = ("run", "cells", "block", "borrowed", "published", "count")
CLAIM_KEYS = (
    *("id", "section", "text", "rule", "metric", "protocol", "of", "pairs", "to", "than", "margin", "margins"),
    *("partial", "counted"),
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


@lru_cache
def load(name: str = "resnet") -> Paper:
    """The paper in papers/<name>.yaml, checked. Raises UserError where the file contradicts itself."""
    path = PAPERS / f"{name}.yaml"
    data = typeset(yaml.load(path.read_text(encoding="utf-8"), Loader=_AsPrinted))
    kinds = {"table": data.pop("tables"), "fig": data.pop("figures")}
    expected = [f"{kind}{i}" for kind, n in kinds.items() for i in range(1, n + 1)]
    specs = data.pop("artefacts")
    if sorted(specs) != sorted(expected):
        raise UserError(f"{path.name}: artefacts: must list every table and figure once: {', '.join(expected)}")
    data |= {key: float(data[key]) for key in ("default_tolerance", "single_run_margin")}
    data["recipes"] = {key: Recipe(**value) for key, value in data["recipes"].items()}
    data["runs"] = {run: {"recipe": key, **look} for key, runs in data["runs"].items() for run, look in runs.items()}
    data["metrics"] = {key: Metric(**value) for key, value in data["metrics"].items()}
    data.pop("reasons")
    paper = Paper(artefacts={}, **data)
    for claim in paper.claims:
        try:
            _check_keys(claim, CLAIM_KEYS)
        except ValueError as error:
            raise UserError(f"{path.name}: claim {claim['id']}: {error}") from None
    for key, spec in specs.items():
        try:
            paper.artefacts[key] = _artefact(key, spec, paper)
        except (KeyError, ValueError) as error:
            raise UserError(f"{path.name}: {key}: {error}") from None
    return paper


def _artefact(name: str, spec: dict[str, Any], paper: Paper) -> Artefact:
    """A table or figure from its entry in the file. Raises ValueError or KeyError."""
    _check_keys(spec, ARTEFACT_KEYS)
    status = spec.get("status", "measured")
    words = {key: str(spec.get(key, "")) for key in ("title", "section", "caption", "protocol")}
    if not all(words.values()) or status not in STATUSES or (status != "measured" and "reason" not in spec):
        raise ValueError("needs title, section, caption, protocol, a known status and its reason")
    rows: list[tuple[dict[str, Any], list[str | Cell]]] = []
    columns = columns_of(spec)
    for row in spec.get("rows", []):
        mapping = row if isinstance(row, dict) else {"cells": row}
        _check_keys(mapping, ROW_KEYS)
        values = mapping.get("cells", [])
        if values and len(values) != len(columns):
            raise ValueError(f"a row has {len(values)} cells for {len(columns)} columns: {values}")
        defaults = {key: value for key, value in {**spec, **mapping}.items() if key in ("eval", "run")}
        rows.append((mapping, [_cell(name, defaults | c, v, paper) for c, v in zip(columns, values, strict=False)]))
    readings = [
        make_cell(name, {"run": run, "metric": metric, **value, "reading": True}, paper)
        for run, metrics in spec.get("readings", {}).items()
        for metric, value in metrics.items()
    ]
    reason, target = str(spec.get("reason", "")), spec.get("target", name)
    return Artefact(name, status=status, reason=reason, target=target, spec=spec, rows=rows, readings=readings, **words)


def _check_keys(given: dict[str, Any], known: tuple[str, ...]) -> None:
    """Raises ValueError for a key that nothing would read."""
    for key in given:
        if key not in known:
            raise ValueError(f"no such key: {key}{guess(key, list(known))}")


def columns_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [column if isinstance(column, dict) else {"title": str(column)} for column in spec.get("columns", [])]


def _cell(artefact: str, defaults: dict[str, Any], value: Any, paper: Paper) -> str | Cell:
    """The printed text, or a `Cell` where a run stands behind it. `defaults`: of the table, the row and the column."""
    given = value if isinstance(value, dict) else {"paper": value}
    given = given if "paper" in given else {"paper": math.nan, "printed": "not printed"} | given
    whole = defaults | given
    try:
        float(given["paper"])
    except ValueError:
        whole = {}
    linked = "run" in whole and "metric" in whole
    return make_cell(artefact, whole, paper) if linked else str(given.get("printed", given["paper"]))


def make_cell(artefact: str, given: dict[str, Any], paper: Paper) -> Cell:
    """One number of the paper. Raises KeyError for a metric that the file does not list."""
    numbers = {k: float(given[k]) for k in ("paper", "mean", "std", "tolerance", "pm") if given.get(k) is not None}
    run, metric, bound = given["run"], paper.metrics[given["metric"]], given.get("bound")
    prefix = f"{bound} " if bound else "about " if given.get("reading") and "pm" not in given else ""
    return Cell(
        artefact=artefact,
        label=paper.label(run),
        run=run,
        metric=given["metric"],
        split=given.get("split", paper.recipe(run).test if metric.split == "test" else metric.split),
        better=metric.better,
        printed=str(given.get("printed", f"{prefix}{given['paper']}")),
        protocol=given.get("eval"),
        best_of=given.get("best_of"),
        bound=bound,
        reading=bool(given.get("reading", False)),
        **numbers,
    )
