"""What is printed: tables of plain text, and progress as lines where there is no terminal."""

import pytest

from reproduce.utils import console


def test_a_table_is_aligned_whole_and_without_empty_columns() -> None:
    rows = [["[1/2] a", "", "7", "x" * 300], ["b", "", "1,000", "[bold]y"]]
    assert console.table(rows, ["run", "note", "images", "text"], right=(2,)).splitlines() == [
        "run      images  text",
        f"[1/2] a       7  {'x' * 300}",
        "b         1,000  [bold]y",
    ]
    assert console.table([["a", "b"], ["cc", "d"]]) == "a   b\ncc  d"


def test_progress_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("images", 1000) as advance:
        advance(10)
        assert capsys.readouterr().err == ""  # too early
        monkeypatch.setattr(console, "LINE_SECONDS", 0.0)
        advance(490)
        advance(500)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("images: 500 of 1,000, ETA ")
    assert last == "images: 1,000 of 1,000, ETA 0:00"
