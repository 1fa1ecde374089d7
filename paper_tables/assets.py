"""The scripts beside a page: plotly's own bundle (one file, no network) and ours."""

from __future__ import annotations

from pathlib import Path

from paper_tables import figures

OURS = Path(__file__).with_name("templates") / "report.js"
FOLDER = "assets"


def write(folder: Path) -> None:
    """<folder>/assets/plotly.min.js and report.js, for every page below the folder."""
    from plotly.offline import get_plotlyjs

    figures.write(folder / FOLDER / "plotly.min.js", get_plotlyjs())
    figures.write(folder / FOLDER / "report.js", OURS.read_bytes())
