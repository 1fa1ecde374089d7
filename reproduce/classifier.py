"""The LightningModule around any net: its updates by SGD, counted in iterations, and the rows of its curve."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reproduce.precision import computing
from reproduce.schedule import Schedule
from reproduce.step import CAPTURES, CapturedStep, EagerStep, Step
from reproduce.sums import Sums

Batch = tuple[Tensor, Tensor]  # images (b, 3, h, w) and labels (b,)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent as in Sec. 3.4 and 4.2. The form is PyTorch's v := m v + g, w := w - lr v."""

    momentum: float = 0.9
    weight_decay: float = 1e-4
    nesterov: bool = False
    decay_all: bool = True  # False: convolution and fc weights only

    def over(self, net: nn.Module, fused: bool | None = None) -> torch.optim.SGD:
        """`fused`: kernels that read the learning rate on the device; they round otherwise than PyTorch's default."""
        decayed = [p for p in net.parameters() if self.decay_all or p.ndim > 1]
        others = [p for p in net.parameters() if not (self.decay_all or p.ndim > 1)]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        kept = [group for group in groups if group["params"]]
        return torch.optim.SGD(kept, lr=0.1, momentum=self.momentum, nesterov=self.nesterov, fused=fused)


class Classifier(L.LightningModule):
    """Trains `net` by iterations. Its own counter, not `global_step`, says where the training is.

    A Lightning batch is a list of one or more iterations' batches; each is one update. Training and test errors are
    summed on the device as integers and read once per point of the curve.
    """

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        sgd: SGD,
        *,
        test_precision: str = "fp32",
        compiled: bool = False,
        captured: bool = False,
        top5: bool = False,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.net, self.schedule, self.sgd = net, schedule, sgd
        self._call = torch.compile(net) if compiled else net
        self.captured = captured  # the step is a CUDA graph, where one can be: on a single CUDA device
        self.test_precision = test_precision
        self.iteration = 0
        self.warmup_over: int | None = None if schedule.warmup_lr else 0  # the iteration from which `lr` holds
        self.rows: list[dict[str, float]] = []  # the curve, a row per test
        self.window = Sums()
        self.warmup = Sums()
        self.test, self.held_out = Sums(), Sums()
        self.top5 = top5  # top-5 errors are counted, too
        self.tested = 0  # images counted by the last test, over all processes

    @property
    def _captures(self) -> bool:
        return self.captured and self.device.type in CAPTURES and self.trainer.world_size == 1

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
    def was_captured(self) -> bool:
        """Whether the steps of this training were replays of a captured one."""
        step = getattr(self, "_step", None)
        return isinstance(step, CapturedStep) and step.recorded

    @property
    def learning_rate(self) -> float:
        return self._rate_of(self.iteration)

    def _rate_of(self, iteration: int) -> float:
        """Learning rate of an iteration; a warm-up that ends on a test ends after the iteration before it."""
        warming = self.warmup_over is None or iteration < self.warmup_over
        return self.schedule.at(iteration, warming, self.rows)

    def training_step(self, batch: Sequence[Batch], batch_idx: int) -> None:
        for images, labels in batch:
            self._step(images, labels, self.learning_rate)
            self._count(len(labels))

    def _update(self, optimizer: torch.optim.SGD, images: Tensor, labels: Tensor) -> None:
        """What the device does in an iteration. A captured step replays just this: nothing here counts on the host."""
        optimizer.zero_grad()
        scores = self._call(images)
        loss = F.cross_entropy(scores.float(), labels)
        self.manual_backward(loss)  # raw loss.backward() would leave DDP's ranks with different weights, silently
        optimizer.step()
        for sums in self._running:
            sums.accumulate(loss.detach(), scores, labels)

    @property
    def _running(self) -> Sequence[Sums]:
        """What the training adds to: with a warm-up both sums, to the end (the second is no longer read then)."""
        return (self.window, self.warmup) if self.schedule.warmup_lr else (self.window,)

    def _count(self, images: int) -> None:
        for sums in self._running:
            sums.n += images
        self.iteration += 1
        if self.warmup_over is None:
            self._end_warmup_when_due()

    def _end_warmup_when_due(self) -> None:
        """Sec. 4.2 on ResNet-110: 0.01 "until the training error is below 80%", then back to 0.1."""
        if self.iteration % self.schedule.warmup_window == 0:
            total = self._total(self.warmup)
            if total.error < self.schedule.warmup_error:
                self.warmup_over = self.iteration
            self.warmup.clear()

    def on_validation_epoch_start(self) -> None:
        """All processes test the net that will be saved: BN's moving averages become their mean over the processes.

        A moving average is linear in what it averages, so this is the average of the mean over all processes' groups.
        """
        if self.trainer.world_size > 1:
            self._set_statistics(self.trainer.strategy.reduce(self._statistics(), reduce_op="mean"))

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

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Test images come first; those held out of the training set, where there are any, from a second loader.

        Only the former are tested in `test_precision`. The latter may steer the schedule (`plateau`) and are tested in
        the precision of the training, so that no condition of a test moves a weight.
        """
        images, labels = batch
        sums, precision = (self.held_out, nullcontext()) if dataloader_idx else (self.test, self._as_tested)
        if len(labels):
            with precision:
                scores = self.net(images).float()
            sums.add(F.cross_entropy(scores, labels), scores, labels, top5=self.top5)

    @property
    def _as_tested(self) -> AbstractContextManager[None]:
        return computing(self.test_precision, self.device)

    def on_validation_epoch_end(self) -> None:
        """One row of the curve: the running training error since the last row, and the error on all test images."""
        train, test = self._total(self.window), self._total(self.test)
        held_out = self._total(self.held_out)
        row = {
            "iteration": self.iteration,
            "lr": float(f"{self._rate_of(self.iteration - 1):.6g}"),  # of the iteration just made
            "train_loss": train.mean_loss,
            "train_error": train.error,
            "test_error": test.error,
        }
        row |= {"test_top5_error": test.top5_error} if self.top5 else {}
        row |= {"validation_error": held_out.error} if held_out.n else {}
        self.rows.append(row)
        self.tested = test.n
        self.window.clear()
        self.test, self.held_out = Sums(), Sums()

    def _total(self, sums: Sums) -> Sums:
        """The sums over all processes."""
        return Sums(*self.trainer.strategy.reduce(sums.tensor(self.device), reduce_op="sum").tolist())

    def progress(self) -> dict[str, Any]:
        """What a continued training needs beside weights and momentum; called on every process (it communicates)."""
        return {
            "iteration": self.iteration,
            "warmup_over": self.warmup_over,
            "rows": [dict(row) for row in self.rows],
            "window": self._of_every_process(self.window.tensor(self.device)),
            "warmup": self._of_every_process((self.warmup if self.warmup_over is None else Sums()).tensor(self.device)),
            "statistics": self._of_every_process(self._statistics()),
        }

    def _of_every_process(self, values: Tensor) -> Tensor:
        """[n] -> (processes, n)."""
        gathered = self.all_gather(values)
        assert isinstance(gathered, Tensor)
        return gathered.reshape(self.trainer.world_size, len(values)).cpu()

    def restore(self, state: Mapping[str, Any], rank: int, processes: int) -> None:
        """Continue from `progress()`: each process takes its own sums, which then add up to the same bits as before.

        So it does with BN's moving averages; where the number of processes has changed, all take the mean.
        """
        self.iteration, self.warmup_over = state["iteration"], state["warmup_over"]
        self.rows = [dict(row) for row in state["rows"]]
        self.window = Sums.restored(state["window"], rank, processes)
        self.warmup = Sums.restored(state["warmup"], rank, processes)
        if (kept := state.get("statistics")) is not None:  # a state of an earlier version has those of process 0 alone
            self._set_statistics(kept[rank] if len(kept) == processes else kept.double().mean(0))
