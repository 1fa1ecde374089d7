"""Draws each figure in the paper's form, once, and saves it as .svg, .png and .pdf with fixed bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import Op, PdfFile, RendererPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
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
# PDF needs its keys set to None to leave the dates out; the others name a default that would carry a version or a date.
METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def _png(figure: Figure, file: io.BytesIO, scale: float) -> None:
    dpi = float(plt.rcParams["savefig.dpi"])
    figure.set_dpi(dpi * scale)
    FigureCanvasAgg(figure).print_png(file, metadata=METADATA["png"], pil_kwargs={"dpi": (dpi, dpi)})


def _svg(figure: Figure, file: io.BytesIO, scale: float) -> None:
    """The drawing, of which only the size on paper is scaled."""
    whole = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(whole, metadata=METADATA["svg"])
    head, mark, rest = whole.getvalue().partition(b"viewBox")
    smaller = re.sub(rb'"([\d.]+)pt"', lambda m: b'"%.6gpt"' % (float(m[1]) * scale), head)
    file.write(smaller + mark + rest)


def _pdf(figure: Figure, file: io.BytesIO, scale: float) -> None:
    """As matplotlib's print_pdf, on a scaled page: fonts and lines shrink with everything else."""
    figure.set_dpi(72)  # points
    width, height = figure.get_size_inches()
    pdf = PdfFile(file, metadata=METADATA["pdf"])
    pdf.newPage(width * scale, height * scale)
    pdf.output(scale, 0, 0, scale, 0, 0, Op.concat_matrix)
    renderer = RendererPdf(pdf, 72, height, width)
    figure.draw(renderer)
    renderer.finalize()
    pdf.finalize()


# Each backend is called directly: `savefig` would draw everything a second time for each format.
WRITERS = {"svg": _svg, "pdf": _pdf, "png": _png}


def draw(artefact: Artefact, evidence: Evidence, stem: Path, formats: Iterable[str] = tuple(METADATA)) -> Drawing:
    """Writes <stem>.svg, .png and .pdf (or the named formats) at the width in the paper and says what they show."""
    with plt.style.context(str(STYLE)):
        figure, drawing = PAINTERS[artefact.spec["figure"]](artefact, evidence)
        width, height = figure.get_size_inches()
        save(figure, stem, formats, scale=float(artefact.spec.get("printed", width)) / float(width))
    return replace(drawing, size=(float(width), float(height)))


def save(figure: Figure, stem: Path, formats: Iterable[str] = tuple(METADATA), scale: float = 1.0) -> None:
    """The figure in the named formats (all), `scale` times as large; each file whole or not at all."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)  # once for all formats
    figure.set_layout_engine("none")
    for suffix in formats:
        buffer = io.BytesIO()
        WRITERS[suffix](figure, buffer, scale)
        write(stem.with_suffix(f".{suffix}"), buffer.getvalue())
    plt.close(figure)
