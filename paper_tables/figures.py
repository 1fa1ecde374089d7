"""Draws the figures in the paper's form, each once; saves .svg, .png and .pdf with fixed bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import Op, PdfFile, RendererPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_tables.measure import Conditions, conditions_of
from paper_tables.palette import PALETTES
from paper_tables.registry import Artefact, Registry
from paper_tables.results import Results, Seed
from paper_tables.tested import how_tested

STYLE = Path(__file__).with_name("style.mplstyle")
SCREEN = 96.0  # pixels of the page per inch of a figure
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


@dataclass(frozen=True)
class Drawing:
    """What the page says about a figure: a text for the image, what its marks are, how it differs from the paper's."""

    alt: str
    notes: list[str]
    marks: str = ""
    size: tuple[float, float] = (0, 0)  # inches, as drawn

    @property
    def pixels(self) -> tuple[int, int]:
        """On a screen, where the size on paper would be small."""
        return int(self.size[0] * SCREEN), int(self.size[1] * SCREEN)

    @property
    def shape(self) -> str:
        """wide and tall figures scroll on a narrow screen."""
        return "wide" if self.pixels[0] > 1150 else "tall" if self.pixels[1] > 1150 else ""


def draw(artefact: Artefact, results: Results, registry: Registry, folder: Path) -> Drawing:
    """Writes <folder>/<name>.svg, .png and .pdf and says what they show."""
    from paper_tables import blocks, columns, curves, options, responses

    painters = {"curves": curves.paint, "responses": responses.paint, "options": options.paint}
    painter = (painters | {"architectures": columns.paint, "blocks": blocks.paint})[artefact.spec["figure"]]
    with plt.style.context(str(STYLE)):
        figure, drawing = painter(artefact, results, registry)
        width, height = figure.get_size_inches()
        save(figure, folder / artefact.name, scale=float(artefact.spec.get("printed", width)) / float(width))
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


def write(path: Path, content: bytes | str) -> None:
    """Written beside its target and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    part.replace(path)


def colour(run: str, registry: Registry) -> str:
    return PALETTES[registry.palette][registry.nets[run]["colour"]]


def conditions(seeds: list[Seed], registry: Registry, metric: str, protocol: str | None = None) -> Conditions | None:
    """What lay behind the numbers `metric` that a figure shows."""
    return conditions_of(seeds, registry, how_tested(seeds, registry, metric, protocol)) if seeds else None


def paper_alpha(results: Results) -> float:
    """The paper's marks belong to official data at full length: lighter anywhere else."""
    return 1.0 if results.profile == "paper" else 0.5


def paper_words(results: Results, length: int) -> str:
    """What a hollow mark is; `length` is the paper's training in iterations."""
    if results.profile == "paper":
        return "paper (read off the figure)"
    return f"paper, official data,\n{length // 1000}k iterations (read off the figure)"


def marks_words(results: Results, length: int) -> str:
    """The same as a sentence of the page."""
    where = "" if results.profile == "paper" else f" (official data, {length:,} iterations)"
    return f"Hollow marks: values read off the paper's figure{where}."


def paper_handle(results: Results, length: int, marker: str = "o") -> Line2D:
    style: dict[str, Any] = {"color": "#555555", "alpha": paper_alpha(results), "markerfacecolor": "white"}
    return Line2D([], [], linestyle="none", marker=marker, markersize=5, label=paper_words(results, length), **style)


def mark(axes: Axes, x: float, y: float, pm: float, tint: str, results: Results, marker: str = "o") -> None:
    """A hollow mark: a value read off the paper's figure, with the uncertainty of the reading."""
    axes.errorbar(
        x,
        y,
        yerr=pm or None,
        marker=marker,
        markersize=5,
        markerfacecolor="white",
        color=tint,
        markeredgewidth=1.1,
        elinewidth=0.8,
        alpha=paper_alpha(results),
        clip_on=False,
        zorder=6,
    )


def say_not_run(axes: Axes, height: float = 0.5) -> None:
    """In the middle of the panel, or at another `height` (0 to 1) where marks stand there."""
    box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": "#d0d0d0"}
    style: dict[str, Any] = {"ha": "center", "va": "center", "size": 15, "color": "#8a8a8a", "bbox": box}
    axes.text(0.4, height, "not run", transform=axes.transAxes, **style)


def footline(figure: Figure, results: Results, seen: Conditions | None) -> None:
    """Which data and budget the curves come from, in small print under the figure."""
    text = str(seen) if seen else "nothing run; marks: the paper"
    figure.supxlabel(f"profile {results.profile}: {text}", size=7.5, color="#666666")
