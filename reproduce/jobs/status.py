"""How far the runs are, read from files alone: results/, and progress.json, lock and error.txt below runs/.

So it works while trainings run, and from another machine that sees the same folders. A run counts as running while its
progress or its lock was written in the last STALE_SECONDS (and, on this machine, its process lives).
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from reproduce.config.run import RESULTS, Run
from reproduce.jobs import lock
from reproduce.utils.console import duration, percent, table
from reproduce.utils.errors import UserError
from reproduce.utils.files import read_json
from reproduce.utils.signals import is_alive

STALE_SECONDS = 120.0
STATES = ("done", "running", "interrupted", "failed", "not run")


@dataclass(frozen=True)
class State:
    """A run as its files show it. Hours are device-hours: those of the training times its processes."""

    run: Run
    name: str  # one of STATES
    iteration: int = 0
    train_error: float | None = None  # percent
    test_error: float | None = None
    eta: float | None = None  # seconds
    spent: float | None = 0.0  # hours; None: its files do not say
    to_go: float | None = 0.0
    device: str = ""
    reason: str = ""  # why it failed, one line


def states(runs: Sequence[Run], now: float | None = None) -> list[State]:
    """One state a run; `now` in seconds since 1970. How long a run takes that has not begun, the others tell."""
    found = [state(run, time.time() if now is None else now) for run in runs]
    return [with_estimate(one, found) for one in found]


def state(run: Run, now: float) -> State:
    result = _json(run.results / "result.json")
    if result:
        return _done(run, result)
    folder = run.workdir
    progress = _json(folder / "progress.json") or {}
    failed, seen = _modified(folder / "error.txt"), max(_number(progress, "updated") or 0.0, _modified(folder / "lock"))
    if failed and failed >= (_number(progress, "updated") or 0.0):
        return _begun(run, "failed", progress, last_line(folder / "error.txt"))
    if now - seen < STALE_SECONDS and _lives(folder):
        return _begun(run, "running", progress)
    return _begun(run, "interrupted", progress) if progress else State(run, "not run", spent=0.0, to_go=None)


def _done(run: Run, result: dict[str, Any]) -> State:
    origin, metrics = result.get("provenance", {}), result.get("metrics", {})
    hours, processes = _number(origin, "hours"), _number(origin, "processes") or 1
    return State(
        run,
        "done",
        iteration=int(_number(result, "iterations") or 0),
        train_error=_number(metrics, "train_error"),
        test_error=_number(metrics, "test_error"),
        spent=None if hours is None else hours * processes,
        device=str(origin.get("device", "")),
    )


def _begun(run: Run, name: str, progress: dict[str, Any], reason: str = "") -> State:
    iteration, devices = int(_number(progress, "iteration") or 0), _number(progress, "devices") or 1
    hours, eta = _number(progress, "hours"), _number(progress, "eta_seconds")
    spent = 0.0 if not progress else None if hours is None else hours * devices
    to_go = None if eta is None else eta / 3600 * devices
    if name != "running":
        left = run.config.train.iterations - iteration
        to_go = None if not spent or not iteration else spent / iteration * left
    errors = _number(progress, "train_error"), _number(progress, "test_error")
    return State(run, name, iteration, *errors, eta=eta, spent=spent, to_go=to_go, reason=reason)


def with_estimate(one: State, others: Sequence[State]) -> State:
    """Hours to go of a run that has none of its own: by multiply-adds, from other runs of the same data."""
    work, data_set = _work(one.run), one.run.config.data.name
    if one.to_go is not None or not work:
        return one
    measured = [
        (other.spent, all_of * _part(other))
        for other in others
        if other.run.config.data.name == data_set and other.spent and other.iteration and (all_of := _work(other.run))
    ]
    if not measured:
        return one
    speed = sum(work for _, work in measured) / sum(hours for hours, _ in measured)
    return replace(one, to_go=work * (1 - _part(one)) / speed)


def _part(one: State) -> float:
    """How much of a training has been done."""
    return min(1.0, one.iteration / one.run.config.train.iterations)


def _work(run: Run) -> float | None:
    """Multiply-adds of a training's images, None for a net that results/architectures.json does not count."""
    net, train = (run.config.data.paper_size, run.config.model.depth, run.config.model.shortcut), run.config.train
    each = _multiply_adds(RESULTS.absolute()).get(net)
    return None if each is None else each * train.batch_size * train.iterations


@cache
def _multiply_adds(results: Path) -> dict[tuple[int, int, str], float]:
    """Of the nets that are counted, by the side of their images, layers and shortcut."""
    nets = (_json(results / "architectures.json") or {}).values()
    return {(net["input"], net["layers"], net["shortcut"]): net["multiply_adds"] for net in nets}


# ---- Files ----


def _json(path: Path) -> dict[str, Any] | None:
    """None for a file that is not there, or is broken."""
    try:
        return read_json(path)
    except (OSError, UserError):
        return None


def _number(values: dict[str, Any], key: str) -> float | None:
    value = values.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _modified(path: Path) -> float:
    """Seconds since 1970, 0 for a file that is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def last_line(path: Path) -> str:
    """What went wrong, from the end of a traceback."""
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip()[:200] if lines else ""


def _lives(folder: Path) -> bool:
    """Whether someone holds the folder: on this machine a process that is there; another's is judged by its age."""
    if not (folder / "lock").exists():
        return True  # nothing is known of its owner
    owner = lock.holder(folder)
    return owner is not None and (owner.host != lock.me().host or is_alive(owner.pid))


# ---- Text ----

HEAD = ["run", "seed", "state", "iteration", "training error", "test error", "ETA", "hours", "to go", ""]


def row(one: State) -> list[str]:
    iterations = one.run.config.train.iterations
    at = f"{one.iteration:,} of {iterations:,}" if one.name != "not run" else f"{iterations:,}"
    eta = duration(one.eta) if one.name == "running" else ""
    spent, to_go = hours(one.spent), hours(one.to_go) if one.name != "done" else ""
    errors = [percent(value) if value is not None else "" for value in (one.train_error, one.test_error)]
    again = "the same command continues" if one.name == "interrupted" else one.reason
    return [one.run.name, str(one.run.seed), one.name, at, *errors, eta, spent, to_go, again]


def hours(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:.2f}" if value else ""


def totals(found: Sequence[State]) -> str:
    """done 4, running 1, ...; hours spent and to go in one line."""
    counts = Counter(one.name for one in found)
    states = ", ".join(f"{name} {counts[name]}" for name in STATES if counts[name])
    unknown = sum(one.to_go is None for one in found)
    to_go = f"{sum(one.to_go or 0 for one in found):.2f} to go"
    to_go += f" and {unknown} runs of which nothing is known yet (make plan times a few steps)" if unknown else ""
    return f"{states}. {unit(found)}: {sum(one.spent or 0 for one in found):.2f} spent, {to_go}."


def unit(found: Sequence[State]) -> str:
    """GPU-hours, unless some of it ran on a CPU."""
    return "Device-hours" if any("CPU" in one.device for one in found) else "GPU-hours"


def text(found: Sequence[State]) -> str:
    """A table for a terminal."""
    return f"{table([row(one) for one in found], HEAD)}\n\n{totals(found)}"


def page(found: Sequence[State], profile: str, now: float) -> str:
    """The table as HTML (status.html); `now` in seconds since 1970 stands on it."""
    when = datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    rows = [(row(one), f"{100 * _part(one):.1f}") for one in found]
    template = jinja2.Template(Path(__file__).with_name("status.html").read_text(encoding="utf-8"), autoescape=True)
    return template.render(profile=profile, totals=totals(found), when=when, head=HEAD, rows=rows)
