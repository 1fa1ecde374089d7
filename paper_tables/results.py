"""Reads `results/<profile>/<run>/seed-<k>/`; a file that cannot be trusted is listed with the reason, no error."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

CURVE = ["iteration", "lr", "train_loss", "train_error", "test_error"]


@dataclass(frozen=True)
class Seed:
    """One finished training: result.json with whatever stands beside it."""

    run: str
    seed: int
    result: dict[str, Any]
    curve: pd.DataFrame | None = None
    responses: pd.DataFrame | None = None
    evaluations: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def provenance(self) -> dict[str, Any]:
        return self.result["provenance"]

    def value(self, metric: str, protocol: str | None = None) -> float | None:
        """The number named `metric` (errors in percent), None where this training has none."""
        if metric == "response_mean":
            return None if self.responses is None else float(self.responses["std"].mean())
        if protocol is not None:
            number = self.evaluations.get(protocol, {}).get(metric)
        else:
            number = self.result["metrics"].get(metric, self.result.get(metric))
        return None if number is None else float(number)


@dataclass
class Results:
    """Everything under one profile: finished seeds per run, trainings on their way, files left out and why."""

    profile: str
    seeds: dict[str, list[Seed]] = field(default_factory=dict)
    unfinished: dict[str, int] = field(default_factory=dict)  # run -> last iteration seen
    skipped: list[tuple[str, str]] = field(default_factory=list)

    @property
    def all_seeds(self) -> list[Seed]:
        return [seed for seeds in self.seeds.values() for seed in seeds]


def read(root: Path, profile: str) -> Results:
    """Results of one profile under `root`; an empty or missing folder is a profile in which nothing was run."""
    results = Results(profile)
    folder = root / profile
    for run in sorted(p for p in folder.iterdir() if p.is_dir() and p.name != "ensembles") if folder.is_dir() else []:
        for path in sorted(run.iterdir(), key=_by_number):
            if path.is_dir() and path.name.startswith("seed-"):
                _read_seed(path, results)
    return results


def _by_number(path: Path) -> tuple[int, str]:
    digits = re.search(r"\d+$", path.name)
    return (int(digits[0]) if digits else -1, path.name)


def _read_seed(folder: Path, results: Results) -> None:
    run, where = folder.parent.name, f"{folder.parent.name}/{folder.name}"

    def attempt(name: str, reader: Any) -> Any:
        """The content of a file, None where it is missing or unusable (the latter is noted)."""
        path = folder / name
        try:
            return reader(path) if path.exists() else None
        except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            results.skipped.append((f"{where}/{name}", _one_line(error)))
            return None

    match = re.fullmatch(r"seed-(\d{1,9})", folder.name)
    if not match:
        results.skipped.append((where, "not a seed folder: seed-<number>"))
        return
    seed = int(match[1])
    result = attempt("result.json", lambda path: _result(path, run, seed, results.profile))
    curve = attempt("curve.csv", _curve)
    if result is None:
        if not (folder / "result.json").exists():
            last = int(curve["iteration"].iloc[-1]) if curve is not None and len(curve) else 0
            results.unfinished[run] = max(last, results.unfinished.get(run, 0))
        return
    read_evaluations = {
        p.stem[len("eval-") :]: attempt(p.name, _evaluation) for p in sorted(folder.glob("eval-*.json"))
    }
    evaluations = {protocol: value for protocol, value in read_evaluations.items() if value}
    entry = Seed(run, seed, result, curve, attempt("responses.csv", _responses), evaluations)
    results.seeds.setdefault(run, []).append(entry)


def _one_line(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at line {error.lineno}"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    if isinstance(error, KeyError):
        return f"no {error.args[0]!r}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__  # str(error) would hold the absolute path
    return " ".join(str(error).split())[:160] or type(error).__name__


def _json(path: Path) -> dict[str, Any]:
    def no_constant(name: str) -> float:
        raise ValueError(f"{name} is not a number")

    value = json.loads(path.read_text(encoding="utf-8"), parse_constant=no_constant)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _number(value: Any, what: str, low: float = 0.0, high: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or math.isinf(value):
        raise ValueError(f"{what} is {value!r}, not a number from {low:g} to {high:g}")
    return float(value)


def _errors(metrics: dict[str, Any]) -> None:
    for name, value in metrics.items():
        if name.endswith("_error"):
            _number(value, name, 0, 100)


def _result(path: Path, run: str, seed: int, profile: str) -> dict[str, Any]:
    """result.json, with every field that the report relies on checked. Raises ValueError or KeyError."""
    result = _json(path)
    for key, expected in (("run", run), ("seed", seed), ("profile", profile)):
        if result[key] != expected:
            raise ValueError(f"{key} is {result[key]!r}, but the folder says {expected!r}")
    _number(result["iterations"], "iterations", 1)
    _number(result["parameters"], "parameters", 1)
    if not isinstance(result["metrics"], dict) or not result["metrics"]:
        raise ValueError("metrics is not a mapping of numbers")
    _errors(result["metrics"])
    if result.get("warmup_iterations") is not None:
        _number(result["warmup_iterations"], "warmup_iterations")
    provenance = result["provenance"]
    if not isinstance(provenance, dict) or not isinstance(provenance["data"], dict):
        raise ValueError("provenance does not say which data was used")
    if not all(isinstance(v, str) for v in (provenance["precision"], provenance["data"]["fingerprint"])):
        raise ValueError("provenance: precision and data fingerprint must be text")
    return result


def _evaluation(path: Path) -> dict[str, Any]:
    evaluation = _json(path)
    _errors(evaluation)
    return evaluation


def _frame(path: Path, columns: list[str]) -> pd.DataFrame:
    """The named columns as finite numbers (an empty cell is NaN). Raises ValueError."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    missing = [name for name in columns if name not in frame]
    if missing:
        raise ValueError(f"no column {missing[0]!r}")
    frame = frame[columns].apply(lambda c: pd.to_numeric(c.astype(object).mask(c.str.strip() == "", math.nan)))
    first = frame[columns[0]]
    if frame.isin([math.inf, -math.inf]).any(axis=None) or first.isna().any() or not first.is_monotonic_increasing:
        raise ValueError(f"column {columns[0]!r} must increase and every number be finite")
    if first.duplicated().any() or frame.empty:
        raise ValueError("no rows" if frame.empty else f"a repeated {columns[0]}")
    return frame.astype(float)


def _curve(path: Path) -> pd.DataFrame:
    frame = _frame(path, CURVE)
    errors = frame[["train_error", "test_error"]]
    if ((errors < 0) | (errors > 100)).any(axis=None):
        raise ValueError("an error outside 0 to 100 %")
    return frame


def _responses(path: Path) -> pd.DataFrame:
    frame = _frame(path, ["layer", "std"])
    if frame["std"].isna().any() or (frame["std"] < 0).any():
        raise ValueError("a std that is empty or negative")
    return frame
