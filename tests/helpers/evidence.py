"""The paper, and results read from a folder as the report reads them."""

from pathlib import Path

from paper_tables import results
from paper_tables.evidence import Evidence
from paper_tables.paper import load
from paper_tables.table import Table
from paper_tables.tables import artefact_table

PAPER = load()


def evidence(root: Path, profile: str = "paper") -> Evidence:
    return Evidence(PAPER, results.read(root, profile))


def table(name: str, found: Evidence) -> Table:
    """An artefact's table, which it must have."""
    made = artefact_table(found.paper.find(name), found)
    assert made is not None
    return made
