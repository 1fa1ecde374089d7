"""The headline, and the generated blocks of the README."""

import shutil
from pathlib import Path

import pytest

from paper_tables.__main__ import main
from paper_tables.report import front_page, overview
from tests.helpers import fake_results
from tests.helpers.evidence import PAPER, ROOT, evidence
from tests.helpers.fake_results import write_run


def test_best_is_for_five_runs_of_resnet_110_only(tmp_path: Path) -> None:
    for seed in range(5):
        write_run(tmp_path, "paper", "cifar10-resnet-20", seed, test=8.5 + 0.1 * seed)
    for seed in range(3):
        write_run(tmp_path, "paper", "cifar10-resnet-110", seed, test=6.5)
    text = front_page.headline(evidence(tmp_path))
    assert "8.70 ± 0.16 (n = 5)" in text
    assert "6.50 ± 0.00 (n = 3)" in text
    assert "best" not in text


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
    row += "ResNet-1202, test error: 7.95 (paper: 7.93) | `make table6` |"
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
    assert "synthetic images made by the suite · iterations: 300 of 64,000 · bf16" in text
    assert "no number here is compared with the paper's" in text


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md", "docs/reliability.md"])
def test_what_is_generated_is_what_the_committed_results_say(page: str) -> None:
    arguments = ["--profile", "short-folder+6b3c7458", "--results", str(ROOT / "results"), "--check"]
    assert main(["readme", str(ROOT / page), *arguments]) == 0


def test_the_overview_has_a_row_for_every_table_and_figure(full: Path) -> None:
    rows = [line for line in overview.overview(evidence(full)).splitlines() if line.startswith("| [")]
    assert [row.split("]")[0][3:] for row in rows] == [artefact.title for artefact in PAPER.artefacts.values()]
    assert all(f"`make {artefact.target}`" in row for row, artefact in zip(rows, PAPER.artefacts.values(), strict=True))


def test_the_overview_says_how_to_get_the_same_conditions(full: Path, tmp_path: Path) -> None:
    assert "PROFILE=" not in overview.overview(evidence(full))
    assert "`make TARGET PROFILE=demo`" in overview.overview(evidence(full, "demo"))
    (tmp_path / "results").mkdir()
    text = overview.overview(evidence(tmp_path / "results", "short"))
    assert "Nothing has been run yet in profile `short`." in text
    assert "| not run |  |  | `make table6` |" in text


def test_both_recipes_of_a_profile_are_named(imagenet: Path, tmp_path: Path) -> None:
    both = tmp_path / "results"
    shutil.copytree(imagenet, both)
    fake_results.write_run(both, "paper", "cifar10-plain-20")
    line = front_page.conditions_line(evidence(both))
    assert "CIFAR-10: CIFAR-10, official binaries" in line
    assert "ImageNet: ImageNet-2012" in line
    assert "Not the paper's conditions" not in line
    text = front_page.headline(evidence(both))
    assert "| ResNet-34 B | 24.52 | 24.52 | +0.00 | within 0.50 in one run |" in text
