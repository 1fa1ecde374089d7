"""Stages 4 and 5: what paper.yaml says, how results are read and judged, and the report that comes out."""

import ast
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paper_tables import claims, headline, measure, overview, registry, results, tables
from paper_tables.__main__ import main
from paper_tables.compare import compare
from paper_tables.results import Results, Seed
from tests.fake_results import write_run, write_tree
from tests.figures import Figure

ROOT = Path(__file__).resolve().parent.parent
PAPER = registry.load()
FOUR = ["cifar10-plain-20", "cifar10-plain-56", "cifar10-resnet-20", "cifar10-resnet-56"]


def printed(name: str) -> list[list[str]]:
    """An artefact's rows as the paper prints them."""
    rows = PAPER.artefacts[name].rows()
    return [[c.printed if isinstance(c, registry.Cell) else c for c in row] for _, row in rows if row]


def verdict(root: Path, profile: str, identifier: str) -> claims.Verdict:
    claim = next(c for c in PAPER.claims if c["id"] == identifier)
    return claims.judge_claim(claim, results.read(root, profile), PAPER)


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/ with every CIFAR run of the paper under profile paper, and four of them under demo."""
    root = write_tree(tmp_path_factory.mktemp("full") / "results")
    return write_tree(root, "demo", FOUR, iterations=300)


@pytest.fixture(scope="session")
def report(full: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the full tree."""
    out = tmp_path_factory.mktemp("report")
    assert main(["render", "all", "--results", str(full), "--report", str(out)]) == 0
    return out / "paper"


# ---- What the paper says ----


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
        ("table12", ["our ensemble (ILSVRC'15)", "63.6", "62.1"]),
        ("table13", ["RPN+RCNN", "ensemble", "dense", "", "ensemble", "8.9"]),
        ("table14", ["ours (ILSVRC'15)", "8.9", "9.0"]),
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
        known = {*PAPER.nets, "vgg-16", "vgg-19"} if claim.get("counted") else set(PAPER.nets)
        assert set(claims.runs_of(claim)) <= known, claim["id"]
    readings = {(c.run, c.metric): c for c in PAPER.artefacts["fig6"].readings()}
    assert readings["cifar10-plain-56", "test_error"].paper == 13.3
    assert readings["cifar10-resnet-1202", "train_error"].printed == "below 0.1"
    assert PAPER.artefacts["fig7"].spec["sorted_readings"]["cifar10-resnet-110"][109] == "0.65"


def test_run_ids_are_those_that_can_be_trained() -> None:
    declared = set(re.findall(r"^([\w-]+):", (ROOT / "configs" / "runs.yaml").read_text(), re.MULTILINE))
    assert declared <= set(PAPER.nets)
    assert not {run for run in set(PAPER.nets) - declared if run.startswith("cifar10-")}


def test_profiles_are_those_that_can_be_trained() -> None:
    assert set(PAPER.profiles) == {path.stem for path in (ROOT / "configs" / "profiles").glob("*.yaml")}


def test_every_artefact_is_a_make_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for artefact in PAPER.artefacts.values():
        for target in (artefact.name, artefact.target):
            assert re.search(rf"^(?:[a-z0-9-]+ )*{target}(?: [a-z0-9-]+)*:", makefile, re.MULTILINE), target


# ---- The command line ----


def test_runs_prints_what_an_artefact_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "fig1-cifar", "fig1", "table6"]) == 0
    out = capsys.readouterr().out.split()
    assert out[:2] == ["cifar10-plain-20", "cifar10-plain-56"]
    assert out[2:] == [f"cifar10-resnet-{depth}" for depth in (20, 32, 44, 56, 110, 1202)]


def test_runs_of_all_are_all_runs_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "all"]) == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(PAPER.nets)


@pytest.mark.parametrize("name", ["table1", "fig3-architectures", "table8", "fig2"])
def test_an_artefact_without_training_needs_no_runs_and_says_why(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", name]) == 0
    got = capsys.readouterr()
    assert got.out == ""
    assert "nothing to train" in got.err


@pytest.mark.parametrize(
    "command",
    [
        ["runs", "table66"],
        ["render", "fig8"],
        ["render", "all", "--profile", "dmo"],
        ["check", "--profile", "../paper"],
        ["check", "--profile", "demo+xyz"],
        ["runs"],
        ["paint"],
        ["readme", "no-such-file.md"],
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code: Any = main(command)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_nothing_run_still_makes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    none, out = str(tmp_path / "none"), tmp_path / "report"
    assert main(["render", "table6", "--profile", "demo", "--results", none, "--report", str(out)]) == 2
    assert "none: no folder of results" in capsys.readouterr().err
    assert not out.exists()  # a slip of the hand writes no `not run` over a report
    (tmp_path / "none").mkdir()
    assert main(["render", "table2", "table6", "--profile", "demo", "--results", none, "--report", str(out)]) == 0
    text = capsys.readouterr().out
    assert "27.94" in text
    assert "python -m reproduce evaluate imagenet-plain-18 --protocol 10-crop --profile demo" in text
    assert "python -m reproduce train cifar10-resnet-110 --profile demo" in text
    assert str(out / "demo" / "index.html") in text
    page = (out / "demo" / "index.html").read_text()
    assert "Nothing has been run in this profile yet" in page
    assert all(f'<section id="{name}">' in page for name in PAPER.artefacts)
    assert "make fig6-cifar PROFILE=demo" in page
    assert main(["check", "--profile", "demo", "--results", none]) == 0


# ---- Reading results ----


@pytest.mark.reliability
def test_files_that_cannot_be_trusted_are_listed_and_never_stop(tmp_path: Path, figure: Figure) -> None:
    good = json.loads((write_run(tmp_path, "paper", "cifar10-plain-20") / "result.json").read_text())
    broken: dict[str, str | bytes] = {
        "cifar10-plain-32": "{",
        "cifar10-plain-44": "[1]",
        "cifar10-plain-56": json.dumps(good),  # says plain-20
        "cifar10-plain-110": b"\xff\xfe\x00",
        "cifar10-resnet-20": json.dumps(good | {"run": "cifar10-resnet-20", "metrics": {"test_error": float("nan")}}),
        "cifar10-resnet-32": json.dumps(good | {"run": "cifar10-resnet-32", "metrics": {"test_error": 101}}),
        "cifar10-resnet-44": json.dumps(good | {"run": "cifar10-resnet-44", "provenance": {}}),
        "cifar10-resnet-56": json.dumps(good | {"run": "cifar10-resnet-56", "profile": "demo"}),
        "cifar10-resnet-110": json.dumps(good | {"run": "cifar10-resnet-110", "iterations": "many"}),
        "cifar10-resnet-1202": "[" * 100000,
    }
    for run, content in broken.items():
        folder = tmp_path / "paper" / run / "seed-0"
        folder.mkdir(parents=True)
        (folder / "result.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "paper" / "cifar10-plain-20" / "seed-x").mkdir()
    found = results.read(tmp_path, "paper")
    assert list(found.seeds) == ["cifar10-plain-20"]
    assert {path.split("/")[0] for path, _ in found.skipped} == {*broken, "cifar10-plain-20"}
    assert all(reason and "\n" not in reason and str(tmp_path) not in reason for _, reason in found.skipped)
    code = main(["render", "fig1", "--results", str(tmp_path), "--report", str(tmp_path / "report")])
    listed = sum(f"{run}/seed-0" in (tmp_path / "report/paper/index.html").read_text() for run in broken)
    reached = f"exit {code}, {listed} of {len(broken)} listed with the reason"
    figure("T17", "malformed result files", reached=reached, demanded="exit 0, all listed")
    assert (code, listed) == (0, len(broken))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "iteration,lr\n1,2\n",
        "iteration,lr,train_loss,train_error,test_error\n",
        "iteration,lr,train_loss,train_error,test_error\n2,1,1,1,1\n1,1,1,1,1\n",
        "iteration,lr,train_loss,train_error,test_error\n1,1,1,many,1\n",
        "iteration,lr,train_loss,train_error,test_error\n1,1,1,101,1\n",
        "iteration,lr,train_loss,train_error,test_error\n1,1,inf,1,1\n",
    ],
)
def test_a_bad_curve_is_skipped_and_its_result_kept(text: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path, "paper", "cifar10-plain-20", test=9.5)
    (folder / "curve.csv").write_text(text)
    found = results.read(tmp_path, "paper")
    (seed,) = found.seeds["cifar10-plain-20"]
    assert seed.curve is None
    assert seed.value("test_error") == 9.5
    assert [path for path, _ in found.skipped] == ["cifar10-plain-20/seed-0/curve.csv"]


def test_a_training_on_its_way_is_not_run_but_unfinished(tmp_path: Path) -> None:
    folder = tmp_path / "paper" / "cifar10-resnet-20" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "curve.csv").write_text(
        "iteration,lr,train_loss,train_error,test_error\n1000,0.1,1,40,\n2000,0.1,1,30,41\n"
    )
    found = results.read(tmp_path, "paper")
    assert found.unfinished == {"cifar10-resnet-20": 2000}
    assert found.skipped == []
    table = tables.artefact_table(PAPER.artefacts["table6"], found, PAPER)
    assert table is not None
    assert "not run (unfinished, at iteration 2,000)" in table.markdown()


# ---- Table 6 ----


def test_table6_shows_best_of_five_mean_and_difference(full: Path) -> None:
    table = tables.artefact_table(PAPER.artefacts["table6"], results.read(full, "paper"), PAPER)
    assert table is not None
    row = next(r for r in table.body() if r[1] == "110" and r[0] == "ResNet")
    assert row[3] == "6.43 (6.61 ± 0.16)"
    assert row[4] == "6.43 best (6.62 ± 0.14, n = 5)"  # 6.43 6.60 6.80 6.55 6.70: sample std 0.1401
    assert row[5] == "+0.01 of the means"
    assert row[6] == "1,727,962"
    assert row[7:] == [
        "within 0.50",
        "CIFAR-10, official binaries",
        "64,000 of 64,000",
        "fp32",
        "last iterate, single 32×32 view",
    ]
    single = next(r for r in table.body() if r[1] == "20" and r[0] == "ResNet")
    assert (single[4], single[5]) == ("8.80", "+0.05")
    assert next(table.body())[0] == "Maxout [10]"


def test_best_is_for_five_runs_of_resnet_110_only(tmp_path: Path) -> None:
    for seed in range(5):
        write_run(tmp_path, "paper", "cifar10-resnet-20", seed, test=8.5 + 0.1 * seed)
    for seed in range(3):
        write_run(tmp_path, "paper", "cifar10-resnet-110", seed, test=6.5)
    text = headline.headline(results.read(tmp_path, "paper"), PAPER)
    assert "8.70 ± 0.16 (n = 5)" in text
    assert "6.50 ± 0.00 (n = 3)" in text
    assert "best" not in text


def test_seeds_under_different_conditions_are_marked_and_not_judged(tmp_path: Path) -> None:
    write_run(tmp_path, "paper", "cifar10-resnet-20", 0, test=8.7)
    write_run(tmp_path, "paper", "cifar10-resnet-20", 1, test=8.8, precision="bf16")
    found = results.read(tmp_path, "paper")
    cell = next(c for c in PAPER.artefacts["table6"].cells() if c.run == "cifar10-resnet-20")
    judged = measure.judge(cell, found, PAPER)
    assert judged.verdict == "not compared"
    assert "[mixed precision]" in tables.ours_text(judged, found)


@pytest.mark.parametrize(
    ("changes", "iterations"),
    [({"precision": "bf16"}, 64000), ({}, 6400), ({"config": {"train": {"batch_size": 64}}}, 64000)],
)
def test_other_conditions_are_never_held_against_the_paper(changes: Any, iterations: int, tmp_path: Path) -> None:
    write_run(tmp_path, "paper", "cifar10-resnet-20", 0, test=30, iterations=iterations, **changes)
    found = results.read(tmp_path, "paper")
    cell = next(c for c in PAPER.artefacts["table6"].cells() if c.run == "cifar10-resnet-20")
    assert measure.judge(cell, found, PAPER).verdict == "not compared"
    assert "Not the paper's conditions" in headline.conditions_line(found, PAPER)


def test_a_tolerance_is_fixed_whatever_was_measured(tmp_path: Path) -> None:
    for seed, error in enumerate([8.0, 9.0]):
        write_run(tmp_path, "paper", "cifar10-resnet-20", seed, test=error)
    write_run(tmp_path, "paper", "cifar10-resnet-32", 0, test=8.02)
    found = results.read(tmp_path, "paper")
    cells = {c.run: c for c in PAPER.artefacts["table6"].cells()}
    noisy = measure.judge(cells["cifar10-resnet-20"], found, PAPER)
    assert (noisy.tolerance, noisy.verdict) == (0.5, "undecided")  # 8.50 against 8.75, and 2 standard errors of 0.50
    outside = measure.judge(cells["cifar10-resnet-32"], found, PAPER)
    assert (outside.tolerance, outside.verdict) == (0.5, "outside")  # 8.02 against 7.51


def test_latex_is_one_table_environment_with_everything_escaped(full: Path) -> None:
    table = tables.artefact_table(PAPER.artefacts["table6"], results.read(full, "paper"), PAPER)
    assert table is not None
    text = table.latex()
    assert text.startswith("\\begin{table}\n")
    assert text.endswith("\\end{table}\n")
    assert [text.count(rule) for rule in (r"\toprule", r"\bottomrule")] == [1, 1]
    assert text.isascii()
    assert not re.search(r"(?<!\\)[#%_]", text.replace(r"\label{tab:table6}", ""))
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {6}
    assert r"6.43 (6.61 $\pm$ 0.16)" in text


def every_latex_table(report: Path) -> list[Path]:
    return sorted((report / "tables").glob("*.tex"))


def test_every_table_is_latex_of_even_rows_and_nothing_is_lost(report: Path) -> None:
    assert len(every_latex_table(report)) >= 15
    for path in every_latex_table(report):
        text = path.read_text()
        assert text.isascii()
        columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
        assert columns
        rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns[1])}, path.name
        assert not [line for line in rows if line.startswith(("*", "["))], path.name
        assert text.count("?") == path.with_suffix(".csv").read_text().count("?"), path.name  # no letter was lost


def test_every_table_compiles(report: Path, tmp_path: Path) -> None:
    program = shutil.which("tectonic") or shutil.which("pdflatex")
    if program is None:
        pytest.skip("neither tectonic nor pdflatex is installed")
    body = "\n\\clearpage\n".join(path.read_text() for path in every_latex_table(report))
    document = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n" + body + "\\end{document}\n"
    (tmp_path / "all.tex").write_text(document)
    options = [] if "tectonic" in program else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run([program, *options, "all.tex"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


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


# ---- Claims ----


@pytest.mark.parametrize(
    ("plain_56", "outcome"),
    [(1.9, "reproduced"), (1.89, "undecided"), (1.4, "undecided"), (0.91, "undecided"), (0.9, "not reproduced")],
)
def test_an_ordering_closer_than_its_margin_is_undecided(plain_56: float, outcome: str, tmp_path: Path) -> None:
    write_run(tmp_path, "paper", "cifar10-plain-20", train=1.4)
    assert verdict(tmp_path, "paper", "degradation-training").word == "not run"
    write_run(tmp_path, "paper", "cifar10-plain-56", train=plain_56)
    got = verdict(tmp_path, "paper", "degradation-training")
    assert got.word == f"{outcome} in one run each"
    assert f"plain-56 {plain_56:.2f} % (n = 1)" in got.numbers


def test_the_spread_of_the_seeds_keeps_an_ordering_open(tmp_path: Path) -> None:
    for seed, (a, b) in enumerate([(1.0, 2.0), (2.0, 3.0)]):
        write_run(tmp_path, "paper", "cifar10-plain-20", seed, train=a)
        write_run(tmp_path, "paper", "cifar10-plain-56", seed, train=b)
    got = verdict(tmp_path, "paper", "degradation-training")  # gap 1.0, standard error of the gap 0.71
    assert (got.word, got.margin) == ("undecided", "0.50; 2 SE 1.41")


def test_outside_the_paper_profile_a_claim_holds_here(tmp_path: Path) -> None:
    for run, error in zip(FOUR, (30, 60, 30, 51), strict=True):
        for seed in range(2):
            write_run(tmp_path, "demo", run, seed, train=error, iterations=300)
    assert verdict(tmp_path, "demo", "degradation-training").word == "holds here"
    gap = verdict(tmp_path, "demo", "degradation-gap")
    assert (gap.word, gap.margin) == ("undecided", "10")  # 30 - 21 = 9 points
    assert verdict(tmp_path, "demo", "residual-depth-training").word == "does not hold here"


def test_bf16_in_the_paper_profile_reproduces_nothing(tmp_path: Path) -> None:
    write_run(tmp_path, "paper", "cifar10-plain-20", train=1, precision="bf16")
    write_run(tmp_path, "paper", "cifar10-plain-56", train=6, precision="bf16")
    assert verdict(tmp_path, "paper", "degradation-training").word == "holds in one run each"


def test_a_claim_over_runs_that_differ_is_undecided(tmp_path: Path) -> None:
    write_run(tmp_path, "paper", "cifar10-plain-20", train=1)
    write_run(tmp_path, "paper", "cifar10-plain-56", train=6, precision="bf16")
    got = verdict(tmp_path, "paper", "degradation-training")
    assert got.word == "undecided in one run each"
    assert "differ in precision" in got.numbers


@pytest.mark.parametrize(
    ("rule", "gaps", "outcome"),
    [
        ("near", [0.5, -0.5], "holds"),
        ("near", [0.9], "fails"),
        ("near", [-1.1], "fails"),
        ("ascending", [0.6, 0.2], "undecided"),
        ("ascending", [0.6, -0.6], "fails"),
        ("lowest", [0.6, 0.5], "holds"),
    ],
)
def test_rules(rule: str, gaps: list[float], outcome: str) -> None:
    assert claims.decide(rule, gaps, [0.5] * len(gaps), [0.0] * len(gaps)) == outcome


def test_equal_means_equal(tmp_path: Path) -> None:
    for run in FOUR:
        write_run(tmp_path, "demo", run)
    assert verdict(tmp_path, "demo", "no-extra-parameters").word == "holds by count"
    path = tmp_path / "demo" / FOUR[0] / "seed-0" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"parameters": 269723}))
    assert verdict(tmp_path, "demo", "no-extra-parameters").word == "fails by count"


def test_a_paper_like_tree_reproduces_every_claim_but_the_close_one(full: Path) -> None:
    judged = claims.judge_claims(results.read(full, "paper"), PAPER)
    words = {v.claim["id"]: v.word for v in judged if str(v.claim["section"]).startswith("4.2")}
    assert words.pop("resnet-110-best") == "undecided in one run each"  # 6.62 against 7.00: closer than half a point
    assert words.pop("warm-up-length") == "reproduced"  # ResNet-110 has five seeds, every other net one
    assert words.pop("no-extra-parameters") == words.pop("resnet-110-parameters") == "holds by count"
    assert set(words.values()) == {"reproduced in one run each"}
    assert len(words) >= 14


# ---- check ----


def test_check_passes_what_is_like_the_paper(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--results", str(full)]) == 0
    assert re.search(r"^within  +table6  ResNet-110 ", capsys.readouterr().out, re.MULTILINE)


def test_check_fails_a_number_outside_its_tolerance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "paper", "cifar10-resnet-20", test=9.5, train=0.6)
    assert main(["check", "--results", str(tmp_path)]) == 1
    assert "outside in one run  table6  ResNet-20" in capsys.readouterr().out


def test_check_fails_a_claim_that_does_not_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        write_run(tmp_path, "demo", "cifar10-plain-20", seed, train=50, iterations=300)
        write_run(tmp_path, "demo", "cifar10-plain-56", seed, train=30, iterations=300)
    assert main(["check", "--profile", "demo", "--results", str(tmp_path)]) == 1
    assert "does not hold here  degradation-training" in capsys.readouterr().out


# ---- The report ----


def test_the_report_holds_every_artefact_as_page_markdown_and_files(report: Path) -> None:
    page, text = (report / "index.html").read_text(), (report / "REPORT.md").read_text()
    for artefact in PAPER.artefacts.values():
        assert f'<section id="{artefact.name}">' in page
        assert f"\n## {artefact.title}\n" in text
    for name in ("fig1", "fig6", "fig7"):
        for suffix in (".svg", ".png", ".pdf"):
            assert (report / "figures" / f"{name}{suffix}").stat().st_size > 5000
        assert f"](figures/{name}.svg)" in text
    for suffix in (".md", ".csv", ".tex", ".html"):
        assert (report / "tables" / f"table6{suffix}").stat().st_size > 500
    rows = list(csv.reader((report / "tables" / "table6.csv").read_text().splitlines()))
    assert len({len(row) for row in rows}) == 1


def test_no_page_needs_a_network_and_every_file_it_names_is_there(report: Path) -> None:
    pages = [report / "index.html", *sorted((report / "runs").glob("*.html"))]
    assert len(pages) == 1 + 12
    for path in pages:
        page = path.read_text()
        assert not re.search(r"https?://|@import|<link", page)
        for link in re.findall(r'(?:src|href)="([^"#]+)', page):
            assert (path.parent / link).is_file(), link
        ids = re.findall(r' id="([^"]+)"', page)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'href="#([^"]+)"', page)) <= {*ids}
        assert all(len(alt) > 20 for alt in re.findall(r'<img[^>]* alt="([^"]*)"', page))
        assert page.count("<img") == page.count(" alt=")


def test_without_scripts_the_page_shows_the_printed_figures_and_every_number(report: Path) -> None:
    page = re.sub(r"<script.*?</script>", "", (report / "index.html").read_text(), flags=re.DOTALL)
    assert [name for name in ("fig1", "fig4", "fig6", "fig7") if f'src="figures/{name}.svg"' not in page] == []
    assert "6.43 best (6.62 ± 0.14, n = 5)" in page


def test_a_figures_data_are_every_seeds_curve_the_mean_and_the_papers_readings(report: Path, full: Path) -> None:
    page = (report / "index.html").read_text()
    found = re.search(r'<script type="application/json" id="plot-fig6">(.*?)</script>', page, re.DOTALL)
    assert found
    plot = json.loads(found[1])
    assert [net["label"] for net in plot["nets"] if net["there"]][-2:] == ["ResNet-110", "ResNet-1202"]
    assert plot["seeds"] == [0, 1, 2, 3, 4]
    deep = [line for line in plot["panels"][1]["lines"] if line["net"] == "cifar10-resnet-110"]
    assert [(line["series"], line["seed"]) for line in deep[:7]] == [
        *(("train_error", seed) for seed in (None, 0, 1, 2, 3, 4)),
        ("test_error", None),
    ]
    assert deep[6]["y"][-1] == pytest.approx((6.43 + 6.60 + 6.80 + 6.55 + 6.70) / 5, abs=1e-3)
    curve = pd.read_csv(full / "paper" / "cifar10-resnet-110" / "seed-3" / "curve.csv")
    assert deep[4]["x"] == curve["iteration"].tolist()
    assert deep[4]["y"] == pytest.approx(curve["train_error"].tolist(), abs=6e-4)
    marks = {(m["net"], m["series"]): m for m in plot["panels"][0]["marks"]}
    assert marks["cifar10-plain-56", "test_error"]["text"] == "13.3 ± 0.1 %"
    assert marks["cifar10-plain-56", "test_error"]["x"] == 64000


def test_the_page_of_a_run_says_how_to_repeat_it_and_where_the_paper_has_it(report: Path) -> None:
    page = (report / "runs" / "cifar10-resnet-110.html").read_text()
    assert "python -m reproduce train cifar10-resnet-110 --profile paper" in page
    assert "<td>train.batch_size</td>" in page
    for words in ("Table 6", "6.43 (6.61 ± 0.16)", "seed 4", "ffffffffff"):
        assert words in page
    assert not (report / "runs" / "imagenet-plain-18.html").exists()


def test_what_a_run_writes_about_itself_cannot_break_the_page(tmp_path: Path) -> None:
    evil = {"description": "<b>|x</b>", "fingerprint": "sha256:1", "official": False}
    write_run(tmp_path / "r", "demo", "cifar10-plain-20", iterations=300, data=evil)
    assert (
        main(["render", "fig1", "--profile", "demo", "--results", str(tmp_path / "r"), "--report", str(tmp_path)]) == 0
    )
    assert "<b>|x" not in (tmp_path / "demo" / "index.html").read_text()


@pytest.mark.reliability
def test_the_report_is_a_pure_function_of_the_results(full: Path, report: Path, tmp_path: Path, figure: Figure) -> None:
    """Again, in another process, folder, time zone and locale: the same bytes."""
    command = [sys.executable, "-m", "paper_tables", "render", "all", "--results", os.path.relpath(full, tmp_path)]
    environment = os.environ | {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    again = tmp_path / "report" / "paper"
    names = sorted(str(p.relative_to(report)) for p in report.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(again)) for p in again.rglob("*") if p.is_file())
    changed = [name for name in names if (report / name).read_bytes() != (again / name).read_bytes()]
    what = "the report again, from another path, time zone, locale: files that differ"
    figure("T27", what, reached=f"{len(changed)} of {len(names)}", demanded="0")
    assert changed == []
    text = (report / "index.html").read_text() + (report / "REPORT.md").read_text()
    assert str(full) not in text
    assert str(report) not in text


# ---- README ----


def test_the_readme_block_is_replaced_and_checked(full: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- headline:begin -->\nold\n<!-- headline:end -->\nafter\n")
    command = ["readme", str(readme), "--profile", "paper", "--results", str(full)]
    assert main([*command, "--check"]) == 1
    assert "old" in readme.read_text()
    assert main(command) == 0
    assert main([*command, "--check"]) == 0
    text = readme.read_text()
    assert text.startswith("before\n<!-- headline:begin -->\n")
    assert text.endswith("<!-- headline:end -->\nafter\n")
    row = "| [Table 6](report/paper/REPORT.md#table-6) | Error on the CIFAR-10 test set | "
    row += "measured; 6 of 6 numbers within tolerance | the paper's | "
    row += "ResNet-1202, test: 7.95 (paper: 7.93) | `make table6` |"
    assert row in text.splitlines()
    assert "Measured so far: CIFAR-10, official binaries" in text


def test_headline_puts_ours_beside_the_papers(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["headline", "--profile", "paper", "--results", str(full)]) == 0
    text = capsys.readouterr().out
    assert "| ResNet-110 | 6.43 (6.61 ± 0.16) | 6.43 best (6.62 ± 0.14, n = 5) | +0.01 | within 0.50 |" in text
    assert "| plain-56 | 5.85 ± 0.3 | 5.80 | 13.3 ± 0.1 | 13.30 |" in text


def test_headline_names_data_and_budget_outside_the_paper(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["headline", "--profile", "demo", "--results", str(full)]) == 0
    text = capsys.readouterr().out
    assert "embedded synthetic images · iterations: 300 of 64,000 · bf16" in text
    assert "no number here is held against the paper's" in text


def test_a_laptop_needs_no_training_code() -> None:
    forbidden = {"reproduce", "torch", "torchvision", "lightning", "omegaconf", "wandb"}
    for path in (ROOT / "paper_tables").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not forbidden & {name.split(".")[0] for name in names}, path.name


def test_compare_joins_the_points_that_two_curves_share(tmp_path: Path) -> None:
    seeds = []
    for iterations in ([40, 80, 120], [80, 120]):
        curve = pd.DataFrame({"iteration": iterations, "train_error": 50.0, "test_error": 60.0})
        curve["train_error"] += len(iterations)
        seeds.append(Seed("cifar10-plain-20", 0, {"provenance": {"precision": "fp32"}}, curve))
    a, b = (Results(name, {"cifar10-plain-20": [seed]}) for name, seed in zip("ab", seeds, strict=True))
    rows = list(compare(a, b).body())
    assert rows == [
        ["cifar10-plain-20 seed 0", "80", "53.00", "52.00", "-1.00", "60.00", "60.00"],
        ["cifar10-plain-20 seed 0", "120", "53.00", "52.00", "-1.00", "60.00", "60.00"],
    ]
    assert list(compare(a, Results("none")).body()) == []


def test_seeds_whose_batch_normalisation_differs_are_not_one_number(tmp_path: Path) -> None:
    loaded = registry.load()
    one = {"data": {"fingerprint": "f", "official": True}, "precision": "fp32", "processes": 1, "bn_group": "device"}
    found = [{**one}, {**one, "processes": 2}, {**one, "bn_group": 64}]
    seeds = [Seed("cifar10-resnet-110", k, {"provenance": p, "iterations": 64000}) for k, p in enumerate(found)]
    assert measure.conditions_of(seeds[:2], loaded).mixed == ["images per batch normalisation"]
    assert measure.conditions_of(seeds[1:], loaded).mixed == []  # 64 on each of two devices is groups of 64


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md", "docs/reliability.md"])
def test_what_is_generated_is_what_the_committed_results_say(page: str) -> None:
    arguments = ["--profile", "short-folder+6b3c7458", "--results", str(ROOT / "results"), "--check"]
    assert main(["readme", str(ROOT / page), *arguments]) == 0


def test_the_overview_has_a_row_for_every_table_and_figure(full: Path) -> None:
    found = results.read(full, "paper")
    rows = [line for line in overview.overview(found, PAPER).splitlines() if line.startswith("| [")]
    assert [row.split("]")[0][3:] for row in rows] == [artefact.title for artefact in PAPER.artefacts.values()]
    assert all(f"`make {artefact.target}`" in row for row, artefact in zip(rows, PAPER.artefacts.values(), strict=True))


def test_the_overview_says_how_to_get_the_same_conditions(full: Path, tmp_path: Path) -> None:
    assert "PROFILE=" not in overview.overview(results.read(full, "paper"), PAPER)
    assert "`make TARGET PROFILE=demo`" in overview.overview(results.read(full, "demo"), PAPER)
    (tmp_path / "results").mkdir()
    text = overview.overview(results.read(tmp_path / "results", "short"), PAPER)
    assert "Nothing has been run yet in profile `short`." in text
    assert "| not run |  |  | `make table6` |" in text
