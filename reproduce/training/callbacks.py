"""Lightning callbacks: resume, save state, stop on signals, log the curve, report progress."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from reproduce.models.layers import BatchNorm
from reproduce.tracking import wandb_logger
from reproduce.training import checkpoint
from reproduce.training.module import IterationModule
from reproduce.utils.console import log
from reproduce.utils.environment import commit, device_name, versions
from reproduce.utils.errors import UserError
from reproduce.utils.files import write_json
from reproduce.utils.signals import Signals, Stopped

ASK_SECONDS, ASK_BATCHES = 0.5, 64  # ranks agree on saving and stopping so often, at least


class ResumeCallback(Callback):
    """Continues a training where its newest valid state left it and saves states every so many `seconds`.

    Process 0 alone decides what is to be done, and tells the others: done already (as `done` answers), continue from
    which state, or a user's error, which all of them raise.
    """

    def __init__(
        self,
        folder: Path,
        recipe_hash: str,
        iterations: int,
        test_every: int,
        seconds: float,
        done: Callable[[], bool] = lambda: False,
        signals: Signals | None = None,
    ):
        self.folder, self.recipe_hash, self.done = folder, recipe_hash, done
        self.iterations, self.test_every, self.seconds = iterations, test_every, seconds
        self.was_done = False
        self.resumed = 0  # how many times this training was continued
        self.entered = datetime.now(timezone.utc).isoformat(timespec="seconds")  # this start
        self.began = self.entered  # the first start
        self.starts: list[dict[str, Any]] = []  # each start that the weights come from, see `_this_start`
        self.spent = 0.0  # seconds before this start
        self.commit = commit()  # at the start: the tree may move on while a training runs
        self.dirty = self.commit[1]  # of this start alone
        self.signals = signals or Signals()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, IterationModule)
        shapes = {name: tensor.shape for name, tensor in pl_module.net.state_dict().items()}
        decision = self._decide(shapes) if trainer.is_global_zero else (None, False, None)
        error, self.was_done, state = trainer.strategy.broadcast(decision)
        if error:
            raise UserError(error)
        if state is not None:
            self._restore(trainer, pl_module, state)
        self.starts.append(self._this_start(trainer, pl_module))
        self._place(trainer, pl_module)
        made, every = pl_module.iteration, self.test_every
        intervals = -(-self.iterations // every) - made // every if made < self.iterations else 0
        trainer.fit_loop.max_epochs = 0 if self.was_done else intervals  # a Lightning epoch: from one test to the next
        self._saved_at = self._entered = self._asked_at = time.monotonic()
        self._batches, self._rest = 0, 1

    def _decide(self, shapes: dict[str, Any]) -> tuple[str | None, bool, dict[str, Any] | None]:
        """(error, done, state): the state itself, so that no file needs to be visible to the other processes."""
        try:
            done = self.done()
            return None, done, None if done else checkpoint.newest(self.folder, self.recipe_hash, shapes)
        except UserError as error:
            return str(error), False, None

    @property
    def seconds_in_all(self) -> float:
        """Seconds of training, those before a continuation counted in."""
        return self.spent + time.monotonic() - self._entered

    def _restore(self, trainer: L.Trainer, module: IterationModule, state: dict[str, Any]) -> None:
        module.net.load_state_dict(state["net"])
        _load_momentum(trainer.optimizers[0], state["optimizer"])
        module.restore(state, trainer.global_rank, trainer.world_size)
        self.resumed, self.began, self.spent = state["resumed"] + 1, state["began"], state["spent"]
        self.starts = [dict(start) for start in state.get("starts", [])]  # none in a state of an earlier version
        if trainer.is_global_zero:
            log(f"{self.folder}: continuing at iteration {module.iteration} of {self.iterations}")
            self._say_if_bn_changed(trainer, module)
        if self.commit != tuple(state["commit"]):  # not the work of one clean commit
            self.commit = self.commit[0], True

    def _this_start(self, trainer: L.Trainer, module: IterationModule) -> dict[str, Any]:
        """From which iteration on what computed this training: goes into each state and into the result."""
        return {
            "start": self.entered,
            "iteration": module.iteration,
            "processes": trainer.world_size,
            "micro_batch": module.micro_batch,
            "device": device_name(trainer.strategy.root_device),
            "versions": versions(),
            "commit": self.commit[0],
            "dirty": self.dirty,
            "threads": torch.get_num_threads(),
        }

    def _say_if_bn_changed(self, trainer: L.Trainer, module: IterationModule) -> None:
        """With model.bn_group=device other devices or micro-batches are another normalisation: the result says both."""
        batch: int = trainer.datamodule.batch_size  # type: ignore[attr-defined]
        now = module.micro_batch or batch // trainer.world_size
        before = {start.get("micro_batch") or batch // start["processes"] for start in self.starts} - {now}
        norms = [norm for norm in module.net.modules() if isinstance(norm, BatchNorm)]
        if before and any(norm.group is None for norm in norms):
            images = " and ".join(map(str, sorted(before)))
            log(
                f"{self.folder}: batch normalisation over {now} images now, {images} before "
                "(model.bn_group=device): the result will be of mixed groups"
            )

    def _place(self, trainer: L.Trainer, module: IterationModule) -> None:
        """Where the loader of the coming interval begins; each batch brings its number, which the module checks."""
        trainer.datamodule.start_iteration = module.iteration  # type: ignore[attr-defined]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.signals.patient = True

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        assert isinstance(pl_module, IterationModule)
        if not pl_module.iteration % self.test_every or pl_module.iteration == self.iterations:
            return  # at the end of an interval, only after its test
        self._batches += 1
        if trainer.world_size == 1 or self._batches >= self._rest:
            self._save_when_due(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, IterationModule)
        self._place(trainer, pl_module)
        self._save_when_due(trainer, pl_module, last=pl_module.iteration == self.iterations)

    def _save_when_due(self, trainer: L.Trainer, module: IterationModule, last: bool = False) -> None:
        due = trainer.is_global_zero and time.monotonic() - self._saved_at >= self.seconds
        number, save = self._agreed(trainer, self.signals.number, due)
        if number:
            self.signals.hold()
        stopped = number and not last  # the result follows at once: nothing is left to be stopped
        if stopped or save:
            self.save(trainer, module)
        if stopped:
            raise Stopped(int(number))

    def _agreed(self, trainer: L.Trainer, number: int, save: bool) -> tuple[int, bool]:
        """The signal and the wish to save of whichever process has one; and when to ask each other again.

        Asking waits for all devices: a small step is not to pay for it each time.
        """
        if trainer.world_size == 1:
            return number, save
        now = time.monotonic()
        rest = int(min(ASK_SECONDS, self.seconds) * max(self._batches, 1) / max(now - self._asked_at, 1e-3))
        wish = torch.tensor([number, int(save), -rest], device=trainer.strategy.root_device)
        number, wanted, rest = trainer.strategy.reduce(wish, reduce_op="max").tolist()  # of `rest` the smallest
        self._asked_at, self._batches, self._rest = now, 0, min(-rest, ASK_BATCHES)
        return number, bool(wanted)

    def save(self, trainer: L.Trainer, module: IterationModule) -> None:
        progress = module.progress()
        if trainer.is_global_zero:
            state = {
                "recipe_hash": self.recipe_hash,
                "resumed": self.resumed,
                "began": self.began,
                "spent": self.seconds_in_all,
            }
            state |= {"commit": self.commit, "starts": self.starts, **progress}
            state |= {"net": module.net.state_dict(), "optimizer": trainer.optimizers[0].state_dict()}
            checkpoint.save(self.folder, state)
        self._saved_at = time.monotonic()


def _load_momentum(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Momentum as saved, in the memory layout of its weights; the groups as this start made them.

    The recipe is the same, but how it is carried out (memory layout, CUDA graph) may have changed.
    """
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                state[name] = torch.empty_like(weight).copy_(value)


class ProgressReporter(Callback):
    """Says now and then how far a training is: in progress.json for `status` and other jobs, and through `show`."""

    def __init__(
        self,
        folder: Path,
        label: str,
        iterations: int,
        show: Callable[[dict[str, Any]], None],
        seconds: float = 2.0,
        spent: Callable[[], float] = lambda: 0.0,  # seconds of training, those before a continuation counted in
    ):
        self.path, self.label, self.iterations, self.spent = folder / "progress.json", label, iterations, spent
        self.show, self.seconds = show, seconds
        self._shown_at = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, IterationModule)
        self._began = (time.monotonic(), pl_module.iteration)
        self._batch = trainer.datamodule.batch_size  # type: ignore[attr-defined]
        self._devices = trainer.world_size

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        assert isinstance(pl_module, IterationModule)
        ended = pl_module.iteration == self.iterations  # reported after its test
        if trainer.is_global_zero and not ended and time.monotonic() - self._shown_at >= self.seconds:
            self._tell(pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            assert isinstance(pl_module, IterationModule)
            self._tell(pl_module)

    def _tell(self, module: IterationModule) -> None:
        self._shown_at = time.monotonic()
        began, first = self._began
        made, seconds = module.iteration - first, self._shown_at - began
        last = module.rows[-1] if module.rows else {}
        running = module.window.error if module.window.n else last.get("train_error")  # of this process's share
        report = {
            "label": self.label,
            "iteration": module.iteration,
            "iterations": self.iterations,
            "train_error": running,
            "test_error": last.get("test_error"),
            "images_per_second": made * self._batch / seconds if made else None,
            "eta_seconds": seconds / made * (self.iterations - module.iteration) if made else None,
            "hours": round(self.spent() / 3600, 4),
            "devices": self._devices,
            "updated": time.time(),
        }
        with suppress(OSError):  # the next state reports a full disk
            write_json(self.path, report)
        self.show(report)


class CurveLogger(Callback):
    """Sends each new point of the curve to Weights & Biases."""

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
                wandb_logger.point(self.sink, row)
        except Exception as error:  # its service was killed, its disk is full: the training goes on without it
            wandb_logger.without(error)
            self.sink = None
