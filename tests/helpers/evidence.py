"""The paper, and what the report makes of results in a folder."""

from pathlib import Path

from paper_tables.paper import load
from paper_tables.results import reader
from paper_tables.results.evidence import Evidence
from paper_tables.tables.measured import artefact_table
from paper_tables.tables.table import Table
from paper_tables.verdicts.cells import Judgement, judge
from paper_tables.verdicts.claims import Verdict, judge_claim

ROOT = Path(__file__).resolve().parents[2]
PAPER = load()
P20, P56, R20, R56 = (f"cifar10-{net}" for net in ("plain-20", "plain-56", "resnet-20", "resnet-56"))
R110, R1202, NO_WARMUP = "cifar10-resnet-110", "cifar10-resnet-1202", "cifar10-resnet-110-no-warmup"
FOUR = [P20, P56, R20, R56]


def evidence(root: Path, profile: str = "paper") -> Evidence:
    return Evidence(PAPER, reader.read(root, profile))


def table(name: str, root: Path, profile: str = "paper") -> Table:
    """An artefact's table, which it must have."""
    found = artefact_table(PAPER.artefacts[name], evidence(root, profile))
    assert found is not None
    return found


def row(found: Table, name: str) -> list[str]:
    return next(row for row in found.body() if row[0] == name)


def verdict(root: Path, identifier: str, profile: str = "paper") -> Verdict:
    """What became of the claim of that id."""
    claim = next(claim for claim in PAPER.claims if claim["id"] == identifier)
    return judge_claim(claim, evidence(root, profile))


def judged(root: Path, run: str, artefact: str = "table6", metric: str = "test_error") -> Judgement:
    """The artefact's cell of a run against the paper."""
    cell = next(c for c in PAPER.artefacts[artefact].cells() if (c.run, c.metric) == (run, metric))
    return judge(cell, evidence(root))
