"""What the paper's file says, and what a cell of it knows."""

import re
from pathlib import Path

import pytest

from paper_tables import paper
from paper_tables.paper import Cell, UserError, load
from paper_tables.verdicts import claims
from paper_tables.verdicts.cells import Measured, conditions_of
from tests.helpers.evidence import PAPER, ROOT


def printed(name: str) -> list[list[str]]:
    """An artefact's rows as the paper prints them."""
    rows = PAPER.artefacts[name].rows
    return [[c.printed if isinstance(c, Cell) else c for c in row] for _, row in rows if row]


def test_every_table_and_figure_is_listed_with_a_reason_where_it_is_not_trained() -> None:
    expected = [f"table{i}" for i in range(1, 15)] + [f"fig{i}" for i in range(1, 8)]
    assert sorted(PAPER.artefacts) == sorted(expected)
    for artefact in PAPER.artefacts.values():
        assert artefact.caption
        assert artefact.protocol
        assert bool(artefact.runs()) == (artefact.status == "measured"), artefact.name
        assert bool(artefact.reason) == (artefact.status != "measured"), artefact.name


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("table1", ["FLOPs", "", "1.8×10⁹", "3.6×10⁹", "3.8×10⁹", "7.6×10⁹", "11.3×10⁹"]),
        ("table2", ["34 layers", "28.54", "25.03"]),
        ("table3", ["ResNet-34 C", "24.19", "7.40"]),
        ("table4", ["ResNet-152", "19.38", "4.49"]),
        ("table5", ["ResNet (ILSVRC'15)", "3.57", "not run: the test server is out of reach"]),
        ("table6", ["Highway [42, 43]", "19", "2.3M", "7.54 (7.72 ± 0.16)"]),
        ("table6", ["ResNet", "110", "1.7M", "6.43 (6.61 ± 0.16)"]),
        ("table7", ["ResNet-101", "76.4", "73.8"]),
        ("table8", ["ResNet-101", "48.4", "27.2"]),
        ("table9", ["+ context", "51.1", "30.0", "53.3", "32.2"]),
        ("table12", ["MSRA, ensemble (ILSVRC'15)", "63.6", "62.1"]),
        ("table13", ["RPN+RCNN", "ensemble", "dense", "", "ensemble", "8.9"]),
        ("table14", ["MSRA (ILSVRC'15)", "8.9", "9.0"]),
    ],
)
def test_tables_print_what_the_paper_prints(table: str, row: list[str]) -> None:
    assert row in printed(table)


@pytest.mark.parametrize("name", ["table10", "table11"])
def test_per_class_ap_averages_to_the_printed_map(name: str) -> None:
    for row in printed(name):
        assert sum(map(float, row[4:])) / 20 == pytest.approx(float(row[3]), abs=0.051)
        assert len(row[4:]) == 20


def test_table6_readings_of_figure_6_and_its_claims_name_known_runs() -> None:
    for claim in PAPER.claims:
        known = {*PAPER.runs, "vgg-16", "vgg-19"} if claim.get("counted") else set(PAPER.runs)
        assert set(claims.runs_of(claim)) <= known, claim["id"]
    readings = {(c.run, c.metric): c for c in PAPER.artefacts["fig6"].readings}
    assert readings["cifar10-plain-56", "test_error"].paper == 13.3
    assert readings["cifar10-resnet-1202", "train_error"].printed == "below 0.1"
    assert PAPER.artefacts["fig7"].spec["sorted_readings"]["cifar10-resnet-110"][109] == "0.65"


def test_run_ids_are_those_that_can_be_trained() -> None:
    declared = set(re.findall(r"^([\w-]+):", (ROOT / "configs" / "runs.yaml").read_text(), re.MULTILINE))
    assert declared <= set(PAPER.runs)
    assert not {run for run in set(PAPER.runs) - declared if run.startswith("cifar10-")}


def test_profiles_are_those_that_can_be_trained() -> None:
    assert set(PAPER.profiles) == {path.stem for path in (ROOT / "configs" / "profiles").glob("*.yaml")}


def test_every_artefact_is_a_make_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for artefact in PAPER.artefacts.values():
        for target in (artefact.name, artefact.target):
            assert re.search(rf"^(?:[a-z0-9-]+ )*{target}(?: [a-z0-9-]+)*:", makefile, re.MULTILINE), target


def test_every_paper_of_the_folder_loads() -> None:
    for path in paper.PAPERS.glob("*.yaml"):
        assert paper.load(path.stem).artefacts


def test_a_cell_knows_metric_images_direction_and_protocol() -> None:
    (cell,) = [c for c in PAPER.find("table3").cells() if (c.run, c.printed) == ("imagenet-resnet-50", "6.71")]
    assert (cell.metric, cell.split, cell.better, cell.protocol) == ("top5_error", "validation", "lower", "10-crop")
    running = next(c for c in PAPER.find("fig6").readings if c.metric == "train_error")
    assert (running.split, running.protocol) == ("train", None)


def test_a_table_of_precisions_has_the_highest_as_its_best() -> None:
    given = {"run": "cifar10-resnet-20", "metric": "map", "paper": 76.4, "best_of": 2, "eval": "voc"}
    cell = paper.make_cell("table7", given, PAPER)
    measured = Measured((75.0, 77.0), conditions_of([], PAPER))
    assert (cell.better, cell.protocol) == ("higher", "voc")
    assert measured.text(cell).startswith("77.00 best (76.00")


@pytest.mark.parametrize(
    ("written", "slip", "told"),
    [
        ("    dashed: [", "    dahsed: [", "fig7: no such key: dahsed, did you mean 'dashed'?"),
        ("borrowed: true}", "borowed: true}", "no such key: borowed, did you mean 'borrowed'?"),
        (
            "rule: above, metric: test_error, of: [cifar10-plain-110]",
            "rule: above, metric: test_error, metrik: x, of: [cifar10-plain-110]",
            "claim plain-110: no such key: metrik, did you mean 'metric'?",
        ),
    ],
)
def test_a_misspelt_key_is_named(
    written: str, slip: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (paper.PAPERS / "resnet.yaml").read_text()
    (tmp_path / "slip.yaml").write_text(text.replace(written, slip, 1))
    monkeypatch.setattr(paper, "PAPERS", tmp_path)
    with pytest.raises(UserError, match=re.escape(told)):
        load("slip")
