"""Progress for a person: live bars on a terminal, one line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

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
    """Shows reports of one or several trainings (keyed by their label) on stderr."""

    def __init__(self, remaining: Remaining | None = None):
        self.remaining = remaining or Remaining({})
        self.console = Console(stderr=True)
        self.bars: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        self.told: dict[str, tuple[float, int]] = {}  # label -> when, iteration

    def __enter__(self) -> "Display":
        if sys.stderr.isatty():
            columns = (BarColumn(bar_width=20), TextColumn("{task.description}"))
            self.bars = Progress(*columns, console=self.console, transient=True)
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bars:
            self.bars.stop()

    def show(self, report: dict[str, Any]) -> None:
        if self.bars:
            self._bar(self.bars, report)
        else:
            self._line(report)

    def _bar(self, bars: Progress, report: dict[str, Any]) -> None:
        label, text = report["label"], sentence(report) + self.remaining.sentence(report)
        if label not in self.tasks:
            self.tasks[label] = bars.add_task(text, total=report["iterations"])
        bars.update(self.tasks[label], completed=report["iteration"], description=text)
        if report["iteration"] >= report["iterations"]:
            bars.update(self.tasks[label], visible=False)

    def _line(self, report: dict[str, Any]) -> None:
        label, now = report["label"], time.monotonic()
        together = self.remaining.sentence(report)
        when, iteration = self.told.setdefault(label, (now - LINE_SECONDS + FIRST_SECONDS, -1))
        ended = report["iteration"] >= report["iterations"] > iteration
        if (now - when >= LINE_SECONDS and report["iteration"] != iteration) or ended:
            self.told[label] = now, report["iteration"]
            log(sentence(report) + together)


def log(line: str) -> None:
    """One line to the person at the terminal; the results themselves go to files."""
    with suppress(OSError):  # a terminal or pipe that has gone is no reason to stop
        print(line, file=sys.stderr, flush=True)


@contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function to be told how many more of `total` are done."""
    if sys.stderr.isatty():
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(text, total=total)
            yield lambda more: bars.advance(task, more)
    else:
        yield _lines(text, total)


def _lines(text: str, total: int) -> Callable[[int], None]:
    began = told = time.monotonic()
    done = 0

    def advance(more: int) -> None:
        nonlocal told, done
        now, done = time.monotonic(), done + more
        if now - told >= LINE_SECONDS and done:
            told = now
            left = timedelta(seconds=round((now - began) * (total - done) / done))
            print(f"{text}: {done:,} of {total:,}, ETA {left}", file=sys.stderr, flush=True)

    return advance
