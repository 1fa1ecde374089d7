"""`status`: what the files under results/ and runs/ say of each run, on a terminal and as a page."""

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reproduce.config.load import resolve
from reproduce.config.run import Run
from reproduce.jobs import status
from reproduce.jobs.runner import train_all
from reproduce.jobs.status import page

NOW = 1_800_000_000.0
RESULT = {"iterations": 640, "metrics": {"train_error": 50.0, "test_error": 48.9}}
RESULT |= {"provenance": {"hours": 0.25, "processes": 2, "device": "NVIDIA H100"}}
PROGRESS = {"iteration": 160, "iterations": 640, "train_error": 66.4, "test_error": 63.3, "eta_seconds": 5400.0}
PROGRESS |= {"hours": 0.5, "devices": 2, "updated": NOW - 10}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status._multiply_adds.cache_clear()


def run(name: str = "cifar10-plain-20", seed: int = 0) -> Run:
    return resolve(name, "short", ["train.iterations=640", "train.milestones=[320,480]"], seed)


def write(one: Run, where: str, name: str, content: Any, age: float = 0.0) -> None:
    path = Path(where) / one.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    os.utime(path, (NOW - age, NOW - age))


def look(*runs: Run) -> Sequence[status.State]:
    return status.states(runs, NOW)


def test_done_is_what_has_a_result() -> None:
    write(run(), "results", "result.json", RESULT)
    write(run(), "runs", "error.txt", "RuntimeError: of an earlier start")
    (one,) = look(run())
    assert (one.name, one.iteration, one.test_error, one.spent, one.to_go) == ("done", 640, 48.9, 0.5, 0.0)


def test_running_has_iteration_error_and_eta() -> None:
    write(run(), "runs", "progress.json", PROGRESS)
    (one,) = look(run())
    assert status.row(one) == [
        *("cifar10-plain-20", "0", "running", "160 of 640", "66.4 %", "63.3 %", "1:30:00", "1.00", "3.00", "")
    ]


def held(host: str, pid: int) -> str:
    return json.dumps({"host": host, "pid": pid, "job": None})


def test_a_lock_that_was_touched_keeps_a_run_alive() -> None:
    write(run(), "runs", "progress.json", PROGRESS | {"updated": NOW - 1000})
    write(run(), "runs", "lock", held("another-machine", 1), age=60)
    assert look(run())[0].name == "running"
    write(run(), "runs", "lock", held("another-machine", 1), age=300)
    assert look(run())[0].name == "interrupted"


def test_a_dead_process_of_this_machine_is_not_running() -> None:
    write(run(), "runs", "progress.json", PROGRESS)
    write(run(), "runs", "lock", held(socket.gethostname(), os.getpid()))
    assert look(run())[0].name == "running"
    write(run(), "runs", "lock", held(socket.gethostname(), 2**22 + 1))
    (one,) = look(run())
    assert (one.name, one.spent, one.to_go) == ("interrupted", 1.0, 3.0)  # 1 h for a quarter of it
    assert "the same command continues" in status.text([one])


def test_failed_says_why_in_one_line_until_the_run_goes_on() -> None:
    write(run(), "runs", "progress.json", PROGRESS)
    write(run(), "runs", "error.txt", "Traceback ...\n  File ...\nRuntimeError: CUDA out of memory\n")
    (one,) = look(run())
    assert (one.name, one.reason) == ("failed", "RuntimeError: CUDA out of memory")
    write(run(), "runs", "error.txt", "RuntimeError: CUDA out of memory\n", age=100)
    assert look(run())[0].name == "running"


def test_files_that_are_broken_stop_nothing() -> None:
    write(run(), "results", "result.json", "{")
    write(run(), "runs", "progress.json", {"iteration": "many", "updated": None, "hours": [1]})
    assert look(run())[0].name == "interrupted"


def test_hours_to_go_of_other_nets_follow_from_their_multiply_adds() -> None:
    Path("results").mkdir()
    counted = {(32, 20, "none"): 4, (32, 110, "A"): 24, (32, 20, "A"): 7}
    keys = "input", "layers", "shortcut"
    architectures = {str(net): dict(zip(keys, net, strict=True)) | {"multiply_adds": n} for net, n in counted.items()}
    Path("results/architectures.json").write_text(json.dumps(architectures))
    write(run(), "results", "result.json", RESULT)
    names = ["cifar10-plain-20", "cifar10-resnet-110", "cifar10-resnet-110-no-warmup", "imagenet-plain-18"]
    found = look(*(run(name) for name in names))
    assert [one.to_go for one in found] == [0.0, 3.0, 3.0, None]  # 0.5 h for a net a sixth as large
    assert status.totals(found) == (
        "done 1, not run 3. GPU-hours: 0.50 spent, 6.00 to go and 1 runs of which nothing is known yet "
        "(make plan times a few steps)."
    )


def test_the_page_stands_alone_and_says_the_same() -> None:
    write(run(), "runs", "progress.json", PROGRESS)
    write(run(seed=1), "runs", "error.txt", "ValueError: <b>\n")
    text = page(look(run(), run(seed=1), run(seed=2)), "short", NOW)
    assert "http" not in text
    assert "src=" not in text
    assert "ValueError: &lt;b&gt;" in text
    for word in ("running", "failed", "not run"):
        assert f">{word}</strong>" in text
    assert 'style="width: 25.0%"' in text
    assert "2027-01-15 08:00 UTC" in text


def test_training_writes_what_status_reads(tiny: Any) -> None:
    one = tiny()
    assert train_all([one]) == 0
    progress = json.loads((Path("runs") / one.folder / "progress.json").read_text())
    assert progress["devices"] == 1
    assert progress["hours"] >= 0
    assert status.states([one])[0].name == "done"
    elsewhere = one.config.replaced({"data.source": "folder", "data.root": "nowhere"})
    bad = replace(one, config=elsewhere, name="x")
    assert train_all([bad]) == 2
    assert status.states([bad])[0].name == "not run"  # bad input leaves nothing
    write(bad, "runs", "progress.json", PROGRESS | {"updated": 0.0})  # of a training that had begun it is told
    assert train_all([bad]) == 2
    found = status.states([bad])[0]
    assert found.name == "failed"
    assert "nowhere" in found.reason
