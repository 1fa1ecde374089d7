"""Trainings at a time: each with its GPU and its share of the cores, more of them than GPUs too; their benchmark."""

import subprocess
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks import jobs, step
from reproduce.config.load import resolve
from reproduce.config.run import Run
from reproduce.data import build
from reproduce.jobs import parallel
from reproduce.training.classification import Classifier
from reproduce.training.optimizer import SGD
from reproduce.training.schedule import Schedule
from reproduce.utils import precision
from reproduce.utils.errors import UserError

Make = Callable[..., Run]


@pytest.mark.parametrize(
    ("gpus", "devices", "expected"),
    [
        (["0"], 1, ["0", "0", "0", "0"]),
        (["0", "1"], 1, ["0", "1", "0", "1"]),
        (["2", "3", "5", "7"], 2, ["2,3", "5,7", "2,3", "5,7"]),
        ([], 1, [None] * 4),
    ],
)
def test_jobs_are_dealt_over_the_gpus_and_share_them(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, gpus: list[str], devices: int, expected: list[str | None]
) -> None:
    started: list[dict[str, str]] = []

    def popen(words: list[str], env: dict[str, str], **kwargs: Any) -> None:
        started.append(env)
        assert ("execution.accelerator=gpu" in words) == bool(gpus)  # a GPU that is refused is no CPU

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(parallel, "_visible_gpus", lambda: gpus)
    monkeypatch.setattr(parallel, "cores", lambda: 8)
    monkeypatch.setattr(subprocess, "Popen", popen)
    run = tiny(overrides=[f"execution.devices={devices}", "execution.threads=0"])
    for slot in range(4):
        parallel._start(run, "", slot, 4, {})
    assert [env.get("CUDA_VISIBLE_DEVICES") for env in started] == expected
    assert {env["OMP_NUM_THREADS"] for env in started} == {str(8 // (4 * devices))}


@pytest.mark.parametrize("named", ["", "-1", "0"])
def test_a_gpu_that_is_only_named_is_none(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert parallel._visible_gpus() == []


def test_a_gpu_gets_rows_with_and_without_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def measure(*words: Any) -> dict[str, list[float]]:
        asked.append(words)
        return {}

    monkeypatch.setattr(step, "measure", measure)
    monkeypatch.setattr(step, "gemm_rate", lambda precision, device: 1e12)
    monkeypatch.setattr(precision, "has_bf16", lambda: True)
    names = [row["net"] for row in step.rows(torch.device("cuda"))]
    assert names == ["ResNet-20", "ResNet-20, CUDA graph", "ResNet-110", "ResNet-110, CUDA graph"] * 2
    assert asked[:2] == [(20, "bf16", 200, False), (20, "bf16", 200, True)]
    on_cpu = list(step.rows(torch.device("cpu")))
    assert [row["net"] for row in on_cpu] == ["ResNet-20", "ResNet-56"] * 2
    assert on_cpu[0]["flops"] == 6 * 128 * 40_551_040  # multiply-adds of ResNet-20, forward and twice that backward
    assert asked[-1] == (56, "fp32", 1, False)
    monkeypatch.setattr(precision, "has_bf16", lambda: False)  # there bf16 is computed in fp32, and timed once
    assert [row["precision"] for row in step.rows(torch.device("cpu"))] == ["fp32", "fp32"]


def test_on_a_gpu_only_cifars_batches_are_made_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty of ImageNet's at once would fill the memory, and one turn of a benchmark would pay for five."""
    monkeypatch.setattr(build, "on_gpu", lambda config: True)
    names = ("cifar10-resnet-20", "imagenet-resnet-50")
    assert [build.chunk_of(resolve(name, "smoke", ["execution.devices=1"]).config) for name in names] == [50, 1]


def test_a_capture_that_fails_is_timed_under_no_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(depth: int, precision: str, steps: int, graph: bool) -> dict[str, list[float]]:
        if graph:
            warnings.warn("execution.cuda_graph: no capture (refused); the training goes on as usual", stacklevel=2)
        return {}

    monkeypatch.setattr(step, "measure", measure)
    monkeypatch.setattr(step, "gemm_rate", lambda precision, device: 1e12)
    assert [row["net"] for row in step.rows(torch.device("cuda"))] == ["ResNet-20", "ResNet-110"] * 2
    assert capsys.readouterr().err.count("CUDA graph: left out; execution.cuda_graph: no capture (refused)") == 4


def test_the_usual_loop_takes_fewer_steps_a_turn_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is expected to take several times as long, so that fewer make a turn of the same length."""
    loops = {"usual, 0 workers": iter(range(100)), "bare": iter(range(100))}
    turns = step.Turns(loops, 20, torch.device("cpu"), rarely=10)
    ticks = iter(range(100))
    monkeypatch.setattr(step, "clock", lambda device: float(next(ticks)))
    module = Classifier(torch.nn.Identity(), Schedule(0.1, ()), SGD())
    module.iteration = 20
    turns.on_train_batch_end(None, module)  # type: ignore[arg-type]
    assert [next(loop) for loop in loops.values()] == [2, 20]
    assert turns.times["usual, 0 workers"] == [1 / 2]
    assert turns.times["bare"] == [1 / 20]


def test_the_rate_of_a_matrix_product_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "GEMM", {"cpu": 64})
    monkeypatch.setattr(step, "PRODUCTS", 2)
    seconds = iter([0.0, 2.0, 2.0, 3.0])
    monkeypatch.setattr(step, "clock", lambda device: next(seconds))
    assert step.gemm_rate("bf16", torch.device("cpu")) == 2 * 64**3  # the faster of the two took a second


@pytest.mark.slow
def test_the_benchmark_of_jobs_trains_them_together_and_says_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert jobs.rate(2, False, 1, 1) > 0
    with pytest.raises(UserError, match="train.iterations"):
        jobs.rate(2, False, 0, 0)
