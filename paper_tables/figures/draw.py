"""Draws each figure in the paper's form, once, and saves it as .svg, .png and .pdf with fixed bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from paper_tables.figures import building_blocks, curves, network_columns, responses, shortcut_options
from paper_tables.figures.canvas import Drawing
from paper_tables.io import write
from paper_tables.paper import Artefact
from paper_tables.results.evidence import Evidence

STYLE = Path(__file__).with_name("style.mplstyle")
PAINTERS = {  # `figure` of an artefact -> what draws it
    "curves": curves.paint,
    "responses": responses.paint,
    "options": shortcut_options.paint,
    "architectures": network_columns.paint,
    "blocks": building_blocks.paint,
}
SIZES = re.compile(
    r"(font|axes|lines|patch|grid|[xy]tick|figure.constrained_layout|legend)"
    r"[._](.*(size|width|label_?pad|titlepad|major.pad|minor.pad|[hw]_pad))|font.size"
)
# PDF needs its keys set to None to leave the dates out; the others name a default that would carry a version or a date.
METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def draw(artefact: Artefact, evidence: Evidence, stem: Path, formats: Iterable[str] = tuple(METADATA)) -> Drawing:
    """Writes <stem>.svg, .png and .pdf (or the named formats) at the width in the paper and says what they show."""
    spec = artefact.spec
    scale = float(spec["printed"]) / float(spec["size"][0]) if "printed" in spec else 1.0
    with matplotlib.rc_context(style(scale)):
        figure, drawing = PAINTERS[spec["figure"]](artefact, evidence)
        width, height = map(float, figure.get_size_inches())
        figure.set_size_inches(width * scale, height * scale)
        save(figure, stem, formats)
    return replace(drawing, size=(width, height))


@lru_cache
def style(scale: float) -> dict[Any, Any]:
    """style.mplstyle, with fonts, lines, ticks and paddings `scale` times as large."""
    given: dict[Any, Any] = dict(matplotlib.rc_params_from_file(STYLE, use_default_template=False))
    values = {**matplotlib.rcParamsDefault, **given}.items()
    return given | {k: v * scale for k, v in values if isinstance(v, float) and SIZES.fullmatch(k)}


def save(figure: Figure, stem: Path, formats: Iterable[str]) -> None:
    """The figure in the named formats, laid out for the first of them; each file whole or not at all."""
    for suffix in formats:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata=METADATA[suffix])
        figure.set_layout_engine(None)
        write(stem.with_suffix(f".{suffix}"), buffer.getvalue())
