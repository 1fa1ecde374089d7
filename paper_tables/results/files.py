"""Files under `results/`, read and checked: a reader raises ValueError or KeyError for what it cannot trust."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

CURVE = ["iteration", "lr", "train_loss", "train_error", "test_error"]
TOP5 = ["train_top5_error", "test_top5_error"]  # ImageNet's curves have them too


def one_line(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at line {error.lineno}"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    if isinstance(error, KeyError):
        return f"no {error.args[0]!r}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__  # str(error) would hold the absolute path
    return " ".join(str(error).split())[:160] or type(error).__name__


def read_json(path: Path) -> dict[str, Any]:
    def no_constant(name: str) -> float:
        raise ValueError(f"{name} is not a number")

    value = json.loads(path.read_text(encoding="utf-8"), parse_constant=no_constant)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def number(value: Any, what: str, low: float = 0.0, high: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or math.isinf(value):
        raise ValueError(f"{what} is {value!r}, not a number from {low:g} to {high:g}")
    return float(value)


def errors(metrics: dict[str, Any]) -> None:
    for name, value in metrics.items():
        if name.endswith("_error"):
            number(value, name, 0, 100)


def result(path: Path, run: str, seed: int, profile: str) -> dict[str, Any]:
    """result.json, with every field that the report relies on checked. Raises ValueError or KeyError."""
    result = read_json(path)
    for key, expected in (("run", run), ("seed", seed), ("profile", profile)):
        if result[key] != expected:
            raise ValueError(f"{key} is {result[key]!r}, but the folder says {expected!r}")
    number(result["iterations"], "iterations", 1)
    number(result["parameters"], "parameters", 1)
    if not isinstance(result["metrics"], dict) or not result["metrics"]:
        raise ValueError("metrics is not a mapping of numbers")
    errors(result["metrics"])
    if "best_validation" in result:
        best_validation(result["best_validation"])
    if result.get("warmup_iterations") is not None:
        number(result["warmup_iterations"], "warmup_iterations")
    provenance = result["provenance"]
    if not isinstance(provenance, dict) or not isinstance(provenance["data"], dict):
        raise ValueError("provenance does not say which data was used")
    if not all(isinstance(v, str) for v in (provenance["precision"], provenance["data"]["fingerprint"])):
        raise ValueError("provenance: precision and data fingerprint must be text")
    overrides = provenance.get("overrides", [])
    if not isinstance(overrides, list) or not all(isinstance(word, str) for word in overrides):
        raise ValueError("provenance: overrides is not a list of words")
    starts(provenance.get("starts", []))
    return result


def best_validation(found: Any) -> None:
    """The point of the curve with the lowest error on the images held out. Raises ValueError or KeyError."""
    if not isinstance(found, dict):
        raise ValueError("best_validation is not a mapping")
    number(found["iteration"], "best_validation: iteration", 1)
    errors({name: found[name] for name in ("val_error", "test_error")})


def starts(found: Any) -> None:
    """provenance.starts: where each start of a training ran. Raises ValueError."""
    if not isinstance(found, list) or not all(isinstance(start, dict) for start in found):
        raise ValueError("provenance: starts is not a list of mappings")
    for start in found:
        number(start.get("processes", 1), "provenance: starts: processes", 1)
        number(start.get("micro_batch", 0), "provenance: starts: micro_batch")
        if not isinstance(start.get("device", ""), str) or not isinstance(start.get("versions", {}), dict):
            raise ValueError("provenance: starts: device must be text, versions a mapping")


def evaluation(path: Path, weights: Any = None) -> dict[str, Any]:
    """eval-<protocol>.json of the weights with that SHA-256 (None: any). Raises ValueError."""
    found = read_json(path)
    errors(found)
    if found.get("n") is not None:
        number(found["n"], "n", 1)
    _conditions(found, path.stem.removeprefix("eval-").partition("+")[0])
    if weights and found.get("weights_sha256", weights) != weights:
        raise ValueError("measured on other weights than result.json's; evaluate again")
    return found


def _conditions(found: dict[str, Any], protocol: str) -> None:
    """What an evaluation says of its test, where it says it, is of the right kind. Raises ValueError."""
    if found.get("protocol", protocol) != protocol:
        raise ValueError(f"protocol is {found['protocol']!r}, but the file's name says {protocol!r}")
    for key in ("precision", "bn_statistics"):
        if not isinstance(found.get(key, ""), str):
            raise ValueError(f"{key} is no text")
    for given in (found, found.get("deviations", {})):
        if not isinstance(given, dict):
            raise ValueError("deviations is not a mapping")
        if not isinstance(given.get("sides", []), list):
            raise ValueError("sides is no list")
        for side in given.get("sides", []):
            number(side, "a side", 1)


def tested(path: Path) -> dict[str, Any]:
    """An evaluation that stands alone (published weights, an ensemble): it needs its errors, n and protocol."""
    found = evaluation(path)
    number(found["n"], "n", 1)
    for name in ("top1_error", "train_error" if "train_error" in found else "top5_error"):
        number(found[name], name, 0, 100)
    small = "train_error" in found  # a published net of CIFAR-10, which stands for a training
    for key in ("protocol", *(("run", "publisher", "recipe", "claim", "precision") if small else ())):
        if not isinstance(found[key], str):
            raise ValueError(f"{key} is no text")
    if small:
        number(found["claimed"], "claimed", 0, 100)
        if not re.fullmatch(r"[\w.-]+", found["publisher"]) or found["publisher"] in ("paper", "ours", "here"):
            raise ValueError(f"publisher {found['publisher']!r} is no name")
        if not all(isinstance(found["data"][key], str) for key in ("description", "fingerprint")):
            raise ValueError("data: description and fingerprint must be text")
    return found


def architectures(path: Path) -> dict[str, dict[str, Any]]:
    """architectures.json, with what the report relies on checked. Raises ValueError or KeyError."""
    nets = read_json(path)
    for name, net in nets.items():
        for key in ("layers", "parameters", "multiply_adds"):
            number(net[key], f"{name}: {key}", 1)
        for part in net["parts"]:
            number(part["times"], f"{name}: times", 1)
            for layer in part["layers"]:
                number(layer["filters"], f"{name}: filters", 1)
                number(layer["output"], f"{name}: output", 1)
    return nets


def frame(path: Path, columns: list[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """The named columns as finite numbers (an empty cell is NaN). Raises ValueError."""
    text = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    missing = [name for name in columns if name not in text]
    if missing:
        raise ValueError(f"no column {missing[0]!r}")
    kept = text[[*columns, *(name for name in optional if name in text)]]
    found = kept.apply(lambda c: pd.to_numeric(c.astype(object).mask(c.str.strip() == "", math.nan)))
    first = found[columns[0]]
    if found.isin([math.inf, -math.inf]).any(axis=None) or first.isna().any() or not first.is_monotonic_increasing:
        raise ValueError(f"column {columns[0]!r} must increase and every number be finite")
    if first.duplicated().any() or found.empty:
        raise ValueError("no rows" if found.empty else f"a repeated {columns[0]}")
    return found.astype(float)


def curve(path: Path) -> pd.DataFrame:
    """curve.csv: the columns of CURVE, and those of TOP5 that are there."""
    found = frame(path, CURVE, TOP5)
    errors = found[[name for name in found if str(name).endswith("_error")]]
    if ((errors < 0) | (errors > 100)).any(axis=None):
        raise ValueError("an error outside 0 to 100 %")
    return found


def responses(path: Path) -> pd.DataFrame:
    found = frame(path, ["layer", "std"])
    if found["std"].isna().any() or (found["std"] < 0).any():
        raise ValueError("a std that is empty or negative")
    return found
