"""A paper and the results of one profile: what every number, verdict, table and figure is made from."""

from __future__ import annotations

from dataclasses import dataclass

from paper_tables.paper import Paper
from paper_tables.results.reader import Results, RunResult


@dataclass(frozen=True)
class Evidence:
    paper: Paper
    results: Results
    source: str = ""  # where the numbers come from, if not from trainings of a profile

    def trainings(self, run: str) -> list[RunResult]:
        """The finished seeds of a run; empty where it was not trained, or is no run of ours."""
        return self.results.runs.get(run, [])

    @property
    def other_runs(self) -> list[str]:
        """The runs that have results of any kind and that the paper does not name."""
        found = {**self.results.runs, **self.results.unfinished, **self.results.refused}
        return sorted(run for run in found if run not in self.paper.runs)
