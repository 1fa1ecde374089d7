"""Tables 2 and 6: best of five, differences, conditions; LaTeX."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.evidence import table
from tests.helpers.fake_results import write_run


def every_latex_table(report: Path) -> list[Path]:
    return sorted((report / "tables").glob("*.tex"))


def test_table6_shows_best_of_five_mean_and_difference(full: Path) -> None:
    found = table("table6", full)
    row = next(r for r in found.body() if r[1] == "110" and r[0] == "ResNet")
    assert row[3] == "6.43 (6.61 ± 0.16)"
    assert row[4] == "6.43 best (6.62 ± 0.14, n = 5)"  # 6.43 6.60 6.80 6.55 6.70: sample std 0.1401
    assert row[5:] == ["within 0.50", "+0.01 of the means", "1,727,962"]
    assert found.conditions == "CIFAR-10, official binaries · iterations: 64,000 of 64,000 · fp32"
    single = next(r for r in found.body() if r[1] == "20" and r[0] == "ResNet")
    assert (single[4], single[6]) == ("8.80", "+0.05")
    assert next(found.body())[0] == "Maxout [10]"


def test_conditions_stand_in_a_column_only_where_rows_differ_in_them(tmp_path: Path) -> None:
    write_run(tmp_path, "short", "cifar10-resnet-20", iterations=6400)
    assert table("table6", tmp_path, "short").columns[-1] == "# params · ours"
    write_run(tmp_path, "short", "cifar10-resnet-32", iterations=3200)
    found = table("table6", tmp_path, "short")
    assert found.columns[-1] == "conditions"
    assert [row[-1].split(" · ")[1] for row in found.body() if row[-1]] == [
        "iterations: 6,400 of 64,000",
        "iterations: 3,200 of 64,000",
    ]


def test_each_number_of_ours_leads_to_its_run(full: Path, imagenet: Path) -> None:
    found = table("table6", full)
    places = {run: found.rows[i][j] for (i, j), run in found.links.items()}
    assert places["cifar10-resnet-110"] == "6.43 best (6.62 ± 0.14, n = 5)"
    found = table("table2", imagenet)
    assert {(found.rows[i][0], found.rows[i][j]) for (i, j), run in found.links.items() if run.endswith("34-A")} == {
        ("34 layers", "25.03")
    }


def test_latex_is_one_table_environment_with_everything_escaped(full: Path) -> None:
    text = table("table6", full).latex()
    assert text.startswith("\\begin{table}\n")
    assert text.endswith("\\end{table}\n")
    assert [text.count(rule) for rule in (r"\toprule", r"\bottomrule")] == [1, 1]
    assert text.isascii()
    assert not re.search(r"(?<!\\)[#%_]", text.replace(r"\label{tab:table6}", ""))
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {6}
    assert r"6.43 (6.61 $\pm$ 0.16)" in text


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
