"""Results that exist only as files -> runs at W&B, with their curves, layer responses, evaluations and provenance.

A training has one id at W&B, made of profile, run, seed and recipe, so publishing adds to the run that training itself
would have made. Nothing is logged twice: what is there already is asked of the server (online), or of a ledger beside
the offline folders, `runs/<profile>/<run>/seed-<k>/published/ledger.json`. The summary is replaced as a whole.
"""

import csv
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from reproduce.config.run import RESULTS, RUNS, digest
from reproduce.tracking import wandb_logger
from reproduce.tracking.names import (
    AXIS,
    LAYER,
    METRICS,
    SORTED_STD,
    STD,
    Training,
    evaluation,
    final_metrics,
    need_key,
    of_result,
    project,
)
from reproduce.utils.console import log
from reproduce.utils.errors import UserError, one_line
from reproduce.utils.files import read_json, write_json

Row = dict[str, float]
DIGEST = "published"  # summary key: the hash of what stands in the summary and the configuration
NUMBERS = ("iterations", "layers", "parameters", "multiply_adds", "n_test", "warmup_iterations", "weights_sha256")


@dataclass(frozen=True)
class Content:
    """What the files of one training hold: rows of its curve, rows of its responses, summary."""

    training: Training
    curve: list[Row]
    responses: list[Row]
    summary: dict[str, Any]

    @property
    def digest(self) -> str:
        return digest([self.summary, self.training.shown])


@dataclass
class Known:
    """What W&B has of a run already: test error by iteration, std by layer, the hash of its summary."""

    curve: dict[int, float] = field(default_factory=dict)
    responses: dict[int, float] = field(default_factory=dict)
    digest: str = ""
    folders: list[str] = field(default_factory=list)  # offline only: those that are whole


@wandb_logger.errors_in_one_line()
def publish(profile: str, names: Sequence[str], mode: str) -> int:
    """Bring the named runs (none: all) of a results folder to W&B. Errors: UserError; the next call continues."""
    folders = _folders(profile, names)
    if mode == "online":
        need_key()
    api = wandb_logger.server() if mode == "online" else None
    for folder in folders:
        log(f"{folder}: {_publish_one(folder, api)}")
    return 0


def _folders(profile: str, names: Sequence[str]) -> list[Path]:
    """Folders of finished trainings, below results/. Errors: UserError where there are none."""
    top = RESULTS / profile
    paths = sorted(top.glob("*/seed-*/result.json")) if Path(profile).name == profile and top.is_dir() else []
    found = [path.parent for path in paths if not names or path.parent.parent.name in names]
    for name in names:
        if not any(folder.parent.name == name for folder in found):
            raise UserError(f"{top / name}: no finished training (result.json) to publish")
    if not found:
        raise UserError(f"{top}: no finished training (result.json) to publish")
    return found


def read(folder: Path) -> Content:
    """The files of one training. Errors: UserError naming the file that cannot be used."""
    result = read_json(folder / "result.json") or {}
    try:
        training = of_result(result)
        summary = _summary(folder, result)
        expected = (folder.parent.parent.name, folder.parent.name, folder.name)
        if expected != (training.profile, training.run, f"seed-{training.seed}"):
            raise ValueError("profile, run or seed are not those of its folder")
        curve = _rows(folder / "curve.csv", AXIS, "test_error")
        layers = _rows(folder / "responses.csv", LAYER, "std")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: not the files of a training ({one_line(error)}); move it away") from None
    return Content(training, curve, _responses(layers), summary | _last(curve))


def _summary(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Final errors under their names in W&B, sizes, and the errors under each protocol that was evaluated."""
    summary = final_metrics(result) | {key: result[key] for key in NUMBERS if result.get(key) is not None}
    for path in sorted(folder.glob("eval-*.json")):
        found = read_json(path) or {}
        protocol = path.stem.removeprefix("eval-")
        summary |= {evaluation(protocol, key): found[key] for key in found if key.endswith("_error") or key == "n"}
    return summary


def _last(curve: list[Row]) -> dict[str, float]:
    """The curve's end, which W&B writes in the summary of a run by itself: the order of rows cannot change it here."""
    return {METRICS.get(key, key): value for key, value in curve[-1].items()} if curve else {}


def _rows(path: Path, axis: str, value: str) -> list[Row]:
    """A CSV file as rows of numbers, `axis` an integer; none where there is no file. Errors: KeyError, ValueError."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = [{key: float(text) for key, text in row.items() if text != ""} for row in csv.DictReader(file)]
    if not all(math.isfinite(row[axis]) and math.isfinite(row[value]) for row in rows):
        raise ValueError(f"{path.name}: {axis} or {value} is not finite")
    return [row | {axis: int(row[axis])} for row in rows]


def _responses(rows: list[Row]) -> list[Row]:
    """Figure 7's two panels on one axis: std of each layer, and the same values sorted by size."""
    ranked = sorted((row["std"] for row in rows), reverse=True)
    return [{LAYER: row[LAYER], STD: row["std"], SORTED_STD: std} for row, std in zip(rows, ranked, strict=True)]


# ---- What is there already ----


def missing(rows: Iterable[Row], axis: str, value: str, known: dict[int, float], what: str) -> list[Row]:
    """Rows that W&B has not. Errors: UserError where it has other numbers: a history there cannot be changed."""
    rest = []
    for row in rows:
        there = known.get(int(row[axis]))
        if there is None:
            rest.append(row)
        elif not math.isclose(there, row[value], rel_tol=1e-6, abs_tol=1e-9):
            numbers = f"{value} {there:g} at {axis} {row[axis]:g}, the file has {row[value]:g}"
            raise UserError(f"W&B: {what} is there with other numbers ({numbers}); delete that run first")
    return rest


def on_server(api: Any, run_id: str) -> Known:
    """What the server has of a run, nothing where it has no such run or project."""
    path = "/".join(filter(None, [wandb_logger.entity(api), project(), run_id]))
    try:
        run = api.run(path)
    except ValueError:  # wandb's RunNotFoundError is one
        return Known()
    curve = {int(row[AXIS]): row["test/error"] for row in run.scan_history(keys=[AXIS, "test/error"], use_cache=False)}
    layers = {int(row[LAYER]): row[STD] for row in run.scan_history(keys=[LAYER, STD], use_cache=False)}
    return Known(curve, layers, str(run.summary.get(DIGEST, "")))


def on_disk(content: Content, folder: Path, logged: Path) -> Known:
    """What offline folders have of a run: those of earlier publishing, and those that training left in `logged`."""
    ledger = read_json(folder / "ledger.json")
    if ledger is not None:
        curve, layers = ({int(n): value for n, value in ledger[part].items()} for part in ("curve", "responses"))
        return Known(curve, layers, ledger["digest"], ledger["folders"])
    if any(logged.glob(f"wandb/*run-*-{content.training.id}")):  # its curve is there, or at the server
        return Known({int(row[AXIS]): row["test_error"] for row in content.curve})
    return Known()


# ---- Sending ----


def _publish_one(folder: Path, api: Any) -> str:
    """Publish one training; returns what was done and what is left to be done by hand."""
    content, mode = read(folder), "offline" if api is None else "online"
    logged = RUNS / folder.relative_to(RESULTS)
    own = logged / "published"
    known = on_disk(content, own, logged) if api is None else on_server(api, content.training.id)
    what = f"{content.training.name} ({content.training.id})"
    curve = missing(content.curve, AXIS, "test_error", known.curve, what)
    layers = missing(content.responses, LAYER, STD, known.responses, what)
    if not curve and not layers and known.digest == content.digest:
        return "there already"
    if api is None:
        _drop_offline(own, known.folders)
    _send(content, [*curve, *layers], own, mode)
    if api is not None:  # what was to be synced is at the server now
        _drop_offline(own)
    _write_ledger(content, own)
    done = f"{len(curve)} points of its curve, {len(layers)} layer responses, summary"
    if api is None:
        return f"{done}; `wandb sync {own}/wandb/offline-run-*` sends it"
    left = list(logged.glob(f"wandb/offline-run-*-{content.training.id}"))
    return done + (f"; it is all there now: do not sync {left[0]} too" if left else "")


def _send(content: Content, rows: list[Row], folder: Path, mode: str) -> None:
    sink: Logger = wandb_logger.start(content.training, folder, mode)
    for row in rows:
        wandb_logger.point(sink, row)
    wandb_logger.close(sink, content.summary | {DIGEST: content.digest})


def _drop_offline(folder: Path, kept: Sequence[str] = ()) -> None:
    """Offline folders but the kept ones: else those of a publishing that was killed half-way would be synced too."""
    for path in folder.glob("wandb/offline-run-*"):
        if path.name not in kept:
            shutil.rmtree(path)


def _write_ledger(content: Content, folder: Path) -> None:
    """After the record is whole."""
    curve = {int(row[AXIS]): row["test_error"] for row in content.curve}
    layers = {int(row[LAYER]): row[STD] for row in content.responses}
    folders = sorted(path.name for path in folder.glob("wandb/offline-run-*"))
    write_json(folder / "ledger.json", asdict(Known(curve, layers, content.digest, folders)))
