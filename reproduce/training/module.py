"""Training by iterations: one update a batch, counted; the points of the curve; its state."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn

from reproduce.metrics.classification import Batch, ErrorCounter
from reproduce.models.layers import BatchNorm
from reproduce.training.cuda_graph import CAPTURES, CapturedStep, EagerStep, Step
from reproduce.training.optimizer import SGD
from reproduce.training.schedule import Schedule


class IterationModule(L.LightningModule):
    """Trains `net` by SGD. Its own counter, not Lightning's `global_step`, says where the training is.

    A task adds `loss`, and what it tests: `validation_step` and `test_row`. Training errors are summed on the device
    and read once per point of the curve. `micro_batch`: images that are computed at a time; 0: all of a batch.
    """

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        sgd: SGD,
        *,
        compiled: bool = False,
        captured: bool = False,
        micro_batch: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.net, self.schedule, self.sgd = net, schedule, sgd
        self.trained = torch.compile(net) if compiled else net  # the net as `loss` calls it
        self.captured = captured  # the step is a CUDA graph, where one can be: on a single CUDA device
        self.micro_batch, self._norms = micro_batch, [norm for norm in net.modules() if isinstance(norm, BatchNorm)]
        self.iteration = 0  # the one that comes next
        self.warmup_over: int | None = None if schedule.warmup_lr else 0  # the iteration from which `lr` holds
        self.rows: list[dict[str, float]] = []  # the curve, a row per test
        # Errors since the last row, and since the warm-up was last looked at.
        self.window, self.warmup = ErrorCounter(), ErrorCounter()
        self.tested = 0  # images counted by the last test, over all processes

    # A task

    @abstractmethod
    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch; it adds loss and errors to `running`, and counts nothing on the host."""

    @abstractmethod
    def test_row(self) -> dict[str, float]:
        """The errors of the test that has just ended, over all processes, in percent; sets `tested`."""

    # Updates

    def training_step(self, batches: Sequence[tuple[int, Batch]], batch_idx: int) -> None:
        """One or more iterations: each batch comes with its number, and is one update at that iteration's rate."""
        for iteration, (images, labels) in batches:
            assert iteration == self.iteration, f"a batch of iteration {iteration} came at iteration {self.iteration}"
            self._step(images, labels, self.learning_rate)
            for sums in self.running:
                sums.n += len(labels)
            self.iteration += 1
            if self.warmup_over is None:
                self._end_warmup_when_due()

    def _update(self, optimizer: torch.optim.SGD, images: Tensor, labels: Tensor) -> None:
        """What the device does in an iteration. A CUDA graph replays just this."""
        optimizer.zero_grad()
        size = self.micro_batch or len(labels)
        parts = list(zip(images.split(size), labels.split(size), strict=True))
        for k, part in enumerate(parts):
            with nullcontext() if k + 1 == len(parts) else self._without_reduction():
                self._add_gradients(*part, k, len(parts))
        optimizer.step()

    def _add_gradients(self, images: Tensor, labels: Tensor, k: int, n: int) -> None:
        """Those of micro-batch k of n, such that all n add up to the gradients of the batch's mean loss."""
        for norm in self._norms:
            norm.micro_batch = k, n
        loss = self.loss(images, labels)
        loss = loss / n if n > 1 else loss
        self.manual_backward(loss)  # raw loss.backward() would leave DDP's ranks with different weights, silently

    def _without_reduction(self) -> AbstractContextManager[None]:
        """Gradients stay on this process: DDP averages them once an iteration, with those of the last micro-batch."""
        strategy = self.trainer.strategy
        return strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()

    def configure_optimizers(self) -> torch.optim.SGD:
        return self.sgd.over(self.net, fused=True if self._captures and self.device.type == "cuda" else None)

    def on_train_start(self) -> None:
        """The state, where one is continued, has been loaded: from here on no tensor of the training moves."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.SGD)
        update = partial(self._update, optimizer)
        self._step: Step = EagerStep(update, optimizer)
        if self._captures:
            self._step = CapturedStep(update, optimizer, CAPTURES[self.device.type]())

    @property
    def _captures(self) -> bool:
        return self.captured and self.device.type in CAPTURES and self.trainer.world_size == 1

    @property
    def was_captured(self) -> bool:
        """Whether the steps of this training were replays of a captured one."""
        step = getattr(self, "_step", None)
        return isinstance(step, CapturedStep) and step.recorded

    # The schedule

    @property
    def learning_rate(self) -> float:
        return self._rate_of(self.iteration)

    def _rate_of(self, iteration: int) -> float:
        """Learning rate of an iteration; a warm-up that ends on a test ends after the iteration before it."""
        warming = self.warmup_over is None or iteration < self.warmup_over
        return self.schedule.at(iteration, warming, self.rows)

    @property
    def running(self) -> Sequence[ErrorCounter]:
        """What the training adds to: with a warm-up both sums, to the end (the second is no longer read then)."""
        return (self.window, self.warmup) if self.schedule.warmup_lr else (self.window,)

    def _end_warmup_when_due(self) -> None:
        """Sec. 4.2 on ResNet-110: 0.01 "until the training error is below 80%", then back to 0.1."""
        if self.iteration % self.schedule.warmup_window == 0:
            if self.total(self.warmup).error < self.schedule.warmup_error:
                self.warmup_over = self.iteration
            self.warmup.clear()

    # Tests: the points of the curve

    def on_validation_epoch_start(self) -> None:
        """All processes test the net that will be saved: BN's moving averages become their mean over the processes.

        A moving average is linear in what it averages, so this is the average of the mean over all processes' groups.
        """
        if self.trainer.world_size > 1:
            self._set_statistics(self.trainer.strategy.reduce(self._statistics(), reduce_op="mean"))

    def on_validation_epoch_end(self) -> None:
        """One row of the curve: the running training error since the last row, and the errors of the test."""
        train = self.total(self.window)
        row = {
            "iteration": self.iteration,
            "lr": float(f"{self._rate_of(self.iteration - 1):.6g}"),  # of the iteration just made
            "train_loss": train.mean_loss,
            "train_error": train.error,
        }
        self.rows.append(row | self.test_row())
        self.window.clear()

    def total(self, sums: ErrorCounter) -> ErrorCounter:
        """The sums over all processes."""
        return ErrorCounter(*self.trainer.strategy.reduce(sums.tensor(self.device), reduce_op="sum").tolist())

    # The state of a training

    def progress(self) -> dict[str, Any]:
        """What a continued training needs beside weights and momentum; called on every process (it communicates)."""
        return {
            "iteration": self.iteration,
            "warmup_over": self.warmup_over,
            "rows": [dict(row) for row in self.rows],
            "window": self._of_every_process(self.window.tensor(self.device)),
            "warmup": self._of_every_process(
                (self.warmup if self.warmup_over is None else ErrorCounter()).tensor(self.device)
            ),
            "statistics": self._of_every_process(self._statistics()),
        }

    def restore(self, state: Mapping[str, Any], rank: int, processes: int) -> None:
        """Continue from `progress()`: each process takes its own sums, which then add up to the same bits as before.

        So it does with BN's moving averages; where the number of processes has changed, all take the mean.
        """
        self.iteration, self.warmup_over = state["iteration"], state["warmup_over"]
        self.rows = [dict(row) for row in state["rows"]]
        self.window = ErrorCounter.restored(state["window"], rank, processes)
        self.warmup = ErrorCounter.restored(state["warmup"], rank, processes)
        if (kept := state.get("statistics")) is not None:  # a state of an earlier version has those of process 0 alone
            self._set_statistics(kept[rank] if len(kept) == processes else kept.double().mean(0))

    def _of_every_process(self, values: Tensor) -> Tensor:
        """[n] -> (processes, n)."""
        gathered = self.all_gather(values)
        assert isinstance(gathered, Tensor)
        return gathered.reshape(self.trainer.world_size, len(values)).cpu()

    def _statistics(self) -> Tensor:
        """BN's moving averages, one after the other: [n]."""
        empty = torch.zeros(0, device=self.device)  # a net without BN
        return torch.cat([buffer.flatten() for buffer in self._averages()] or [empty])

    def _set_statistics(self, values: Tensor) -> None:
        buffers = self._averages()
        for buffer, value in zip(buffers, values.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(value.view_as(buffer))

    def _averages(self) -> list[Tensor]:
        return [buffer for buffer in self.net.buffers() if buffer.is_floating_point()]
