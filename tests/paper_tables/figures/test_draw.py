"""Printed width, fonts, palettes; curves with everything and with nothing measured."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from paper_tables.__main__ import main
from paper_tables.figures import shortcut_options
from tests.helpers.evidence import PAPER, evidence, row, table


def test_figures_have_the_papers_width_and_embedded_fonts(report: Path) -> None:
    for name, inches in (("fig1", 3.25), ("fig4", 6.875), ("fig6", 6.875), ("fig7", 3.25), ("fig3", 3.25)):
        pdf = (report / "figures" / f"{name}.pdf").read_bytes()
        box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", pdf)
        assert box
        assert float(box[1]) == pytest.approx(72 * inches, abs=0.01)
        assert b"/FontFile2" in pdf  # TrueType, whole or as a subset; Type 3 would have none
        assert b"/Type3" not in pdf
        assert f'width="{72 * inches:g}pt"' in (report / "figures" / f"{name}.svg").read_text()
        png = (report / "figures" / f"{name}.png").read_bytes()
        assert int.from_bytes(png[16:20], "big") == pytest.approx(300 * inches, abs=1)


def test_figures_can_have_the_papers_colours(full: Path, report: Path, tmp_path: Path) -> None:
    command = ["render", "fig1", "--profile", "demo", "--results", str(full), "--report", str(tmp_path)]
    drawn = {}
    for palette in ("safe", "paper"):
        assert main([*command, "--palette", palette]) == 0
        drawn[palette] = (tmp_path / "demo" / "figures" / "fig1.svg").read_text()
    assert "#d55e00" in drawn["safe"]
    assert "#d55e00" not in drawn["paper"]
    assert "#e8000b" in drawn["paper"]


def test_figure_4_compares_plateau_and_ends(imagenet: Path) -> None:
    found = table("fig4", imagenet)
    assert found.columns[1] == "validation error, plateau (%) · paper"
    assert row(found, "plain-34") == ["plain-34", "38.6 ± 0.2", "38.60", "32.75 ± 0.5", "32.75", "32.5 ± 0.2", "32.50"]
    assert found.ours == {2, 4, 6}


def test_the_options_stand_on_an_axis_that_fits_them_with_what_each_adds(imagenet: Path) -> None:
    figure, drawing = shortcut_options.paint(PAPER.artefacts["table3"], evidence(imagenet))
    low, high = figure.axes[0].get_xlim()
    assert 20 < low < 24.19
    assert 28.54 < high < 31
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[1:] == [
        "ResNet-34 A\n+0 parameters (0.0 %)",
        "ResNet-34 B\n+173,824 parameters (0.8 %)",
        "ResNet-34 C\n+1,092,992 parameters (5.1 %)",
    ]
    assert drawing.notes[3] == "ResNet-34 C: a projection in every shortcut, +1,092,992 parameters (5.1 %)."
    plt.close(figure)


@pytest.mark.parametrize("name", ["fig4", "table3"])
def test_the_figures_hold_with_everything_and_with_nothing_measured(name: str, imagenet: Path, tmp_path: Path) -> None:
    from paper_tables.figures.draw import draw

    artefact = PAPER.artefacts[name]
    full = draw(artefact, evidence(imagenet), tmp_path / "full" / name)
    none = draw(artefact, evidence(tmp_path / "none"), tmp_path / "none" / name)
    assert "not run" not in full.alt
    assert none.alt.count("not run") >= 4
    assert (tmp_path / "full" / f"{name}.png").read_bytes() != (tmp_path / "none" / f"{name}.png").read_bytes()
