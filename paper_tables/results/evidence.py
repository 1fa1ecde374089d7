"""A paper and the results of one profile: what every number, verdict, table and figure is made from."""

from __future__ import annotations

from dataclasses import dataclass

from paper_tables.paper import Paper
from paper_tables.results.reader import Results, RunResult


@dataclass(frozen=True)
class Evidence:
    paper: Paper
    results: Results

    def trainings(self, run: str) -> list[RunResult]:
        """The finished seeds of a run; empty where it was not trained, or is no run of ours."""
        return self.results.runs.get(run, [])
