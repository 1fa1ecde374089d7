"""Two sets of results side by side: the points that the curves of the same run and seed have in common."""

from __future__ import annotations

import pandas as pd

from paper_tables.results import Results
from paper_tables.table import Table


def compare(a: Results, b: Results) -> Table:
    """Training and test error (%) of each common run, seed and iteration; B - A of the training error."""
    rows: list[list[str] | str] = []
    for run, seeds in a.seeds.items():
        for one in seeds:
            for other in (s for s in b.seeds.get(run, []) if s.seed == one.seed):
                if one.curve is not None and other.curve is not None:
                    common = one.curve.merge(other.curve, on="iteration", suffixes=("_a", "_b"))
                    rows += [_row(f"{run} seed {one.seed}", point) for _, point in common.iterrows()]
    columns = ["run", "iteration", "training error A", "training error B", "B - A", "test error A", "test error B"]
    return Table("compare", f"A: {_conditions(a)}; B: {_conditions(b)}", columns, rows)


def _row(label: str, point: pd.Series) -> list[str]:
    train, test = (point["train_error_a"], point["train_error_b"]), (point["test_error_a"], point["test_error_b"])
    numbers = [*train, train[1] - train[0], *test]
    cells = [f"{number:+.2f}" if i == 2 else f"{number:.2f}" for i, number in enumerate(numbers)]
    return [label, str(int(point["iteration"])), *cells]


def _conditions(results: Results) -> str:
    precisions = sorted({str(seed.provenance["precision"]) for seed in results.all_seeds})
    return f"`{results.profile}` ({', '.join(precisions) or 'nothing run'})"
