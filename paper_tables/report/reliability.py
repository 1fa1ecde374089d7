"""What the tests of reliability reached, from results/bench/reliability.json, beside what was demanded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paper_tables.paper import UserError
from paper_tables.results import files
from paper_tables.tables.table import Table

COMMAND = "make test-reliability"
COLUMNS = ["test", "what", "reached", "demanded", "met"]
MARKERS = "<!-- reliability:begin -->", "<!-- reliability:end -->"


def block(root: Path) -> str:
    """The table as Markdown under the command that measured it. Raises UserError where its file is damaged."""
    path = root / "bench" / "reliability.json"
    try:
        return _text(files.read_json(path))
    except FileNotFoundError:
        return "Not run yet.\n"
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not what `{COMMAND}` writes ({files.one_line(error)}); run it again") from None


def _text(found: dict[str, Any]) -> str:
    counts = ", ".join(f"{n:,} {word}" for word, n in found["counts"].items())
    versions = found["versions"]
    head = f"`{COMMAND}` printed, on {found['device']}, {found['cores']} cores, torch {versions['torch']}, "
    head += f"lightning {versions['lightning']}: {counts} in {found['seconds'] / 60:.0f} minutes, "
    head += f"{found['examples']:,} examples of each property that is fuzzed."
    rows: list[list[str] | str] = [[*row[:4], "yes" if row[4] else "no"] for row in found["rows"]]
    return f"{head}\n\n{Table('reliability', '', COLUMNS, rows).markdown()}"
