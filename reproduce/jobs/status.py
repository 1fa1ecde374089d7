"""How far the runs are, read from files alone: results/, and progress.json, lock and error.txt below runs/.

So it works while trainings run, and from another machine that sees the same folders. A run counts as running while its
progress or its lock was written in the last STALE_SECONDS (and, on this machine, its process lives).
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from reproduce.config.run import RESULTS, Run
from reproduce.jobs import lock
from reproduce.utils.console import duration, percent
from reproduce.utils.distributed import is_alive

STALE_SECONDS = 120.0
WORDS = ("done", "running", "interrupted", "failed", "not run")


@dataclass(frozen=True)
class State:
    """A run as its files show it. Hours are device-hours: those of the training times its processes."""

    run: Run
    word: str  # one of WORDS
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
    origin, metrics = (v if isinstance(v := result.get(key), dict) else {} for key in ("provenance", "metrics"))
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


def _begun(run: Run, word: str, progress: dict[str, Any], reason: str = "") -> State:
    iteration, devices = int(_number(progress, "iteration") or 0), _number(progress, "devices") or 1
    hours, eta = _number(progress, "hours"), _number(progress, "eta_seconds")
    spent = 0.0 if not progress else None if hours is None else hours * devices
    to_go = None if eta is None else eta / 3600 * devices
    if word != "running":
        left = run.config.train.iterations - iteration
        to_go = None if not spent or not iteration else spent / iteration * left
    errors = _number(progress, "train_error"), _number(progress, "test_error")
    return State(run, word, iteration, *errors, eta=eta, spent=spent, to_go=to_go, reason=reason)


def with_estimate(one: State, others: Sequence[State]) -> State:
    """Hours to go of a run that has none of its own: by multiply-adds, from other runs of the same data."""
    work = _work(one.run)
    if one.to_go is not None or not work:
        return one
    data_set = one.run.config.data.name
    measured = [
        (other.spent, all_of * other.iteration / other.run.config.train.iterations)
        for other in others
        if other.run.config.data.name == data_set and other.spent and other.iteration and (all_of := _work(other.run))
    ]
    if not measured:
        return one
    left = 1 - one.iteration / one.run.config.train.iterations
    speed = sum(work for _, work in measured) / sum(hours for hours, _ in measured)
    return replace(one, to_go=work * left / speed)


def _work(run: Run) -> float | None:
    """Multiply-adds of a training's images, None for a net that results/architectures.json does not count."""
    nets, train = _architectures(str(RESULTS.absolute())), run.config.train
    # The name of a variant begins with that of its net: cifar10-resnet-110-no-warmup.
    name = max((name for name in nets if run.name == name or run.name.startswith(f"{name}-")), key=len, default="")
    each = _number(nets[name], "multiply_adds") if isinstance(nets.get(name), dict) else None
    return None if each is None else each * train.batch_size * train.iterations


@cache
def _architectures(results: str) -> dict[str, Any]:
    return _json(Path(results) / "architectures.json") or {}


# ---- Files ----


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


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


# ---- Words ----

HEAD = ["run", "seed", "state", "iteration", "training error", "test error", "ETA", "hours", "to go", ""]


def row(one: State) -> list[str]:
    iterations = one.run.config.train.iterations
    at = f"{one.iteration:,} of {iterations:,}" if one.word != "not run" else f"{iterations:,}"
    eta = duration(one.eta) if one.word == "running" else ""
    spent, to_go = hours(one.spent), hours(one.to_go) if one.word != "done" else ""
    errors = [percent(value) if value is not None else "" for value in (one.train_error, one.test_error)]
    again = "the same command continues" if one.word == "interrupted" else one.reason
    return [one.run.name, str(one.run.seed), one.word, at, *errors, eta, spent, to_go, again]


def hours(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:.2f}" if value else ""


def totals(found: Sequence[State]) -> str:
    """done 4, running 1, ...; hours spent and to go in one line."""
    counts = Counter(one.word for one in found)
    words = ", ".join(f"{word} {counts[word]}" for word in WORDS if counts[word])
    unknown = sum(one.to_go is None for one in found)
    to_go = f"{sum(one.to_go or 0 for one in found):.2f} to go"
    to_go += f" and {unknown} runs of which nothing is known yet (make plan times a few steps)" if unknown else ""
    return f"{words}. {unit(found)}: {sum(one.spent or 0 for one in found):.2f} spent, {to_go}."


def unit(found: Sequence[State]) -> str:
    """GPU-hours, unless some of it ran on a CPU."""
    return "Device-hours" if any("CPU" in one.device for one in found) else "GPU-hours"


def text(found: Sequence[State]) -> str:
    """A table for a terminal; columns without content are left out."""
    rows = [HEAD, *map(row, found)]
    kept = [i for i in range(len(HEAD)) if any(cells[i] for cells in rows[1:])]
    widths = {i: max(len(cells[i]) for cells in rows) for i in kept}
    lines = ["  ".join(cells[i].ljust(widths[i]) for i in kept).rstrip() for cells in rows]
    return "\n".join([*lines, "", totals(found)])


STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1c2024; --soft: #5b6570; --line: #d9dde2;
  --done: #14703a; --running: #0b5cad; --failed: #a61b1b; --interrupted: #7a4b00; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --ink: #e6e9ec; --soft: #a3adb7; --line: #343b43;
  --done: #7fd6a0; --running: #79b8ff; --failed: #ff9c9c; --interrupted: #ffd479; } }
body { margin: 0 auto; max-width: 1400px; padding: 1rem clamp(0.8rem, 3vw, 2.5rem);
  background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
p { color: var(--soft); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 0.4rem 0.7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
td:last-child { white-space: normal; min-width: 12rem; }
.bar { display: block; height: 0.25rem; min-width: 5rem; border-radius: 2px; background: var(--line); }
.bar span { display: block; height: 100%; border-radius: 2px; background: currentColor; }
.done { color: var(--done); } .running { color: var(--running); }
.failed { color: var(--failed); } .interrupted { color: var(--interrupted); }
.not-run { color: var(--soft); }
@media print { .scroll { overflow: visible; border: 0; } table { font-size: 7.5pt; } td, th { white-space: normal; } }
"""


def page(found: Sequence[State], profile: str, now: float) -> str:
    """HTML; `now` in seconds since 1970 stands on it."""
    when = datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    head = "".join(f'<th scope="col">{escape(name) or "note"}</th>' for name in HEAD)
    body = "\n".join(map(_row, found))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Runs of profile {escape(profile)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Runs of profile {escape(profile)}</h1>
<p>{escape(totals(found))}</p>
<p>As of {when}; <code>make status</code> writes this page anew.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Runs">
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
</div>
</body>
</html>
"""


def _row(one: State) -> str:
    cells = [escape(cell) for cell in row(one)]
    kind = one.word.replace(" ", "-")
    share = min(1.0, one.iteration / one.run.config.train.iterations)
    cells[2] = f'<strong class="{kind}">{cells[2]}</strong>'
    cells[3] += f'<span class="bar {kind}" aria-hidden="true"><span style="width: {100 * share:.1f}%"></span></span>'
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
