"""Training one run: net, data and Classifier under Lightning's Trainer, continued, watched and written down."""

import os
from collections.abc import Callable
from typing import Any

from reproduce.config.device import set_threads
from reproduce.config.run import RESULTS, Run
from reproduce.data.build import Data, build_data, chunk_of
from reproduce.tracking import wandb_logger
from reproduce.tracking.names import final_metrics
from reproduce.training.callbacks import CurveLogger, ProgressReporter, ResumeCallback
from reproduce.training.results import write_result
from reproduce.training.trainer import TASKS, build_trainer, on_gpu
from reproduce.utils.console import log
from reproduce.utils.distributed import is_first_process
from reproduce.utils.errors import UserError
from reproduce.utils.files import read_json
from reproduce.utils.precision import set_precision
from reproduce.utils.signals import Signals, as_parent

Show = Callable[[dict[str, Any]], None]


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


def train(run: Run, label: str, show: Show, signals: Signals) -> None:
    """Train a run to its last iteration, from wherever an earlier start left it, and write its result.

    Errors: UserError for what the user can repair; Stopped when a signal asked for the end.
    """
    config, folder = run.config, run.workdir
    set_threads(config)
    set_precision(config.train.precision)
    sink = wandb_logger.logger(run, folder) if is_first_process() else None
    data = build_data(config, chunk_of(config))
    module = TASKS[config.task](config)
    alone = config.execution.devices * config.execution.nodes == 1
    if config.execution.cuda_graph and not (alone and on_gpu(config)) and is_first_process():
        log(f"{label}: execution.cuda_graph: without effect; a step is captured on a single CUDA device")

    def done() -> bool:
        guard_data(run, data)
        return is_done(run)

    t, seconds = config.train, config.execution.checkpoint_seconds
    resume = ResumeCallback(folder, run.recipe_hash, t.iterations, t.test_every, seconds, done, signals)
    progress = ProgressReporter(folder, label, t.iterations, show, spent=lambda: resume.seconds_in_all)
    trainer = build_trainer(config, [CurveLogger(sink), resume, progress], sink)
    summary: dict[str, Any] | None = None
    if trainer.world_size > 1:
        os.environ |= as_parent()  # the processes that Lightning starts do not outlive this one
    try:
        trainer.fit(module, datamodule=data)
        if trainer.is_global_zero and not resume.was_done:
            result = write_result(run, trainer, module, data, resume)
            summary = final_metrics(result)
    finally:
        wandb_logger.finish(sink, summary)
