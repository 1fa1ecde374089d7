"""What a person reads: progress as live bars on a terminal or as one line now and then in a log, and tables."""

import io
import math
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

LINE_SECONDS = 30.0
FIRST_SECONDS = 5.0  # of a training, until its first line


def duration(seconds: float | None) -> str:
    """3725 -> '1:02:05', None -> '-'."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"


def sentence(report: dict[str, Any]) -> str:
    """[1/4] cifar10-plain-20 seed 0: iteration 120/640, training error 45.1 %, test error -, 331 images/s, ETA 3:20."""
    speed = report["images_per_second"]
    parts = [
        f"{report['label']}: iteration {report['iteration']}/{report['iterations']}",
        f"training error {percent(report['train_error'])}",
        f"test error {percent(report['test_error'])}",
        f"{speed:,.0f} images/s" if speed else "- images/s",
        f"ETA {duration(report['eta_seconds'])}",
    ]
    return ", ".join(parts)


class Remaining:
    """How long the trainings of one command still take, together, from what this start of them has done so far.

    `work`: of each training, by its label; any unit, here layers x images x iterations.
    """

    def __init__(self, work: Mapping[str, float]):
        self.work = dict(work)
        self.began = time.monotonic()
        self.first: dict[str, float] = {}  # label -> share of its iterations that an earlier start had done
        self.now: dict[str, float] = {}

    def seconds(self, report: dict[str, Any]) -> float | None:
        """After one more report; None while nothing has been done."""
        label, share = report["label"], report["iteration"] / report["iterations"]
        self.now[label] = share
        if self.first.setdefault(label, share) == share == 0:
            return None
        done = sum(work * (self.now.get(label, 0) - self.first.get(label, 0)) for label, work in self.work.items())
        left = sum(work * (1 - self.now.get(label, 0)) for label, work in self.work.items())
        return (time.monotonic() - self.began) * left / done if done else None

    def sentence(self, report: dict[str, Any]) -> str:
        """`; all 4 trainings: ETA 3:20`, or nothing where there is one only."""
        seconds = self.seconds(report)
        return f"; all {len(self.work)} trainings: ETA {duration(seconds)}" if len(self.work) > 1 else ""


class Display:
    """Shows reports of one or several trainings (keyed by their label) on stderr: bars on a terminal, else lines."""

    def __init__(self, remaining: Remaining | None = None):
        self.remaining = remaining or Remaining({})
        self.bars = _bars(BarColumn(bar_width=20), TextColumn("{task.description}"))
        self.tasks: dict[str, TaskID] = {}
        self.logged: dict[str, tuple[float, int]] = {}  # label -> when, iteration

    def __enter__(self) -> "Display":
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def show(self, report: dict[str, Any]) -> None:
        text = sentence(report) + self.remaining.sentence(report)
        if self.bars.disable:
            self._line(report, text)
        else:
            self._bar(report, text)

    def _bar(self, report: dict[str, Any], text: str) -> None:
        label, made, total = report["label"], report["iteration"], report["iterations"]
        if label not in self.tasks:
            self.tasks[label] = self.bars.add_task(text, total=total)
        self.bars.update(self.tasks[label], completed=made, description=text, visible=made < total)

    def _line(self, report: dict[str, Any], text: str) -> None:
        label, now = report["label"], time.monotonic()
        when, iteration = self.logged.setdefault(label, (now - LINE_SECONDS + FIRST_SECONDS, -1))
        ended = report["iteration"] >= report["iterations"] > iteration
        if (now - when >= LINE_SECONDS and report["iteration"] != iteration) or ended:
            self.logged[label] = now, report["iteration"]
            log(text)


def _bars(*columns: ProgressColumn) -> Progress:
    """On stderr, gone when it stops; where that is no terminal rich only counts."""
    terminal = sys.stderr.isatty()
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not terminal, speed_estimate_period=math.inf)


def log(line: str) -> None:
    """One line to the person at the terminal; the results themselves go to files."""
    with suppress(OSError):  # a terminal or pipe that has gone is no reason to stop
        print(line, file=sys.stderr, flush=True)


@contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function to be called with how many more of `total` are done."""
    with _bars(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bars:
        bars.add_task(text, total=total)
        [task] = bars.tasks
        logged = time.monotonic()

        def advance(more: int) -> None:
            nonlocal logged
            bars.advance(task.id, more)
            if bars.disable and time.monotonic() - logged >= LINE_SECONDS:
                logged = time.monotonic()
                log(f"{text}: {task.completed:,.0f} of {total:,}, ETA {duration(task.time_remaining)}")

        yield advance


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = (), right: Collection[int] = ()) -> str:
    """Rows as columns of plain text, however wide; `right`: the numbers of the columns that are aligned so.

    Columns without content are left out.
    """
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=bool(head))
    columns = list(zip(*rows, strict=True))
    kept = [number for number, cells in enumerate(columns) if any(cells)]
    for number in kept:
        name = head[number] if head else ""
        made.add_column(name, justify="right" if number in right else "left", no_wrap=True)
    for row in rows:
        made.add_row(*(Text(row[number]) for number in kept))
    text = io.StringIO()
    Console(file=text, width=10_000, color_system=None).print(made)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
