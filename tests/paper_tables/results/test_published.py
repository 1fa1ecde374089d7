"""CIFAR-10 nets that others published: columns, marks and verdicts of their own, never among our trainings."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from paper_tables.__main__ import main
from paper_tables.report.front_page import claims_table, front_page
from paper_tables.report.overview import overview
from paper_tables.results.published import publishers
from paper_tables.verdicts.cells import judgements
from paper_tables.verdicts.claims import judge_claims
from tests.helpers.evidence import P20, P56, PAPER, R20, R56, evidence, table
from tests.helpers.fake_results import write_published, write_run


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Plain nets and ResNets of one publisher, two ResNets of another, and nothing of ours."""
    root = tmp_path / "results"
    for run, test, train, layers in (
        (P20, 9.7, 1.3, 19),
        (P56, 13.1, 6.0, 55),
        (R20, 8.0, 0.6, 19),
        (R56, 7.5, 0.1, 55),
    ):
        write_published(root, "one", run, test, train, layers=layers)
    write_published(root, "two", R20, 8.3, 0.5)
    write_published(root, "two", R56, 6.6, 0.2)
    return root


def test_each_publishers_nets_are_evidence_of_their_own(results: Path) -> None:
    found = publishers(evidence(results))
    assert list(found) == ["one", "two"]  # who has more nets first
    assert list(found["one"].results.runs) == [P20, P56, R20, R56]
    assert found["two"].trainings(R56)[0].value("train_error") == 0.2
    assert evidence(results).results.runs == {}


def test_a_net_measured_on_the_official_images_is_shown_from_there(results: Path) -> None:
    write_published(results, "two", R20, 8.27, source="official")
    assert publishers(evidence(results))["two"].trainings(R20)[0].value("test_error") == 8.27


def test_tables_have_columns_of_theirs(results: Path) -> None:
    found = table("table6", results)
    test, train = "test error of published weights (claimed)", "training error of published weights"
    first = found.columns.index("verdict") + 1
    theirs = slice(first, first + 4)
    assert found.columns[theirs] == [f"{test} · one", f"{test} · two", f"{train} · one", f"{train} · two"]
    assert found.columns[first + 4] == "difference"
    assert found.ours == {4, 5, 10, 11}
    rows = {(row[0], row[1]): row for row in found.body()}
    assert rows["ResNet", "56"][theirs] == ["7.50 (7.50)", "6.60 (6.60)", "0.10", "0.20"]
    assert rows["plain", "56"][theirs] == ["13.10 (13.10)", "", "6.00", ""]
    assert rows["ResNet", "56"][4] == "not run"
    assert "Claimed: the lowest of all epochs" in found.notes[-1]
    assert "n = 1" in found.notes[-1]
    figure = table("fig1", results)
    heads = ["training error of published weights · one", "test error of published weights (claimed) · one"]
    assert figure.columns[-2:] == heads  # the other publisher has no plain nets


def test_responses_have_rows_of_theirs(results: Path) -> None:
    found = [row for row in table("fig7", results).body() if row[1] == "one"]
    assert [row[0] for row in found] == ["plain-20", "plain-56", "ResNet-20", "ResNet-56"]
    assert float(found[0][2]) == pytest.approx(2 - 1 / 19, abs=0.005)


def test_claims_are_judged_on_each_publishers_nets(results: Path) -> None:
    found = evidence(results)
    verdicts = judge_claims(found)
    rows = {row[0]: row for row in claims_table(verdicts, "", found).body()}
    degradation = rows["Degradation: plain-56 has a higher test error than plain-20."]
    assert degradation[1] == "not run"
    assert degradation[2].startswith("one: holds in one run each (plain-20 9.70 % (n = 1), plain-56 13.10 % (n = 1)")
    depth = next(row for text, row in rows.items() if text.startswith("ResNets gain from depth: ResNet-56"))
    assert "two: holds in one run each" in depth[2]
    write_published(results, "two", R56, 8.9)
    again = {row[0]: row for row in claims_table(verdicts, "", evidence(results)).body()}
    assert "two: does not hold in one run each" in again[depth[0]][2]


def test_they_are_never_ours(results: Path) -> None:
    found = evidence(results)
    assert {judgement.verdict for judgement in judgements(PAPER.artefacts.values(), found)} == {"not run"}
    assert {verdict.outcome for verdict in judge_claims(found)} == {"not run"}


def test_the_front_page_leads_with_them(results: Path) -> None:
    write_run(results, "paper", R20, test=8.8)
    first = front_page(evidence(results))[0]
    assert first.first.columns[2:4] == ["test error (%) · one", "test error (%) · two"]
    assert next(row for row in first.first.body() if row[0] == "ResNet-20")[2:] == ["8.00", "8.30", "8.80"]
    assert "plain-20 to 56 +3.40, ResNet-20 to 56 -0.50 (one)" in first.change
    text = overview(evidence(results))
    assert text.index("At the paper's length") < text.index("Trained here")


def test_figures_show_them(results: Path, tmp_path: Path) -> None:
    """End points in Figure 6, and Figure 7 once more, drawn from the nets of who has both plain nets and ResNets."""
    words = ["--results", str(results), "--report", str(tmp_path / "report")]
    assert main(["render", "fig6", "fig7", *words]) == 0
    folder = tmp_path / "report" / "paper"
    assert "one's weights" in (folder / "figures" / "fig6.svg").read_text()
    assert (folder / "figures" / "fig7-one.svg").exists()
    assert not (folder / "figures" / "fig7-two.svg").exists()
    assert "Figure 7 drawn from one's weights" in (folder / "REPORT.md").read_text()
    page = (folder / "index.html").read_text()
    assert "Figure 7 drawn from one’s weights" in page
    assert "with published weights" in page


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"publisher": None}, "no 'publisher'"),
        ({"claimed": None}, "no 'claimed'"),
        ({"data": "x"}, "data"),
        ({"data": {"description": "d"}}, "no 'fingerprint'"),
        ({"precision": 3}, "precision is no text"),
        ({"publisher": "a $b$"}, "publisher 'a $b$' is no name"),
        ({"publisher": "paper"}, "publisher 'paper' is no name"),
        ({"train_error": "x"}, "train_error is 'x'"),
    ],
)
def test_an_incomplete_result_is_named_and_left_out(change: dict[str, Any], reason: str, results: Path) -> None:
    path = results / "published" / "folder" / "two-resnet-20" / "eval-single.json"
    value = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: kept for key, kept in value.items() if kept is not None}))
    found = evidence(results)
    assert R20 not in publishers(found)["two"].results.runs
    [(where, why)] = found.results.skipped
    assert where == "published/folder/two-resnet-20/eval-single.json"
    assert reason in why or reason == "data"


def test_two_nets_of_one_publisher_for_one_run_are_said(results: Path) -> None:
    shutil.copytree(results / "published/folder/two-resnet-20", results / "published/folder/two-resnet-20-b")
    found = evidence(results)
    assert found.results.skipped == [
        ("published/folder/two-resnet-20-b", "another net of the same publisher and run: two-resnet-20")
    ]


def test_responses_of_too_few_layers_leave_ranks_empty(results: Path) -> None:
    (results / "published/folder/one-plain-20/responses.csv").write_text("layer,std\n1,0.5\n")
    row = next(row for row in table("fig7", results).body() if row[:2] == ["plain-20", "one"])
    assert row[2:4] == ["0.50", ""]


def test_synthetic_images_count_beside_trainings_on_such_alone(tmp_path: Path) -> None:
    write_published(tmp_path, "one", R20, 90.0, source="synthetic")
    assert publishers(evidence(tmp_path)) == {}
    assert "At the paper's length" not in overview(evidence(tmp_path))
    write_run(tmp_path, "smoke", R20)
    assert list(publishers(evidence(tmp_path, "smoke"))) == ["one"]


def test_a_note_names_images_where_they_differ(results: Path) -> None:
    write_published(results, "two", R20, 8.27, source="official")
    note = next(note for note in table("table6", results).notes if note.startswith("two's weights"))
    assert "CIFAR-10, official binaries): ResNet-20; " in note
    assert "): ResNet-56" in note


def test_without_one_of_the_first_nets_readme_says_nothing_of_them(tmp_path: Path) -> None:
    write_published(tmp_path, "one", "cifar10-resnet-32", 7.5)
    assert "At the paper's length" not in overview(evidence(tmp_path))
