"""Tables 3 to 5: published weights and ensembles beside the trainings."""

import json
import re
from pathlib import Path

from paper_tables.report import commands
from paper_tables.tables.measured import artefact_table
from paper_tables.verdicts.cells import judge, judgements
from tests.helpers import fake_imagenet
from tests.helpers.evidence import PAPER, evidence, row, table


def test_table2_measures_ten_crops_and_the_footnotes_have_no_printed_number(imagenet: Path) -> None:
    found = table("table2", imagenet)
    assert row(found, "34 layers") == ["34 layers", "28.54", "28.54", "25.03", "25.03"]
    assert row(found, "34 layers, three times the iterations")[1:3] == ["not printed", "28.50"]
    cells = {c.run: c for c in PAPER.artefacts["table2"].cells()}
    judged = judge(cells["imagenet-plain-50"], evidence(imagenet))
    assert (judged.verdict, judged.difference) == ("not compared", None)
    assert PAPER.artefacts["table2"].runs() == [
        f"imagenet-{n}" for n in ("plain-18", "resnet-18-A", "plain-34", "resnet-34-A")
    ]


def test_published_weights_stand_in_columns_of_their_own_and_say_on_what(imagenet: Path) -> None:
    found = table("table3", imagenet)
    assert found.columns[-2:] == ["top-1 · torchvision's weights", "top-5 · torchvision's weights"]
    assert not found.ours & {5, 6}
    assert row(found, "ResNet-50") == ["ResNet-50", "22.85", "22.85", "6.71", "6.71", "22.10", "6.00"]
    assert row(found, "ResNet-34 A")[-2:] == ["", ""]  # torchvision has option B alone
    assert row(found, "ResNet-101")[-2:] == ["not run", "not run"]
    vgg = row(found, "VGG-16 [41], the authors' own test")
    assert vgg[1:5] == ["28.07", "paper only", "9.33", "paper only"]
    assert vgg[5] == "26.10 (n = 100, other data)"
    assert "another recipe" in found.notes[-1]
    assert len(table("table4", imagenet).columns) == 5  # nothing by multi-scale
    assert "make table4 WEIGHTS=torchvision" in table("table4", imagenet).notes[-1]
    assert {len(row) for row in found.body()} == {7}


def test_published_weights_are_never_judged(tmp_path: Path) -> None:
    fake_imagenet.write_published(tmp_path, "torchvision-resnet50-v1", "10-crop", 22.1, 6.0)
    found = evidence(tmp_path, "paper")
    assert {j.verdict for j in judgements(PAPER.artefacts.values(), found)} == {"not run"}
    assert row(table("table3", tmp_path), "ResNet-50")[2] == "not run"


def test_table5_has_the_papers_test_errors_and_our_validation_errors(imagenet: Path, tmp_path: Path) -> None:
    found = table("table5", imagenet)
    assert row(found, "ResNet (ILSVRC'15)") == [
        "ResNet (ILSVRC'15)",
        "3.57",
        "not run: the test server is out of reach",
    ]
    assert row(found, "2 × ResNet-152, ResNet-50") == ["2 × ResNet-152, ResNet-50", "not printed", "4.10"]
    missing = table("table5", tmp_path)
    assert list(missing.body())[-1][1:] == ["not printed", "not run"]
    command = commands.missing_commands(PAPER.artefacts["table5"], evidence(tmp_path, "paper"))[-1]
    assert command.startswith("python -m reproduce ensemble imagenet-resnet-34-B imagenet-resnet-34-C")


def test_a_trained_net_that_was_not_tested_says_so(tmp_path: Path) -> None:
    folder = fake_imagenet.write_run(tmp_path, "paper", "imagenet-resnet-50")
    (folder / "eval-10-crop.json").unlink()
    assert row(table("table3", tmp_path), "ResNet-50")[2] == "not run (trained, 10-crop not measured)"
    assert row(table("table4", tmp_path), "ResNet-50")[2] == "20.74"
    found = evidence(tmp_path, "paper")
    wanted = commands.missing_commands(PAPER.artefacts["table3"], found)
    assert "python -m reproduce evaluate imagenet-resnet-50 --protocol 10-crop --profile paper" in wanted
    assert "python -m reproduce train imagenet-resnet-50 --profile paper" not in wanted
    assert commands.state_of(PAPER.artefacts["table3"], found) == "not run"
    assert commands.state_of(PAPER.artefacts["table4"], found) == "1 of 5 runs"


def test_latex_of_the_wide_tables_is_escaped(imagenet_report: Path) -> None:
    for name in ("table1", "table3", "table5", "claims"):
        text = (imagenet_report / "tables" / f"{name}.tex").read_text()
        assert text.isascii()
        assert "?" not in text.replace("\\caption{}", "")
        assert not re.search(r"(?<!\\)[#%_]", re.sub(r"\\label\{[^}]*\}", "", text))


def test_recomputed_bn_statistics_stand_below_the_table(tmp_path: Path) -> None:
    folder = fake_imagenet.write_run(tmp_path, "paper", "imagenet-resnet-34-A")
    again = json.loads((folder / "eval-10-crop.json").read_text())
    again |= {"top1_error": 24.99, "bn_statistics": "recomputed", "deviations": {"bn_statistics": "recomputed"}}
    (folder / "eval-10-crop+0123abcd.json").write_text(json.dumps(again))
    table = artefact_table(PAPER.find("table3"), evidence(tmp_path))
    assert table is not None
    (note,) = [note for note in table.notes if "BN statistics recomputed" in note]
    assert "ResNet-34 A 25.03 → 24.99" in note
    other = artefact_table(PAPER.find("table4"), evidence(tmp_path))  # another protocol: not measured again
    assert other is not None
    assert not [note for note in other.notes if "BN statistics recomputed" in note]
