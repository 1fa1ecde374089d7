"""Several trainings in parallel on one device, as JOBS=k makes them: images per second of all against one alone.

Each is a process with its share of the cores. They begin together, once warm, and the clock stops with the last one.
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from benchmarks.results import write_bench
from benchmarks.step import captured_or_failed, clock, fit, only_steps
from reproduce.config.device import device_of, set_threads
from reproduce.config.load import resolve
from reproduce.config.schema import Config
from reproduce.data.build import build_data, chunk_of
from reproduce.jobs.mps import mps
from reproduce.utils.console import log
from reproduce.utils.environment import cores
from reproduce.utils.errors import UserError
from reproduce.utils.precision import computed, set_precision

ROUNDS = 3
RUN, BATCH = "cifar10-resnet-20", 128
CPU = ((1, 2), (False,), 2, 8)  # jobs, with a CUDA graph or without, iterations to warm up, iterations timed
GPU = ((1, 4, 16), (False, True), 200, 1000)
_meet: Any = None  # the barrier of all processes of a measurement


class Together(Callback):
    """A barrier after the warm-up, then the remaining iterations timed, by the clock that all processes share."""

    def __init__(self, warm: int, device: torch.device):
        self.warm, self.device = warm, device
        self.began = self.ended = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if pl_module.iteration == self.warm:
            clock(self.device)
            _meet.wait(600)
            self.began = time.monotonic()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        clock(self.device)
        self.ended = time.monotonic()


def configured(jobs: int, seed: int, graph: bool, iterations: int, accelerator: str) -> Config:
    execution = {"cuda_graph": graph, "accelerator": accelerator, "threads": max(1, cores() // jobs)}
    words = only_steps(BATCH, "bf16", iterations) + [f"execution.{key}={value}" for key, value in execution.items()]
    return resolve(RUN, "demo", words, seed).config


def train(jobs: int, seed: int, graph: bool, warm: int, timed: int, accelerator: str) -> tuple[float, float]:
    """One of the trainings, in a process of its own: when its timed iterations began and ended.

    Errors: UserError where the accelerator is refused; UserWarning where the step cannot be captured.
    """
    try:
        config = configured(jobs, seed, graph, warm + timed, accelerator)
        set_threads(config)
        set_precision("bf16")
        together = Together(warm, device_of(config))
        with captured_or_failed():
            fit(config, build_data(config, chunk_of(config)), together)
    except BaseException:
        _meet.abort()  # the others do not wait for one that will not come
        raise
    return together.began, together.ended


def _join(barrier: Any, environment: dict[str, str]) -> None:
    global _meet
    _meet = barrier
    os.environ.update(environment)


def rate(jobs: int, graph: bool, warm: int, timed: int, environment: dict[str, str] | None = None) -> float:
    """Images per second of all `jobs` together. Errors: what the first of them that failed raised."""
    context = get_context("spawn")
    joined = context.Barrier(jobs), environment or {}
    accelerator = "gpu" if torch.cuda.is_available() else "cpu"  # known here: a client that is refused sees no GPU
    with ProcessPoolExecutor(jobs, context, initializer=_join, initargs=joined) as pool:
        made = [pool.submit(train, jobs, seed, graph, warm, timed, accelerator) for seed in range(jobs)]
        errors = [error for future in made if (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, BrokenBarrierError)):
            raise error
        began, ended = zip(*(future.result() for future in made), strict=True)
    return jobs * timed * BATCH / (max(ended) - min(began))


def bench() -> Path:
    """results/bench/jobs.json: k ResNet-20 at a time, in turns, in bf16; on a GPU also by CUDA graphs and by MPS."""
    gpu = torch.cuda.is_available()
    jobs, graphs, warm, timed = GPU if gpu else CPU
    rows: dict[tuple[int, bool, bool], list[float]] = {}

    def measure(k: int, graph: bool, environment: dict[str, str]) -> None:
        try:
            found = rate(k, graph, warm, timed, environment)
        except (RuntimeError, UserError, UserWarning) as error:
            if not (graph or environment):
                raise
            log(f"{k} at a time{', CUDA graph' * graph}{', by MPS' * bool(environment)}: left out; {error}")
        else:
            rows.setdefault((k, graph, bool(environment)), []).append(found)

    for turn in range(ROUNDS):
        log(f"timing {', '.join(map(str, jobs))} at a time, round {turn + 1} of {ROUNDS} ...")
        for k, graph in product(jobs, graphs):
            measure(k, graph, {})
        service: AbstractContextManager[dict[str, str]] = mps() if gpu else nullcontext({})
        with service as served:
            for k, graph in product(jobs[1:] if served else (), graphs):
                measure(k, graph, served)
    found = [
        {"jobs": k, "captured": graph, "mps": served, "images_per_second": speeds}
        for (k, graph, served), speeds in rows.items()
        if len(speeds) == ROUNDS
    ]
    device = torch.device("cuda" if gpu else "cpu")
    conditions = {"run": RUN, "batch": BATCH, "precision": computed("bf16", device), "images": "synthetic images"}
    return write_bench("jobs", device, conditions | {"rows": found})
