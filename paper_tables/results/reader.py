"""Reads `results/<profile>/<run>/seed-<k>/`; a file that cannot be trusted is listed with the reason, no error."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from paper_tables.results import files

SOURCES = ("official", "folder", "synthetic")  # of images, the best first
PLATEAU = (25 / 60, 30 / 60)  # of a training: the end of the second learning rate, 25 to 30x10^4 iterations in Figure 4
# <protocol>, or <protocol>+<hash8> of one that deviates -> content of eval-*.json
Evaluations = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class RunResult:
    """One finished training: result.json with whatever stands beside it."""

    run: str
    seed: int
    result: dict[str, Any]
    curve: pd.DataFrame | None = None
    responses: pd.DataFrame | None = None
    evaluations: Evaluations = field(default_factory=dict)

    @property
    def provenance(self) -> dict[str, Any]:
        return self.result["provenance"]

    def evaluation(self, protocol: str) -> dict[str, Any] | None:
        """The test by a protocol, None where there is none."""
        return pick(self.evaluations, protocol)

    def value(self, metric: str, protocol: str | None = None) -> float | None:
        """The number named `metric` (errors in percent), None where this training has none."""
        if metric == "response_mean":
            return None if self.responses is None else float(self.responses["std"].mean())
        if metric == "plateau_error":
            return self.plateau_error()
        if protocol is not None:
            number = (self.evaluation(protocol) or {}).get(metric)
        else:
            number = self.result["metrics"].get(metric, self.result.get(metric))
        return None if number is None else float(number)

    def plateau_error(self) -> float | None:
        """Mean test error over the points of the curve on the plateau before the second drop of the learning rate."""
        if self.curve is None:
            return None
        low, high = (share * float(self.result["iterations"]) for share in PLATEAU)
        errors = self.curve.loc[self.curve["iteration"].between(low, high), "test_error"].dropna()
        return None if errors.empty else float(errors.mean())


@dataclass
class Results:
    """Everything under one profile: finished trainings of each run, unfinished trainings, files left out and why.

    `ensembles` are the profile's too; `published` (weights by others) and `architectures` (counted) belong to none.
    """

    profile: str
    runs: dict[str, list[RunResult]] = field(default_factory=dict)
    unfinished: dict[str, int] = field(default_factory=dict)  # run -> last iteration seen
    skipped: list[tuple[str, str]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)  # run -> why its seeds give no number
    ensembles: dict[str, Evaluations] = field(default_factory=dict)
    published: dict[str, Evaluations] = field(default_factory=dict)  # by name of the published net
    published_responses: dict[str, pd.DataFrame] = field(default_factory=dict)
    architectures: dict[str, dict[str, Any]] = field(default_factory=dict)
    root: Path = Path("results")  # the folder that was read

    @property
    def all_runs(self) -> list[RunResult]:
        return [training for trainings in self.runs.values() for training in trainings]

    def attempt(self, path: Path, where: str, reader: Callable[[Path], Any]) -> Any:
        """The content of a file, None where it is missing or unusable (the latter is noted)."""
        try:
            return reader(path) if path.exists() else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            self.skipped.append((where, files.one_line(error)))
            return None


def read(root: Path, profile: str) -> Results:
    """Results of one profile under `root`; an empty or missing folder is a profile in which nothing was run."""
    results = Results(profile, root=root)
    for run in (path for path in _folders(root / profile) if path.name != "ensembles"):
        for path in sorted(run.iterdir(), key=_by_number):
            if path.is_dir() and path.name.startswith("seed-"):
                _read_seed(path, results)
    _refuse_unlike(results)
    for path in _folders(root / profile / "ensembles"):
        results.ensembles[path.name] = _evaluations(path, f"ensembles/{path.name}", results, files.tested)
    _read_published(root / "published", results)
    counted = results.attempt(root / "architectures.json", "architectures.json", files.architectures)
    results.architectures = counted or {}
    return results


def _read_published(folder: Path, results: Results) -> None:
    """Weights by others: of each net what was measured on the official images, else on a folder.

    On synthetic images only beside trainings on such.
    """
    own_are_drawn = any(t.provenance["data"].get("source") == "synthetic" for t in results.all_runs)
    for source in SOURCES if own_are_drawn else SOURCES[:-1]:
        for path in _folders(folder / source):
            if path.name not in results.published:
                where = f"published/{source}/{path.name}"
                results.published[path.name] = _evaluations(path, where, results, files.tested)
                if twin := _twin(path.name, results):
                    results.skipped.append((where, f"another net of the same publisher and run: {twin}"))
                    del results.published[path.name]
                    continue
                stds = results.attempt(path / "responses.csv", f"{where}/responses.csv", files.responses)
                if stds is not None:
                    results.published_responses[path.name] = stds


def _twin(name: str, results: Results) -> str:
    """A published net that was read before, of the same publisher and for the same run; empty where there is none."""

    def key(evaluations: Evaluations) -> tuple[Any, Any]:
        single = evaluations.get("single", {})
        return single.get("publisher"), single.get("run")

    own = key(results.published[name])
    others = (n for n, found in results.published.items() if n != name and key(found) == own)
    return "" if None in own else next(others, "")


def _refuse_unlike(results: Results) -> None:
    """Takes out each run whose seeds have different recipes or data: no rule can tell which of them was meant."""
    origins: dict[str, Callable[[RunResult], str]] = {
        "recipes": lambda training: str(training.provenance.get("recipe_hash", "")),
        "data": lambda training: training.provenance["data"]["fingerprint"].removeprefix("sha256:"),
    }
    for run, trainings in list(results.runs.items()):
        for what, origin in origins.items():
            found: dict[str, list[str]] = {}
            for training in trainings:
                found.setdefault(origin(training), []).append(str(training.seed))
            if len(found) > 1:
                which = ", ".join(f"{', '.join(numbers)} ({name[:12]})" for name, numbers in found.items())
                results.refused[run] = f"seeds of different {what}"
                results.skipped.append((run, f"seeds of different {what}: {which}; move away what does not belong"))
                del results.runs[run]
                break


def pick(evaluations: Evaluations, protocol: str) -> dict[str, Any] | None:
    """The test as configured; only where there is none, one that deviates from the configuration."""
    names = [protocol, *(name for name in evaluations if name.startswith(f"{protocol}+"))]
    return next((evaluations[name] for name in names if name in evaluations), None)


def fingerprint_of(origin: dict[str, Any]) -> str | None:
    """Of the images that an evaluation or the provenance of a training names."""
    inner = origin.get("provenance")
    data = origin.get("data") or (inner.get("data") if isinstance(inner, dict) else None)
    found = data.get("fingerprint") if isinstance(data, dict) else None
    return found if isinstance(found, str) else None


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _by_number(path: Path) -> tuple[int, str]:
    digits = re.search(r"\d+$", path.name)
    return (int(digits[0]) if digits else -1, path.name)


def _evaluations(folder: Path, where: str, results: Results, reader: Callable[[Path], Any]) -> Evaluations:
    paths = sorted(folder.glob("eval-*.json"))
    found = {p.stem[len("eval-") :]: results.attempt(p, f"{where}/{p.name}", reader) for p in paths}
    return {protocol: value for protocol, value in found.items() if value}


def _read_seed(folder: Path, results: Results) -> None:
    run, where = folder.parent.name, f"{folder.parent.name}/{folder.name}"

    def attempt(name: str, reader: Callable[[Path], Any]) -> Any:
        return results.attempt(folder / name, f"{where}/{name}", reader)

    match = re.fullmatch(r"seed-(\d{1,9})", folder.name)
    if not match:
        results.skipped.append((where, "not a seed folder: seed-<number>"))
        return
    seed = int(match[1])
    result = attempt("result.json", lambda path: files.result(path, run, seed, results.profile))
    curve = attempt("curve.csv", files.curve)
    if result is None:
        if not (folder / "result.json").exists():
            last = int(curve["iteration"].iloc[-1]) if curve is not None and len(curve) else 0
            results.unfinished[run] = max(last, results.unfinished.get(run, 0))
        return
    reader = partial(files.evaluation, weights=result.get("weights_sha256"))
    evaluations = _evaluations(folder, where, results, reader)
    entry = RunResult(run, seed, result, curve, attempt("responses.csv", files.responses), evaluations)
    results.runs.setdefault(run, []).append(entry)
