"""How far a long command is: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 30.0


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
