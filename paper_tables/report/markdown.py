"""Generated blocks of a Markdown file: each stands between two markers."""

from __future__ import annotations

from pathlib import Path

from paper_tables.paper import UserError


def update_readme(path: Path, blocks: dict[tuple[str, str], str], check: bool) -> bool:
    """Puts each block between its two markers, where they are; returns whether all of it was there already.

    Raises UserError.
    """
    try:
        old = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({type(error).__name__})") from None
    wanted = {markers: block for markers, block in blocks.items() if all(marker in old for marker in markers)}
    for begin, end in wanted:
        if old.count(begin) != 1 or old.count(end) != 1 or old.index(end) < old.index(begin):
            raise UserError(f"{path}: {begin} and {end} must stand there once each, in this order")
    if not wanted:
        pairs = " or ".join(f"{begin} and {end}" for begin, end in blocks)
        raise UserError(f"{path}: needs the lines {pairs} around what is generated")
    new = old
    for (begin, end), block in wanted.items():
        before, _, rest = new.partition(begin)
        new = f"{before}{begin}\n{block}{end}{rest.partition(end)[2]}"
    if new != old and not check:
        path.write_bytes(new.encode("utf-8"))
    return new == old
