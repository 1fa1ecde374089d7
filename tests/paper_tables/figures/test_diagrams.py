"""Figures 2, 3 and 5, drawn from the nets."""

import re
from pathlib import Path

from paper_tables.figures import building_blocks, network_columns
from paper_tables.tables import counted
from tests.helpers.evidence import PAPER, ROOT, evidence, table


def test_without_counts_table_1_and_the_diagrams_say_how_to_count(tmp_path: Path) -> None:
    found = evidence(tmp_path / "none", "paper")
    assert "python -m reproduce architectures" in " ".join(table("table1", tmp_path / "none").notes)
    for name, paint in (
        ("fig2", building_blocks.paint),
        ("fig3", network_columns.paint),
        ("fig5", building_blocks.paint),
    ):
        _, drawing = paint(PAPER.artefacts[name], found)
        assert drawing.alt.startswith(f"{PAPER.artefacts[name].title}: not run, {counted.COMMAND}")


def test_figure_3_has_the_papers_boxes_in_the_papers_rows() -> None:
    nets = evidence(ROOT / "results", "paper").results.architectures
    drawn = [network_columns.boxes(nets[name]) for name in PAPER.artefacts["fig3"].spec["nets"]]
    vgg, plain, residual = ([box.words for box in column] for column in drawn)
    assert plain == residual
    assert plain[:3] == ["7×7 conv, 64, /2", "pool, /2", "3×3 conv, 64"]
    assert plain[-2:] == ["avg pool", "fc 1000"]
    kinds = {n: re.compile(rf"3×3 conv, {n}(, /2)?") for n in (64, 128, 256, 512)}
    assert [sum(kind.fullmatch(words) is not None for words in plain) for kind in kinds.values()] == [6, 8, 12, 6]
    assert vgg[-4:] == ["pool, /2", "fc 4096", "fc 4096", "fc 1000"]
    assert (len(vgg), vgg.count("pool, /2")) == (24, 5)
    starts = network_columns.first_rows(drawn)
    assert [side for side, _ in starts] == [224, 112, 56, 28, 14, 7, 1, 0]
    tops = [{box.output: box.row for box in reversed(network_columns.placed(column, starts))} for column in drawn]
    assert all(tops[0][side] == tops[1][side] == row for side, row in starts[1:-1])


def test_figure_3_dots_the_three_shortcuts_where_dimensions_grow() -> None:
    nets = evidence(ROOT / "results", "paper").results.architectures
    found = network_columns.shortcuts(nets["imagenet-resnet-34-A"])
    assert len(found) == 16
    boxes = network_columns.boxes(nets["imagenet-resnet-34-A"])
    assert [boxes[s.first].words for s in found if s.increase] == [f"3×3 conv, {n}, /2" for n in (128, 256, 512)]
    assert network_columns.shortcuts(nets["imagenet-plain-34"]) == []


def test_figure_5_shows_the_blocks_of_the_nets() -> None:
    nets = evidence(ROOT / "results", "paper").results.architectures
    drawn = {
        b["net"]: building_blocks.identity_block(nets[b["net"]], b["stage"])
        for b in PAPER.artefacts["fig5"].spec["blocks"]
    }
    words = {net: [building_blocks.words(layer) for layer in layers] for net, layers in drawn.items()}
    assert words["imagenet-resnet-34-A"] == ["3×3, 64", "3×3, 64"]
    assert words["imagenet-resnet-50"] == ["1×1, 64", "3×3, 64", "1×1, 256"]
    assert counted.convolutions(nets["vgg-19"], 3, 512) == 8
