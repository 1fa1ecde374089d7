"""Files of a test in the place of published ones."""

import hashlib
from pathlib import Path

import pytest

from reproduce.evaluation import published, sources


def publish(monkeypatch: pytest.MonkeyPatch, name: str, path: Path) -> sources.Source:
    """The published net of that name, as if `path` were its file."""
    table = sources.sources()
    source = table[name].model_copy(update={"sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    for module in (sources, published):
        monkeypatch.setattr(module, "sources", lambda: table | {name: source})
    return source
