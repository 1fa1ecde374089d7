"""Training one run: net, data and Classifier under Lightning's Trainer, continued, watched and written down."""

import os
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from reproduce import observer, stop
from reproduce.build import (
    TASKS,
    Data,
    build_data,
    build_trainer,
    chunk_of,
    on_gpu,
    set_threads,
)
from reproduce.callbacks import Keeper, Progress
from reproduce.config import RESULTS, Run
from reproduce.errors import UserError
from reproduce.module import IterationModule
from reproduce.outcome import write_result
from reproduce.precision import set_precision
from reproduce.record import is_first_process, read_json, say

Show = Callable[[dict[str, Any]], None]


class Recorder(Callback):
    """Sends each new point of the curve to the observer."""

    def __init__(self, sink: Logger | None):
        self.sink = sink

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, IterationModule)
        self.sent = len(pl_module.rows)  # those before a continuation were sent then

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, IterationModule)
        if trainer.is_global_zero:
            for row in pl_module.rows[self.sent :]:
                self._send(row)
            self.sent = len(pl_module.rows)

    def _send(self, row: dict[str, float]) -> None:
        try:
            if self.sink is not None:
                observer.point(self.sink, row)
        except Exception as error:  # its service was killed, its disk is full: the training goes on without it
            observer.without(error)
            self.sink = None


def data_set_of(result: dict[str, Any]) -> str | None:
    """The data.name of a result."""
    data = result.get("provenance", {}).get("config", {}).get("data", {})
    return data.get("name") if isinstance(data, dict) else None


def guard_data(run: Run, data: Data) -> None:
    """results/paper/ holds official data and nothing else, and any profile's folder one fingerprint per data set."""
    if run.profile == "paper" and not data.is_official:
        raise UserError(
            f"results/paper: is for the official data only, not for {data.description}; use another --profile"
        )
    for path in sorted((RESULTS / run.profile).glob("*/seed-*/result.json")):
        result = read_json(path) or {}
        other = result.get("provenance", {}).get("data", {}).get("fingerprint")
        if data_set_of(result) == run.config.data.name and other not in (None, data.fingerprint):
            raise UserError(
                f"{path}: was trained on other data ({other[:18]}…, now {data.fingerprint[:18]}…); move it away"
            )


def is_done(run: Run) -> bool:
    """Whether the result is there. Errors: UserError when it is of another recipe."""
    path = run.results / "result.json"
    result = read_json(path)
    if result is None:
        return False
    if result.get("provenance", {}).get("recipe_hash") != run.recipe_hash:
        raise UserError(f"{path}: is of another recipe than the one asked for; move {path.parent} away to train anew")
    return True


def train(run: Run, label: str, show: Show, signals: stop.Signals) -> None:
    """Train a run to its last iteration, from wherever an earlier start left it, and write its result.

    Errors: UserError for what the user can repair; Stopped when a signal asked for the end.
    """
    config, folder = run.config, run.workdir
    set_threads(config)
    set_precision(config.train.precision)
    sink = observer.logger(run, folder) if is_first_process() else None
    data = build_data(config, chunk_of(config))
    module = TASKS[config.task](config)
    alone = config.execution.devices * config.execution.nodes == 1
    if config.execution.graph and not (alone and on_gpu(config)) and is_first_process():
        say(f"{label}: execution.graph: without effect; a step is captured on a single CUDA device")

    def done() -> bool:
        guard_data(run, data)
        return is_done(run)

    t, seconds = config.train, config.execution.checkpoint_seconds
    keeper = Keeper(folder, run.recipe_hash, t.iterations, t.test_every, seconds, done, signals)
    progress = Progress(folder, label, t.iterations, show, spent=lambda: keeper.seconds_in_all)
    trainer = build_trainer(config, [Recorder(sink), keeper, progress], sink)
    summary: dict[str, Any] | None = None
    if trainer.world_size > 1:
        os.environ |= stop.as_parent()  # the processes that Lightning starts do not outlive this one
    try:
        trainer.fit(module, datamodule=data)
        if trainer.is_global_zero and not keeper.was_done:
            summary = write_result(run, trainer, module, data, keeper)["metrics"]
    finally:
        observer.finish(sink, summary)
