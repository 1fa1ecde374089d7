"""The figures as numbers: what was read off the paper's curves, beside ours."""

from __future__ import annotations

from paper_tables.paper import Artefact
from paper_tables.results.evidence import Evidence
from paper_tables.results.published import publishers
from paper_tables.tables.published import with_publishers
from paper_tables.tables.table import NOT_RUN, Table
from paper_tables.verdicts.cells import judge, ours_text


def words_for(artefact: Artefact) -> dict[str, str]:
    """metric -> its name in a figure's table: Figure 4 has validation images where CIFAR-10 has test images."""
    return artefact.spec.get("words", {"train_error": "training error", "test_error": "test error"})


def reading_table(artefact: Artefact, evidence: Evidence) -> Table:
    """A figure's curves as numbers: the paper's readings beside ours."""
    if artefact.spec["figure"] == "responses":
        return response_table(artefact, evidence)
    names = words_for(artefact)
    columns = ["net", *(f"{names[m]} (%) · {who}" for m in names for who in ("paper", "ours"))]
    judged = {(c.run, c.metric): judge(c, evidence) for c in artefact.readings}
    rows: list[list[str] | str] = []
    runs = list(dict.fromkeys(run for run, _ in judged))
    for run in runs:
        pairs = [judged[run, metric] for metric in names]
        row = [pairs[0].cell.label]
        for judgement in pairs:
            pm = f" ± {judgement.cell.pm:g}" if judgement.cell.pm else ""
            row += [judgement.cell.printed + pm, ours_text(judgement, evidence)]
        rows.append(row)
    note = "End of training. The paper does not print these values: they are read off the figure, ± the reading."
    ours = frozenset(range(2, len(columns), 2))
    links = {(i, j): run for i, run in enumerate(runs) for j in ours if evidence.trainings(run)}
    table = Table(artefact.name, artefact.caption, columns, rows, ours, [note], links=links)
    return with_publishers(table, runs, names, evidence)


def response_table(artefact: Artefact, evidence: Evidence) -> Table:
    """Responses sorted by size: std at some ranks, the paper's reading / ours."""
    readings = artefact.spec["sorted_readings"]
    ranks = sorted({rank for values in readings.values() for rank in values})
    rows: list[list[str] | str] = []
    for run, values in readings.items():
        ours = sorted_responses(evidence, run)
        measured = {rank: f"{ours[rank - 1]:.2f}" if rank <= len(ours) else NOT_RUN for rank in values}
        for who, found in (("paper", values), ("ours", measured)):
            rows.append([evidence.paper.label(run), who, *(found.get(rank, "") for rank in ranks)])
        for publisher, nets in publishers(evidence).items():
            if stds := sorted_responses(nets, run):
                at = {rank: f"{stds[rank - 1]:.2f}" for rank in values if rank <= len(stds)}
                rows.append([evidence.paper.label(run), publisher, *(at.get(rank, "") for rank in ranks)])
    note = f"Std at that rank, sorted by size. The paper's values are read off the figure (± {artefact.spec['pm']})."
    return Table(artefact.name, artefact.caption, ["net", "", *(f"rank {r}" for r in ranks)], rows, frozenset(), [note])


def sorted_responses(evidence: Evidence, run: str) -> list[float]:
    """Std of the layers' responses, descending, mean over seeds rank by rank; empty where not measured."""
    return _mean_by_place([sorted(stds, reverse=True) for stds in _responses(evidence, run)])


def layer_responses(evidence: Evidence, run: str) -> list[float]:
    """Std of the layers' responses in layer order, mean over seeds; empty where not measured."""
    return _mean_by_place(_responses(evidence, run))


def _responses(evidence: Evidence, run: str) -> list[list[float]]:
    return [s.responses["std"].tolist() for s in evidence.trainings(run) if s.responses is not None]


def _mean_by_place(rows: list[list[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*rows, strict=False)]
