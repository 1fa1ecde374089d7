"""Files are written whole or not at all; columns are printed whole wherever there is no terminal to fold them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path


def write(path: Path, content: bytes | str) -> None:
    """Written beside its target and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    part.replace(path)


def in_columns(rows: Iterable[Sequence[str]]) -> str:
    """Rows as columns of plain text: folded to the width of a terminal, never cut off."""
    from rich.console import Console
    from rich.table import Column, Table

    rows = list(rows)
    table = Table.grid(*(Column(overflow="fold") for _ in (rows or [()])[0]), padding=(0, 2))
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 10_000  # wider than any row
    console = Console(width=width, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
