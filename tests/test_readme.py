"""README.md and docs/: short, nothing that is missing is linked or named, nothing of one machine is told."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from paper_tables.__main__ import parser

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
GENERATED = re.compile(r"<!-- (\w+):begin -->.*?<!-- \1:end -->", re.DOTALL)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code(text: str) -> str:
    """What stands in code blocks and code spans, a block or span a line."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    return "\n".join([*blocks, *(" ".join(span.split()) for span in spans)])


def anchors(page: Path) -> set[str]:
    """Headings as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    rows = GENERATED.search(README.read_text(encoding="utf-8"))
    assert rows is not None
    linked = {line for line in rows[0].splitlines() if line.startswith("| [")}  # a row of a table cannot be wrapped
    assert [line for line in lines if len(line) > 120 and line not in linked] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert linked.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_target_exists(page: Path) -> None:
    rules = re.findall(r"^([a-z][a-z0-9 -]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    known = {target for rule in rules for target in rule.split()}
    calls = re.findall(r"^\s*make\b(.*)$", code(page.read_text(encoding="utf-8")), re.MULTILINE)
    for call in calls:
        words = re.sub(r"[A-Z_0-9]+=(\"[^\"]*\"|\S*)", "", call.partition("#")[0]).split()
        assert [word for word in words if word not in known | {"TARGET", "NAME=value"}] == [], call


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_named_exists(page: Path) -> None:
    """Paths of code and configuration, wherever they stand."""
    named = re.findall(r"`((?:reproduce|paper_tables|configs|tests)/[\w./-]+\.\w+)`", page.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_command_exists() -> None:
    found: dict[str, set[str]] = {"reproduce": set(), "paper_tables": set()}
    for page in PAGES:
        calls = re.findall(r"-m (reproduce|paper_tables) ([a-z][\w-]*)", code(page.read_text(encoding="utf-8")))
        for package, command in calls:
            found[package].add(command)
    said = subprocess.run([sys.executable, "-m", "reproduce", "--help"], capture_output=True, text=True, cwd=ROOT)
    listed = re.search(r"\{([a-z,-]+)\}", re.sub(r"\s", "", said.stdout))
    assert listed is not None
    assert found["reproduce"] - set(listed[1].split(",")) == set()
    assert found["reproduce"] > {"train", "evaluate"}
    actions = [action.choices for action in parser()._actions if action.choices]
    assert found["paper_tables"] - set(actions[0]) == set()


def test_the_readme_leads_to_every_page() -> None:
    text = README.read_text(encoding="utf-8")
    assert [name(page) for page in PAGES[1:] if f"({name(page)})" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_nothing_of_one_machine_is_told(page: Path) -> None:
    assert re.findall(r"(?<![\w/.])/(?:work|tmp|home|root)\b", page.read_text(encoding="utf-8")) == []
