"""MPS for runs that share a GPU: begun before them, ended after them, and what is said where it cannot be had."""

import os
import stat
import subprocess
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import jobs
from reproduce.config.device import device_of
from reproduce.config.run import Run
from reproduce.jobs import mps, parallel
from reproduce.utils.errors import UserError

Make = Callable[..., Run]


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of NVIDIA's program: a daemon that lives until it is told to quit; returns the record of both."""
    record, program = tmp_path / "record", tmp_path / "bin" / mps.CONTROL
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        'place="$CUDA_MPS_PIPE_DIRECTORY"\n'
        f'if [ "$1" = -d ]; then echo "began $place ${{CUDA_VISIBLE_DEVICES-all}}" >> {record}\n'
        '(while [ -d "$place" ] && [ ! -e "$place/left" ]; do sleep 0.05; done) &\n'
        f'else read word; echo "$word $place" >> {record}; touch "$place/left"; fi\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return record


def test_the_daemon_lives_as_long_as_the_block(control: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves all GPUs, so that those its clients are given keep their numbers."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with mps.mps() as place:
        folder = place["CUDA_MPS_PIPE_DIRECTORY"]
        assert Path(folder).is_dir()
        assert control.read_text() == f"began {folder} all\n"
    assert control.read_text() == f"began {folder} all\nquit {folder}\n"
    assert not Path(folder).exists()


def test_it_ends_where_the_trainings_fail(control: Path) -> None:
    with pytest.raises(ZeroDivisionError), mps.mps():
        raise ZeroDivisionError
    assert control.read_text().splitlines()[-1].startswith("quit ")


def test_what_cannot_begin_is_one_line(
    control: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = control.parent / "bin" / mps.CONTROL
    program.write_text("#!/bin/sh\necho An instance of this daemon is already running >&2; exit 1\n")
    with mps.mps() as place:
        assert place == {}
    said = "execution.mps: An instance of this daemon is already running; the runs take turns on the GPU\n"
    assert capsys.readouterr().err == said
    monkeypatch.setenv("PATH", "")
    with mps.mps() as place:
        assert place == {}
    assert "nvidia-cuda-mps-control is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "gpus", "shared"),
    [
        (["execution.mps=true"], ["0"], True),
        (["execution.mps=true"], ["0", "1"], False),
        (["execution.mps=true"], [], False),
        ([], ["0"], False),
    ],
    ids=["two runs on a GPU", "a GPU each", "no GPU", "not wished for"],
)
def test_runs_that_share_a_gpu_are_its_clients(
    tiny: Make, control: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], gpus: list[str], shared: bool
) -> None:
    environments: list[dict[str, str]] = []

    def start(words: list[str], **given: Any) -> Any:
        environments.append(given["env"])
        return SimpleNamespace(poll=lambda: 0, returncode=0)

    monkeypatch.setattr(parallel, "_visible_gpus", lambda: gpus)
    monkeypatch.setattr(parallel, "subprocess", SimpleNamespace(Popen=start, STDOUT=subprocess.STDOUT))
    runs = [tiny(overrides=["execution.jobs=2", *words], seed=seed) for seed in (0, 1)]
    assert parallel.run_in_parallel(runs, lambda stopped: 1) == [0, 0]
    places = [environment.get("CUDA_MPS_PIPE_DIRECTORY") for environment in environments]
    assert len(places) == 2
    assert all(places) if shared else not any(places)
    assert control.exists() == shared


# ---- The benchmark ----

Rate = Callable[..., float]


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Rate], list[tuple[int, bool, bool]]]:
    """What a benchmark on a GPU keeps, given how fast k trainings are: jobs, captured and by MPS of each row."""

    @contextmanager
    def served() -> Any:
        yield {"CUDA_MPS_PIPE_DIRECTORY": "there"}

    def rows(rate: Rate) -> list[tuple[int, bool, bool]]:
        monkeypatch.setattr(jobs, "rate", rate)
        found: Any = jobs.bench()
        return [(row["jobs"], row["captured"], row["mps"]) for row in found["rows"]]

    monkeypatch.chdir(tmp_path)
    for name, value in {"mps": served, "ROUNDS": 2, "GPU": ((1, 2), (False, True), 3, 4)}.items():
        monkeypatch.setattr(jobs, name, value)
    monkeypatch.setattr(jobs.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(jobs, "write_bench", lambda name, machine, found: found)
    return rows


def test_it_is_held_against_taking_turns(measured: Callable[[Rate], Any]) -> None:
    asked: list[Any] = []

    def rate(*words: Any) -> float:
        asked.append(words)
        return 100.0

    alone = [(1, False, False), (1, True, False)]
    assert measured(rate) == [*alone, (2, False, False), (2, True, False), (2, False, True), (2, True, True)]
    assert asked[:2] == [(1, False, 3, 4, {}), (1, True, 3, 4, {})]
    assert asked[4] == (2, False, 3, 4, {"CUDA_MPS_PIPE_DIRECTORY": "there"})


@pytest.mark.parametrize("error", [RuntimeError("refused"), UserError("refused"), UserWarning("refused")])
def test_what_is_refused_is_left_out_and_said(
    measured: Callable[[Rate], Any], capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def rate(k: int, graph: bool, warm: int, timed: int, environment: dict[str, str]) -> float:
        if environment or graph and k == 2:
            raise error
        return 100.0

    assert measured(rate) == [(1, False, False), (1, True, False), (2, False, False)]
    said = capsys.readouterr().err
    assert said.count("2 at a time, CUDA graph: left out; refused\n") == 2
    assert said.count("2 at a time, CUDA graph, by MPS: left out; refused\n") == 2


def test_the_usual_step_that_fails_is_an_error(measured: Callable[[Rate], Any]) -> None:
    def rate(*words: Any) -> float:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        measured(rate)


def test_a_client_that_finds_no_gpu_does_not_take_the_cpu() -> None:
    config = jobs.configured(2, 0, False, 10, "gpu")
    with pytest.raises(UserError, match="no CUDA device is visible"):
        device_of(config)
