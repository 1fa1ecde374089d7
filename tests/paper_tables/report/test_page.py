"""The report: pages, Markdown, files; a pure function of the results."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from paper_tables.__main__ import main
from paper_tables.report.page import heads, indents
from paper_tables.tables.table import Table
from tests.helpers.evidence import PAPER, ROOT
from tests.helpers.fake_results import write_run
from tests.helpers.figures import Figure


def test_the_report_holds_every_artefact_as_page_markdown_and_files(report: Path) -> None:
    page, text = (report / "index.html").read_text(), (report / "REPORT.md").read_text()
    for artefact in PAPER.artefacts.values():
        assert f'<section id="{artefact.name}"' in page
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
    links = re.findall(r'href="([^"]+/results/paper/cifar10-resnet-110/seed-4/[^"]+)"', page)
    assert [Path(link).name for link in links] == ["curve.csv", "responses.csv", "result.json"]


def test_paper_and_here_share_a_head_and_decimal_points_a_line() -> None:
    rows: list[list[str] | str] = [["A", "9.7 ± 0.1", "not run"], "block", ["B", "13.3 ± 0.1", "1,000"], ["C", "", "9"]]
    table = Table("x", "", ["net", "error · paper", "error · ours"], rows)
    assert heads(table) == [("net", [(0, "")]), ("error", [(1, "paper"), (2, "here")])]
    assert indents(table) == {(0, 1): 1, (2, 1): 0, (2, 2): 0, (3, 2): 3.5}
    table = Table("x", "", ["key", "value"], [["depth", "20"], ["start", "2026-01-02"]])
    assert indents(table) == {}


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
    shutil.copytree(full, tmp_path / full.parent.name / full.name)  # as far from the report, whose pages link to it
    command = [sys.executable, "-m", "paper_tables", "render", "all", "--results", f"{full.parent.name}/{full.name}"]
    command += ["--report", report.parent.name]
    environment = os.environ | {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    again = tmp_path / report.parent.name / "paper"
    names = sorted(str(p.relative_to(report)) for p in report.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(again)) for p in again.rglob("*") if p.is_file())
    changed = [name for name in names if (report / name).read_bytes() != (again / name).read_bytes()]
    what = "the report again, from another path, time zone, locale: files that differ"
    figure("T27", what, reached=f"{len(changed)} of {len(names)}", demanded="0")
    assert changed == []
    text = (report / "index.html").read_text() + (report / "REPORT.md").read_text()
    assert str(full) not in text
    assert str(report) not in text


def test_the_page_shows_diagrams_bars_and_both_sections_of_claims(imagenet_report: Path) -> None:
    page = (imagenet_report / "index.html").read_text()
    for name in ("fig2", "fig3", "fig4", "fig5", "table3"):
        assert f' src="figures/{name}.svg"' in page
        assert f"](figures/{name}.svg)" in (imagenet_report / "REPORT.md").read_text()
    assert '<figure class="tall">' in page
    assert "ImageNet (Sec. 4.1)" in page
    assert "18 against 34 layers, plain against residual: top-1 error on ImageNet validation" in page
    assert 'src="figures/fig4.svg"' in page
    assert all(
        (imagenet_report / "figures" / f"fig3{suffix}").stat().st_size < 500_000 for suffix in (".svg", ".png", ".pdf")
    )


def test_an_artefact_is_written_without_the_figures_that_show_other_runs(full: Path, tmp_path: Path) -> None:
    options = ["--results", str(full), "--report", str(tmp_path)]
    assert main(["render", "table7", *options]) == 0
    folder = tmp_path / "paper"
    page = (folder / "index.html").read_text()
    for link in re.findall(r'(?:src|href)="([^"#]+)', page):
        assert (folder / link).is_file(), link
    assert not (folder / "figures" / "fig6.pdf").exists()
    for kept in ("figures/fig1.svg", "figures/fig6.svg", "runs/cifar10-plain-20.html", "runs/cifar10-resnet-20.html"):
        (folder / kept).write_text("kept")
    assert main(["render", "fig1", *options]) == 0  # Figure 6 has its runs, and the ResNets besides
    assert (folder / "runs" / "cifar10-resnet-20.html").read_text() == "kept"
    for name in ("figures/fig1.pdf", "figures/fig1.svg", "figures/fig6.svg", "runs/cifar10-plain-20.html"):
        assert len((folder / name).read_bytes()) > 5000
