"""The command line's contract: exit codes, one line on stderr for bad input, JSON as the last line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paper_tables.__main__ import main as tables
from reproduce.__main__ import ALONE, main
from reproduce.utils.console import Remaining, duration, sentence
from tests.helpers.environments import clean_environment

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--profile", "smoke", "model.depth=8"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train"], "name at least one run"),
        (["train", "--profile", "smoke"], "name at least one run"),
        (["train", "cifar10-resnet-21"], "no such run"),
        (["train", "cifar10-resnet-20", "--profile", "papr"], "no such profile"),
        (["train", "cifar10-resnet-20", "--seeds", "0"], "--seeds 0"),
        (["train", "cifar10-resnet-20", "--seed", "-1"], "--seed -1"),
        (["ensemble", "cifar10-resnet-20", "--seeds", "-3"], "--seeds -3"),
        (["dashboard", "--seeds", "0"], "--seeds 0"),
        (["evaluate", "cifar10-resnet-20", *TINY, "--weights", "."], "a folder, not a file"),
        (["train", "cifar10-resnet-20", "--seed", "one"], "invalid int value"),
        (["train", "cifar10-resnet-20", "--sed", "1"], "--sed"),
        (["train", "cifar10-resnet-20", "model.dpth=3"], "model.dpth"),
        (["train", "cifar10-resnet-20", "execution.devices=3"], "not divisible by 3"),
        (["train", "cifar10-resnet-20", "--profile", "folder", "data.root=nowhere"], "nowhere"),
        (["train", "cifar10-resnet-20", "data.mean=[1,2"], "data.mean=[1,2"),
        (["evaluate", "cifar10-resnet-20", *TINY], "no trained weights yet"),
        (["evaluate", "cifar10-resnet-20", *TINY, "--weights", "none.pt"], "none.pt"),
        (["evaluate", "cifar10-resnet-20", *TINY, "--protocol", "10-crop"], "10-crop"),
        (["fly"], "invalid choice"),
        ([], "required"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(words) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1, errors
    assert expected in errors[0]
    assert not (tmp_path / "results").exists()


def test_without_the_data_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for all runs, not one for each."""
    for name in ("cifar10", "imagenet"):
        runs = [f"{name}-plain-{depth}" for depth in ((20, 56) if name == "cifar10" else (18, 34))]
        assert main(["train", *runs, "--profile", "folder", "data.root=nowhere"]) == 2
        assert capsys.readouterr().err == (
            "nowhere/train: no such folder; data.root (DATA=... of make) names the folder that holds it\n"
        )
    assert list(Path().iterdir()) == []


def test_runs_are_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    lines = capsys.readouterr().out.split()
    assert "cifar10-resnet-110" in lines
    assert len(lines) == len(set(lines)) == 24


def test_describe_ends_with_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "cifar10-resnet-56", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["run"], found["layers"], found["parameters"]) == ("cifar10-resnet-56", 56, 853_018)
    assert found["multiply_adds"] == pytest.approx(125.49e6, rel=1e-4)  # facts of Sec. 4.2's nets at 32x32


def test_plan_and_status_read_only(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["plan", "cifar10-resnet-20", "cifar10-resnet-110", "--profile", "smoke"]) == 0
    plan = capsys.readouterr().out
    assert plan.count("cifar10-resnet-110") == 5  # seeds
    assert "total:" in plan
    assert main(["plan", "cifar10-resnet-20", "--profile", "smoke", "model.bn_group=64", "train.batch_size=128"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert main(["status", "--profile", "smoke"]) == 0
    out = capsys.readouterr().out
    assert out.count("  not run  ") == 28  # 24 runs, and four more seeds of ResNet-110
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == ["report/status.html"]


def test_profile_name_says_where_results_go(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile-name", "--profile", "short", "train.precision=bf16"]) == 0
    assert capsys.readouterr().out.startswith("short+")


def test_progress_reads_as_a_sentence() -> None:
    report = {"label": "[1/2] cifar10-plain-20 seed 0", "iteration": 120, "iterations": 640, "train_error": 45.06}
    report |= {"test_error": None, "images_per_second": 1331.4, "eta_seconds": 200}
    expected = "iteration 120/640, training error 45.1 %, test error -, 1,331 images/s, ETA 3:20"
    assert sentence(report) == f"[1/2] cifar10-plain-20 seed 0: {expected}"
    assert [duration(x) for x in (None, 59, 3725)] == ["-", "0:59", "1:02:05"]


@pytest.mark.parametrize("verb", ["plan", "train"])
def test_a_results_folder_that_is_a_file_is_one_line(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").touch()
    assert main([verb, "cifar10-plain-20", "--profile", "smoke"]) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1, errors
    assert "results/smoke/cifar10-plain-20" in errors[0]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [("reproduce", "runs"), ("paper_tables", "runs", "all")])
def test_output_that_cannot_be_written_is_one_line_and_no_reader_is_none(
    words: tuple[str, ...], unbuffered: str
) -> None:
    command = [sys.executable, "-m", *words]
    env = clean_environment(PYTHONUNBUFFERED=unbuffered)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=ROOT, env=env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "No space left" in done.stderr
    left = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert left.stdout
    assert left.stderr
    left.stdout.close()
    assert left.stderr.read() == ""
    assert left.wait() == (141 if words[0] == "reproduce" else 0)


def test_a_terminal_of_few_letters_gets_the_headline() -> None:
    command = [sys.executable, "-m", "paper_tables", "headline", "--profile", "short-folder+6b3c7458"]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(PYTHONIOENCODING="ascii"), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"9.7 \\xb1 0.1" in done.stdout


def test_ctrl_c_is_130_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(ALONE, "runs", (pressed, ""))
    assert main(["runs"]) == 130
    monkeypatch.setattr("paper_tables.__main__._check", pressed)
    assert tables(["check"]) == 130


def test_several_trainings_have_one_eta_together(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    remaining = Remaining({"a": 30.0, "b": 10.0})

    def report(label: str, iteration: int) -> dict[str, Any]:
        return {"label": label, "iteration": iteration, "iterations": 100}

    assert remaining.sentence(report("a", 0)) == "; all 2 trainings: ETA -"
    clock[0] = 110.0
    assert remaining.sentence(report("a", 50)) == "; all 2 trainings: ETA 0:16"  # 15 of 40 in 10 s
    clock[0] = 120.0
    remaining.seconds(report("b", 40))  # continued: what an earlier start had done tells nothing of this one's speed
    assert remaining.seconds(report("b", 90)) == 20.0 * (15 + 1) / (15 + 5)
    assert Remaining({"a": 1.0}).sentence(report("a", 50)) == ""
