"""Files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path


def write(path: Path, content: bytes | str) -> None:
    """Written beside its target and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    part.replace(path)
