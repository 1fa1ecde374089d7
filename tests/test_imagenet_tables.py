"""The ImageNet half of the report: Tables 1 to 5, Figures 2 to 5, published weights, ensembles, claims of Sec. 4.1."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from paper_tables import architectures, blocks, claims, columns, commands, files, headline, measure
from paper_tables.__main__ import main
from paper_tables.table import Table
from paper_tables.tables import artefact_table
from tests.helpers import fake_imagenet, fake_results
from tests.helpers.evidence import PAPER, evidence

ROOT = Path(__file__).resolve().parent.parent
CLAIMS = {c["id"]: c for c in PAPER.claims if str(c["section"]).startswith("4.1")}


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every ImageNet run with the paper's own numbers, two published weights and an ensemble."""
    root = fake_imagenet.write_tree(tmp_path_factory.mktemp("imagenet") / "results")
    fake_imagenet.write_published(root, "torchvision-resnet50-v1", "10-crop", 22.1, 6.0)
    fake_imagenet.write_published(root, "torchvision-vgg16-v1", "10-crop", 26.1, 8.0, n=100)
    members = ["imagenet-resnet-152", "imagenet-resnet-152:other.safetensors", "imagenet-resnet-50"]
    fake_imagenet.write_ensemble(root, "paper", "three", members, 4.1)
    shutil.copy(ROOT / "results" / "architectures.json", root)
    return root


@pytest.fixture(scope="session")
def report(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    assert main(["render", "all", "--results", str(tree), "--report", str(out)]) == 0
    return out / "paper"


def table(name: str, root: Path, profile: str = "paper") -> Table:
    found = artefact_table(PAPER.artefacts[name], evidence(root, profile))
    assert found is not None
    return found


def row(found: Table, name: str) -> list[str]:
    return next(row for row in found.body() if row[0] == name)


def verdict(root: Path, identifier: str, profile: str = "paper") -> claims.Verdict:
    return claims.judge_claim(CLAIMS[identifier], evidence(root, profile))


# ---- Table 1 and the diagrams ----


def test_table1_is_counted_and_agrees_with_every_row_of_the_paper() -> None:
    found = table("table1", ROOT / "results")
    rows = list(found.body())
    ours = [row for row in rows if row[1] == "ours"]
    assert [row[-1] for row in ours[:8]] == ["yes"] * 8
    assert ours[4][2:8] == [
        "14×14",
        *(f"[3×3, 256; 3×3, 256] ×{n}" for n in (2, 6)),
        *(f"[1×1, 256; 3×3, 256; 1×1, 1024] ×{n}" for n in (6, 23, 36)),
    ]
    assert ours[7][3:8] == ["1.795×10⁹", "3.644×10⁹", "3.858×10⁹", "7.570×10⁹", "11.282×10⁹"]
    assert row(found, "parameters, option C")[3:8] == ["", "22,716,840", "", "", ""]
    assert any("conv1, max pool, conv3_1, conv4_1, conv5_1" in note for note in found.notes)
    assert any("VGG-16, fc included: 15.470×10⁹ (the text prints 15.3×10⁹)" in note for note in found.notes)


def test_a_net_that_is_not_the_papers_disagrees(tmp_path: Path) -> None:
    nets = json.loads((ROOT / "results" / "architectures.json").read_text())
    nets["imagenet-resnet-50"]["parts"][-3]["times"] += 1
    nets["imagenet-resnet-34-A"]["multiply_adds"] += 10**8
    (tmp_path / "architectures.json").write_text(json.dumps(nets))
    ours = [row for row in table("table1", tmp_path).body() if row[1] == "ours"]
    assert [row[-1] for row in ours[:8]] == ["yes"] * 5 + ["no", "yes", "no"]
    assert ours[5][5] == "[1×1, 512; 3×3, 512; 1×1, 2048] ×4"


@pytest.mark.parametrize("content", ["{", '{"vgg-16": {"layers": 16}}', '{"vgg-16": 3}'])
def test_broken_architectures_are_skipped_with_a_reason(content: str, tmp_path: Path) -> None:
    (tmp_path / "architectures.json").write_text(content)
    found = evidence(tmp_path, "paper")
    assert found.results.architectures == {}
    assert [path for path, _ in found.results.skipped] == ["architectures.json"]
    assert row(table("table1", tmp_path), "FLOPs")[3] == "1.8×10⁹"


def test_without_counts_table_1_and_the_diagrams_say_how_to_count(tmp_path: Path) -> None:
    found = evidence(tmp_path / "none", "paper")
    assert "python -m reproduce architectures" in " ".join(table("table1", tmp_path / "none").notes)
    for name, paint in (("fig2", blocks.paint), ("fig3", columns.paint), ("fig5", blocks.paint)):
        _, drawing = paint(PAPER.artefacts[name], found)
        assert drawing.alt.startswith(f"{PAPER.artefacts[name].title}: not run, {architectures.COMMAND}")


def test_figure_3_has_the_papers_boxes_in_the_papers_rows() -> None:
    nets = evidence(ROOT / "results", "paper").results.architectures
    drawn = [columns.boxes(nets[name]) for name in PAPER.artefacts["fig3"].spec["nets"]]
    vgg, plain, residual = ([box.words for box in column] for column in drawn)
    assert plain == residual
    assert plain[:3] == ["7×7 conv, 64, /2", "pool, /2", "3×3 conv, 64"]
    assert plain[-2:] == ["avg pool", "fc 1000"]
    kinds = {n: re.compile(rf"3×3 conv, {n}(, /2)?") for n in (64, 128, 256, 512)}
    assert [sum(kind.fullmatch(words) is not None for words in plain) for kind in kinds.values()] == [6, 8, 12, 6]
    assert vgg[-4:] == ["pool, /2", "fc 4096", "fc 4096", "fc 1000"]
    assert (len(vgg), vgg.count("pool, /2")) == (24, 5)
    starts = columns.first_rows(drawn)
    assert [side for side, _ in starts] == [224, 112, 56, 28, 14, 7, 1, 0]
    tops = [{box.output: box.row for box in reversed(columns.placed(column, starts))} for column in drawn]
    assert all(tops[0][side] == tops[1][side] == row for side, row in starts[1:-1])


def test_figure_3_dots_the_three_shortcuts_where_dimensions_grow() -> None:
    nets = evidence(ROOT / "results", "paper").results.architectures
    found = columns.shortcuts(nets["imagenet-resnet-34-A"])
    assert len(found) == 16
    boxes = columns.boxes(nets["imagenet-resnet-34-A"])
    assert [boxes[s.first].words for s in found if s.increase] == [f"3×3 conv, {n}, /2" for n in (128, 256, 512)]
    assert columns.shortcuts(nets["imagenet-plain-34"]) == []


def test_figure_5_shows_the_blocks_of_the_nets() -> None:
    nets = evidence(ROOT / "results", "paper").results.architectures
    drawn = {
        b["net"]: blocks.identity_block(nets[b["net"]], b["stage"]) for b in PAPER.artefacts["fig5"].spec["blocks"]
    }
    words = {net: [blocks.words(layer) for layer in layers] for net, layers in drawn.items()}
    assert words["imagenet-resnet-34-A"] == ["3×3, 64", "3×3, 64"]
    assert words["imagenet-resnet-50"] == ["1×1, 64", "3×3, 64", "1×1, 256"]
    assert architectures.convolutions(nets["vgg-19"], 3, 512) == 8


# ---- Tables 2 to 5 ----


def test_table2_measures_ten_crops_and_the_footnotes_have_no_printed_number(tree: Path) -> None:
    found = table("table2", tree)
    assert row(found, "34 layers") == ["34 layers", "28.54", "28.54", "25.03", "25.03"]
    assert row(found, "34 layers, three times the iterations")[1:3] == ["not printed", "28.50"]
    cells = {c.run: c for c in PAPER.artefacts["table2"].cells()}
    judged = measure.judge(cells["imagenet-plain-50"], evidence(tree))
    assert (judged.verdict, judged.difference) == ("not compared", None)
    assert PAPER.artefacts["table2"].runs() == [
        f"imagenet-{n}" for n in ("plain-18", "resnet-18-A", "plain-34", "resnet-34-A")
    ]


def test_published_weights_stand_in_columns_of_their_own_and_say_on_what(tree: Path) -> None:
    found = table("table3", tree)
    assert found.columns[-2:] == ["top-1 · torchvision's weights", "top-5 · torchvision's weights"]
    assert not found.ours & {5, 6}
    assert row(found, "ResNet-50") == ["ResNet-50", "22.85", "22.85", "6.71", "6.71", "22.10", "6.00"]
    assert row(found, "ResNet-34 A")[-2:] == ["", ""]  # torchvision has option B alone
    assert row(found, "ResNet-101")[-2:] == ["not run", "not run"]
    vgg = row(found, "VGG-16 [41], the authors' own test")
    assert vgg[1:5] == ["28.07", "paper only", "9.33", "paper only"]
    assert vgg[5] == "26.10 (n = 100, other data)"
    assert "another recipe" in found.notes[-1]
    assert len(table("table4", tree).columns) == 5  # nothing by multi-scale
    assert "make table4 WEIGHTS=torchvision" in table("table4", tree).notes[-1]
    assert {len(row) for row in found.body()} == {7}


def test_published_weights_are_never_judged(tmp_path: Path) -> None:
    fake_imagenet.write_published(tmp_path, "torchvision-resnet50-v1", "10-crop", 22.1, 6.0)
    found = evidence(tmp_path, "paper")
    assert {j.verdict for j in measure.judgements(PAPER.artefacts.values(), found)} == {"not run"}
    assert row(table("table3", tmp_path), "ResNet-50")[2] == "not run"


def test_table5_has_the_papers_test_errors_and_our_validation_errors(tree: Path, tmp_path: Path) -> None:
    found = table("table5", tree)
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


@pytest.mark.parametrize(
    "change",
    [{"weights_sha256": "cd"}, {"top1_error": 101}, {"top5_error": "low"}, {"n": 0}],
)
def test_an_evaluation_that_cannot_be_trusted_is_skipped(change: dict[str, Any], tmp_path: Path) -> None:
    folder = fake_imagenet.write_run(tmp_path, "paper", "imagenet-resnet-50")
    path = folder / "eval-10-crop.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    found = evidence(tmp_path, "paper")
    assert [where for where, _ in found.results.skipped] == ["imagenet-resnet-50/seed-0/eval-10-crop.json"]
    assert row(table("table3", tmp_path), "ResNet-50")[2].startswith("not run")


@pytest.mark.parametrize("change", [{"top5_error": None}, {"n": None}, {"protocol": 3}, {"top1_error": -1}])
def test_published_weights_and_ensembles_are_checked_too(change: dict[str, Any], tmp_path: Path) -> None:
    for path in (
        fake_imagenet.write_published(tmp_path, "torchvision-resnet50-v1", "10-crop", 22.1, 6.0),
        fake_imagenet.write_ensemble(tmp_path, "paper", "x", ["imagenet-resnet-50"], 4.0),
    ):
        value = json.loads(path.read_text()) | change
        path.write_text(json.dumps({k: v for k, v in value.items() if v is not None}))
    found = evidence(tmp_path, "paper")
    assert sorted(path.split("/")[0] for path, _ in found.results.skipped) == ["ensembles", "published"]


def test_latex_of_the_wide_tables_is_escaped(report: Path) -> None:
    for name in ("table1", "table3", "table5", "claims"):
        text = (report / "tables" / f"{name}.tex").read_text()
        assert text.isascii()
        assert "?" not in text.replace("\\caption{}", "")
        assert not re.search(r"(?<!\\)[#%_]", re.sub(r"\\label\{[^}]*\}", "", text))


# ---- Figure 4 and the bars ----


def test_figure_4_reads_curves_with_and_without_top5_columns(tmp_path: Path) -> None:
    folder = fake_imagenet.write_run(tmp_path, "paper", "imagenet-plain-18")
    assert {"test_top5_error"} <= set(files.curve(folder / "curve.csv"))
    lines = (folder / "curve.csv").read_text().splitlines()
    (folder / "curve.csv").write_text("\n".join(",".join(line.split(",")[:5]) for line in lines))
    assert list(files.curve(folder / "curve.csv")) == files.CURVE
    (folder / "curve.csv").write_text("\n".join([lines[0], *(line.rsplit(",", 1)[0] + ",999" for line in lines[1:])]))
    assert [path for path, _ in evidence(tmp_path, "paper").results.skipped] == ["imagenet-plain-18/seed-0/curve.csv"]


def test_figure_4_compares_plateau_and_ends(tree: Path) -> None:
    found = table("fig4", tree)
    assert found.columns[1] == "validation error, plateau (%) · paper"
    assert row(found, "plain-34") == ["plain-34", "38.6 ± 0.2", "38.60", "32.75 ± 0.5", "32.75", "32.5 ± 0.2", "32.50"]
    assert found.ours == {2, 4, 6}


def test_the_plateau_lies_between_25_and_30_of_60_of_a_training(tmp_path: Path) -> None:
    folder = fake_imagenet.write_run(tmp_path, "short", "imagenet-plain-18", share=0.1)
    head = "iteration,lr,train_loss,train_error,test_error\n"
    rows = {20000: 90, 25000: 40, 30000: 42, 30001: 10, 60000: 31}
    (folder / "curve.csv").write_text(head + "".join(f"{at},0.1,1,50,{error}\n" for at, error in rows.items()))
    (seed,) = evidence(tmp_path, "short").results.seeds["imagenet-plain-18"]
    assert seed.value("plateau_error") == 41


@pytest.mark.parametrize("name", ["fig4", "table3"])
def test_the_figures_hold_with_everything_and_with_nothing_measured(name: str, tree: Path, tmp_path: Path) -> None:
    from paper_tables.draw import draw

    artefact = PAPER.artefacts[name]
    full = draw(artefact, evidence(tree), tmp_path / "full" / name)
    none = draw(artefact, evidence(tmp_path / "none"), tmp_path / "none" / name)
    assert "not run" not in full.alt
    assert none.alt.count("not run") >= 4
    assert (tmp_path / "full" / f"{name}.png").read_bytes() != (tmp_path / "none" / f"{name}.png").read_bytes()


# ---- Claims ----


def test_the_papers_own_numbers_hold_every_claim(tree: Path) -> None:
    words = {name: verdict(tree, name).word for name in CLAIMS}
    assert words.pop("option-a-adds-nothing") == words.pop("less-complex-than-vgg") == "holds by count"
    assert set(words.values()) == {"reproduced in one run each"}
    assert len(words) >= 16


def test_margins_are_half_of_the_smallest_difference_that_the_paper_prints() -> None:
    """Orderings of Sec. 4.1 with a margin of their own: as the paper's file says, and rounded down."""
    printed = {(c.run, c.metric, c.protocol): c.paper for a in PAPER.artefacts.values() for c in a.cells()}
    for claim in (c for c in CLAIMS.values() if "margin" in c and not c.get("counted")):
        runs = {run: printed[run, claim["metric"], claim["protocol"]] for run in claims.runs_of(claim)}
        numbers = {run: measure.Measured((value,), measure.conditions_of([], PAPER)) for run, value in runs.items()}
        gaps = claims.gaps_of(claim, numbers, claim.get("pairs", []))
        half = min(gap.value for gap in gaps) / 2
        assert -1e-9 <= half - float(claim["margin"]) < 0.01 - 1e-9, claim["id"]


@pytest.mark.parametrize(("plain_18", "word"), [(27.94, "reproduced"), (28.3, "undecided"), (28.9, "not reproduced")])
def test_a_claim_on_ten_crops_reads_the_evaluation(plain_18: float, word: str, tmp_path: Path) -> None:
    folder = fake_imagenet.write_run(tmp_path, "paper", "imagenet-plain-18")
    fake_imagenet.write_run(tmp_path, "paper", "imagenet-plain-34")  # 28.54
    path = folder / "eval-10-crop.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"top1_error": plain_18}))
    assert verdict(tmp_path, "imagenet-degradation-validation").word == f"{word} in one run each"
    path.unlink()
    assert verdict(tmp_path, "imagenet-degradation-validation").word == "not run"


@pytest.mark.parametrize(
    ("resnet_34", "word"),
    [(25.08, "reproduced"), (24.5, "not reproduced"), (28.0, "not reproduced")],
)
def test_better_by_so_many_points_is_a_distance(resnet_34: float, word: str, tmp_path: Path) -> None:
    fake_imagenet.write_run(tmp_path, "paper", "imagenet-resnet-18-A")  # 27.88
    path = fake_imagenet.write_run(tmp_path, "paper", "imagenet-resnet-34-A") / "eval-10-crop.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"top1_error": resnet_34}))
    got = verdict(tmp_path, "imagenet-residual-depth")
    assert got.word == f"{word} in one run each"
    assert f"{27.88 - resnet_34:+.2f} against +2.80" in got.numbers


def test_three_times_the_iterations_are_the_papers_length_of_that_run(tmp_path: Path) -> None:
    fake_imagenet.write_run(tmp_path, "paper", "imagenet-plain-18")
    fake_imagenet.write_run(tmp_path, "paper", "imagenet-plain-34-3x")
    assert verdict(tmp_path, "more-iterations-training").word == "reproduced in one run each"
    shorter = tmp_path / "shorter"
    fake_imagenet.write_run(shorter, "paper", "imagenet-plain-18")
    fake_imagenet.write_run(shorter, "paper", "imagenet-plain-34-3x", share=1 / 3)
    assert verdict(shorter, "more-iterations-training").word == "undecided in one run each"


@pytest.mark.parametrize(
    ("share", "changes", "reason"),
    [
        (0.1, {}, "the budget"),
        (1, {"precision": "bf16"}, "the precision"),
        (1, {"config": {"train": {"batch_size": 128}}}, "the budget"),
        (1, {"data": fake_imagenet.imagenet_data(False)}, "the data is not the official ImageNet"),
    ],
)
def test_other_conditions_are_not_the_papers(share: float, changes: Any, reason: str, tmp_path: Path) -> None:
    for run in ("imagenet-plain-18", "imagenet-plain-34"):
        fake_imagenet.write_run(tmp_path, "paper", run, share=share, **changes)
    found = evidence(tmp_path, "paper")
    word = verdict(tmp_path, "imagenet-degradation-training").word
    assert word == (claims.SHORT if reason == "the budget" else "holds in one run each")
    judged = measure.judgements([PAPER.artefacts["table2"]], found)
    assert {j.verdict for j in judged} == {"not compared", "not run"}
    assert f"Not the paper's conditions: {reason}" in headline.conditions_line(found)


def test_counted_claims_need_no_training_and_fail_where_the_count_does(tmp_path: Path) -> None:
    assert verdict(tmp_path, "less-complex-than-vgg").word == "not run"
    nets = json.loads((ROOT / "results" / "architectures.json").read_text())
    nets["vgg-16"]["multiply_adds"] = 10**10
    (tmp_path / "architectures.json").write_text(json.dumps(nets))
    assert verdict(tmp_path, "less-complex-than-vgg").word == "fails by count"
    assert main(["check", "--results", str(tmp_path)]) == 1


# ---- The page ----


def test_both_recipes_of_a_profile_are_named(tree: Path, tmp_path: Path) -> None:
    both = tmp_path / "results"
    shutil.copytree(tree, both)
    fake_results.write_run(both, "paper", "cifar10-plain-20")
    line = headline.conditions_line(evidence(both))
    assert "CIFAR-10: CIFAR-10, official binaries" in line
    assert "ImageNet: ImageNet-2012" in line
    assert "Not the paper's conditions" not in line
    text = headline.headline(evidence(both))
    assert "| ResNet-34 B | 24.52 | 24.52 | +0.00 | within 0.50 in one run |" in text


def test_the_page_shows_diagrams_bars_and_both_sections_of_claims(report: Path) -> None:
    page = (report / "index.html").read_text()
    for name in ("fig2", "fig3", "fig4", "fig5", "table3"):
        assert f' src="figures/{name}.svg"' in page
        assert f"](figures/{name}.svg)" in (report / "REPORT.md").read_text()
    assert '<figure class="tall">' in page
    assert "ImageNet (Sec. 4.1)" in page
    assert "Tables 2 and 3 at a glance" in page
    assert 'src="figures/fig4.svg"' in page
    assert all((report / "figures" / f"fig3{suffix}").stat().st_size < 500_000 for suffix in (".svg", ".png", ".pdf"))


def test_every_imagenet_artefact_prints_with_nothing_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["table1", "table2", "table3", "table4", "table5", "fig2", "fig3-architectures", "fig4-imagenet", "fig5"]
    (tmp_path / "none").mkdir()
    arguments = ["--results", str(tmp_path / "none"), "--report", str(tmp_path)]
    assert main(["render", *names, *arguments]) == 0
    out = capsys.readouterr().out
    for run in fake_imagenet.PAPER_LIKE:
        needed = run not in ("imagenet-plain-34-3x", "imagenet-plain-50")
        assert (f"python -m reproduce train {run} --profile paper" in out) == needed
    assert "python -m reproduce evaluate imagenet-resnet-152 --protocol multi-scale --profile paper" in out


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
