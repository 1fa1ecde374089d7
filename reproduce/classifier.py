"""The LightningModule around any net: SGD, the schedule in iterations, and the errors of the curves (Sec. 4.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reproduce.step import CAPTURES, CapturedStep, EagerStep, Step

Batch = tuple[Tensor, Tensor]  # images (b, 3, h, w) and labels (b,)
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Plateau:
    """ "Divided by 10 when the error plateaus" (Sec. 3.4), made exact: no gain over the best in `patience` points."""

    watch: str  # the error of the curve that is watched: train or validation
    patience: int
    gain: float  # percent

    def drops(self, errors: Sequence[float]) -> int:
        """How often the learning rate has been divided after these points of the curve."""
        best, waited, drops = float("inf"), 0, 0
        for error in errors:
            waited = 0 if error <= best - self.gain else waited + 1
            best = min(best, error)
            if waited == self.patience:
                drops, waited = drops + 1, 0
        return drops


@dataclass(frozen=True)
class Schedule:
    """Learning rate by iteration: `lr`, a tenth after each milestone; `warmup_lr` until the error is low enough.

    With a `plateau` the milestones do not count: a tenth after each plateau of the curve instead.
    """

    lr: float
    milestones: Sequence[int]
    warmup_lr: float = 0.0  # 0: no warm-up
    warmup_error: float = 80.0  # percent
    warmup_window: int = 100  # iterations
    plateau: Plateau | None = None

    def at(self, iteration: int, warming: bool, rows: Sequence[Mapping[str, float]] = ()) -> float:
        base = self.warmup_lr if warming else self.lr
        return base * 0.1 ** self.drops(iteration, rows)

    def drops(self, iteration: int, rows: Sequence[Mapping[str, float]] = ()) -> int:
        """Divisions by 10 before an iteration; `rows`: the curve until there."""
        if self.plateau is None:
            return sum(iteration >= step for step in self.milestones)
        return self.plateau.drops([row[f"{self.plateau.watch}_error"] for row in rows])


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
        self.test_dtype = DTYPES[test_precision]
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
    def learning_rate(self) -> float:
        return self.schedule.at(self.iteration, self.warmup_over is None, self.rows)

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
    def _running(self) -> Sequence["Sums"]:
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
        """All processes test the net that will be saved: with the BN statistics of process 0, as DDP documents them.

        Manual optimisation leaves DDP's own broadcast of buffers switched off after the first batch (lightning 2.6).
        """
        if self.trainer.world_size > 1:
            for buffer in self.net.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Test images come first; those held out of the training set, where there are any, from a second loader."""
        images, labels = batch
        sums = self.held_out if dataloader_idx else self.test
        if len(labels):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.test_dtype is torch.bfloat16):
                scores = self.net(images).float()
            sums.add(F.cross_entropy(scores, labels), scores, labels, top5=self.top5)

    def on_validation_epoch_end(self) -> None:
        """One row of the curve: the running training error since the last row, and the error on all test images."""
        train, test = self._total(self.window), self._total(self.test)
        held_out = self._total(self.held_out)
        rate = self.schedule.at(self.iteration - 1, self.warmup_over is None, self.rows)  # of the iteration just made
        row = {
            "iteration": self.iteration,
            "lr": float(f"{rate:.6g}"),
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

    def _total(self, sums: "Sums") -> "Sums":
        """The sums over all processes."""
        return Sums(*self.trainer.strategy.reduce(sums.tensor(self.device), reduce_op="sum").tolist())

    def progress(self) -> dict[str, Any]:
        """What a continued training needs beside weights and momentum; called on every process (it communicates)."""
        return {
            "iteration": self.iteration,
            "warmup_over": self.warmup_over,
            "rows": [dict(row) for row in self.rows],
            "window": self._of_every_process(self.window),
            "warmup": self._of_every_process(self.warmup if self.warmup_over is None else Sums()),
        }

    def _of_every_process(self, sums: "Sums") -> Tensor:
        gathered = self.all_gather(sums.tensor(self.device))
        assert isinstance(gathered, Tensor)
        return gathered.reshape(-1, 4).cpu()  # (processes, 4)

    def restore(self, state: Mapping[str, Any], rank: int, processes: int) -> None:
        """Continue from `progress()`: each process takes its own sums, which then add up to the same bits as before."""
        self.iteration, self.warmup_over = state["iteration"], state["warmup_over"]
        self.rows = [dict(row) for row in state["rows"]]
        self.window = _share(state["window"], rank, processes)
        self.warmup = _share(state["warmup"], rank, processes)


class Sums:
    """Loss, errors and images seen, summed where the images are; reading them is what synchronises.

    The tensors of the sums stay the same from the first addition on: a captured step knows their addresses.
    """

    def __init__(
        self, loss: float | Tensor = 0.0, errors: float | Tensor = 0, n: float = 0, top5_errors: float | Tensor = 0
    ):
        self.loss, self.errors, self.n, self.top5_errors = loss, _count(errors), int(n), _count(top5_errors)

    def add(self, mean_loss: Tensor, scores: Tensor, labels: Tensor, top5: bool = False) -> None:
        self.accumulate(mean_loss, scores, labels, top5)
        self.n += len(labels)

    def accumulate(self, mean_loss: Tensor, scores: Tensor, labels: Tensor, top5: bool = False) -> None:
        """The part of `add` that the device does."""
        self.loss = _plus(self.loss, mean_loss.double() * len(labels))
        self.errors = _plus(self.errors, (scores.argmax(1) != labels).sum())
        if top5:
            self.top5_errors = _plus(self.top5_errors, top5_wrong(scores, labels).sum())

    def clear(self) -> None:
        self.loss, self.errors, self.top5_errors = map(_zero, (self.loss, self.errors, self.top5_errors))
        self.n = 0

    def tensor(self, device: torch.device | str) -> Tensor:
        """[loss, errors, n, top-5 errors] as float64, exact for counts below 2**53."""
        numbers = (self.loss, self.errors, self.n, self.top5_errors)
        return torch.stack([torch.as_tensor(x, dtype=torch.float64, device=device) for x in numbers])

    @property
    def mean_loss(self) -> float:
        return float(self.loss) / self.n if self.n else float("nan")

    @property
    def error(self) -> float:
        """In percent."""
        return 100.0 * float(self.errors) / self.n if self.n else float("nan")

    @property
    def top5_error(self) -> float:
        """In percent."""
        return 100.0 * float(self.top5_errors) / self.n if self.n else float("nan")


def _count(x: float | Tensor) -> float | Tensor:
    """A number of errors as an integer: a float would make float32 of the sum."""
    return x if isinstance(x, Tensor) else int(x)


def _plus(total: float | Tensor, x: Tensor) -> Tensor:
    """In place from the second time on."""
    return total.add_(x) if isinstance(total, Tensor) else x + total


def _zero(total: float | Tensor) -> float | Tensor:
    return total.zero_() if isinstance(total, Tensor) else 0


def top5_wrong(scores: Tensor, labels: Tensor) -> Tensor:
    """Whether the label is not among the five highest scores: (b, classes) and (b,) -> bool (b,)."""
    best = scores.topk(min(5, scores.shape[1]), dim=1).indices
    return (best != labels[:, None]).all(1)


def _share(sums: Tensor, rank: int, processes: int) -> Sums:
    """This process's part of saved sums (processes, 4); if their number has changed, all go to the first."""
    if len(sums) == processes:
        return Sums(*sums[rank].tolist())
    return Sums(*sums.sum(0).tolist()) if rank == 0 else Sums()
