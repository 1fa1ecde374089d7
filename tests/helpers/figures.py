"""The figures that the tests of reliability reach, beside those demanded: a table at the end of pytest's output.

`make test-reliability` (RELIABILITY=record) also writes it to results/bench/reliability.json, for docs/reliability.md.

A test records one with the fixture `figure`; conftest.py takes both names from here.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from benchmarks.results import write_bench
from paper_tables.io import in_columns
from reproduce.utils.errors import UserError

# The same examples every time in `make test`; more of them, and others, in `make test-reliability`.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "20"))
FUZZ = settings(
    deadline=None,
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 20,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Figure = Callable[..., None]
NAME = "figure"
BEGAN = time.time()


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """figure("T3", "kill -9", reached="20 of 20 identical", demanded="20 of 20")."""

    def record(test: str, what: str, *, reached: object, demanded: object) -> None:
        record_property(NAME, (test, what, str(reached), str(demanded)))

    return record


def refusal(load: Callable[[], object]) -> str | None:
    """The message with which something is refused, None where it is taken. Any other exception is a fault."""
    try:
        load()
    except UserError as error:
        return str(error)
    return None


def rows(reports: list[Any]) -> list[tuple[str, ...]]:
    """(test, what, reached, demanded, met) of all reports, T2 before T10; repeated lines once."""
    found = {
        (*value, "yes" if report.passed else "no")
        for report in reports
        for name, value in report.user_properties
        if name == NAME
    }
    return sorted(found, key=lambda row: (int("".join(filter(str.isdigit, row[0])) or 0), row))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    stats = terminalreporter.stats
    reports = [r for kind in ("passed", "failed") for r in stats.get(kind, []) if r.when == "call"]
    if found := rows(reports):
        terminalreporter.section("reliability: figures reached and demanded")
        terminalreporter.write_line(in_columns([("test", "what", "reached", "demanded", "met"), *found]))
        if os.environ.get("RELIABILITY") == "record":
            counts = {kind: len(stats[kind]) for kind in ("passed", "failed", "error", "skipped") if stats.get(kind)}
            taken = {"rows": [[*row[:4], row[4] == "yes"] for row in found], "counts": counts, "examples": EXAMPLES}
            write_bench("reliability", torch.device("cpu"), taken | {"seconds": round(time.time() - BEGAN)})
