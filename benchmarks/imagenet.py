"""Images per second of ImageNet training: Lightning's Trainer over our module, from memory and through the loader.

From memory, the same decoded share (uint8) is trained on again and again, with mean and noise added on the device as in
training; in turns with it goes a bare PyTorch loop over the same batches. Through the loader, files are decoded too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from benchmarks.results import write_bench
from benchmarks.step import Turns, bare_loop, clock, fit, only_steps
from reproduce.config.device import device_of, set_threads
from reproduce.config.load import resolve
from reproduce.config.schema import Config
from reproduce.data.build import build_data
from reproduce.data.imagenet.batches import Share
from reproduce.data.imagenet.datamodule import ImageNetDataModule
from reproduce.evaluation.published import MEAN, STD
from reproduce.training.module import IterationModule
from reproduce.utils.console import log
from reproduce.utils.precision import computed, set_precision

BAR = 0.97  # "at most 3 % slower" than the bare loop
ROUNDS = 6  # the first one warms up
FULL = ("imagenet-resnet-50", 256, 10, ("train.compile=true",))  # run, batch, iterations per turn, overrides
SMALL = ("data.crop=64", "data.shorter_side=[72,96]", "data.test_side=72")
TRIED = ("imagenet-resnet-18-A", 8, 8, SMALL)  # on a CPU, views of 64 pixels: shows that it works


class FromMemory(ImageNetDataModule):
    """Every iteration is the first one's share, decoded once; pinned, where there is a GPU, as a loader would."""

    def share(self, rank: int, world: int) -> Callable[[int], Share]:  # type: ignore[override]
        if not hasattr(self, "_kept"):
            x, labels, colour, _ = super().share(rank, world)(0)
            self._kept = x.pin_memory() if torch.cuda.is_available() else x, labels, colour
        return lambda iteration: (*self._kept, iteration)


@dataclass
class Clock(Callback):
    """Seconds per step, averaged over turns of `steps`; the first turn is left out."""

    steps: int
    device: torch.device
    seconds: list[float] = field(default_factory=list)
    _last: float = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        assert isinstance(pl_module, IterationModule)
        if pl_module.iteration % self.steps:
            return
        now = clock(self.device)
        if self._last:
            self.seconds.append((now - self._last) / self.steps)
        self._last = now


def configured(run: str, batch: int, steps: int, overrides: tuple[str, ...], images: str | None) -> Config:
    """Enough iterations for the rounds, in bf16, without tests and checkpoints."""
    words = [*only_steps(batch, "bf16", steps * ROUNDS), *overrides, "execution.devices=1", "data.normalize=channels"]
    words += [f"data.mean={list(MEAN)}", f"data.std={list(STD)}"]
    words += [f"data.root={images}"] if images else ["data.source=synthetic"]
    return resolve(run, "folder", words).config


def from_memory(config: Config, steps: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds per step of our training and of the bare loop, in turns."""
    data = build_data(config)
    assert isinstance(data, ImageNetDataModule)
    data.__class__, data.workers = FromMemory, 0
    data.setup("fit")
    turns = Turns({"bare": bare_loop(config, data, device)}, steps, device)
    fit(config, data, turns)
    return {name: seconds[1:] for name, seconds in turns.times.items()}


def through_loader(config: Config, steps: int, device: torch.device) -> list[float]:
    """Seconds per step with the images decoded by worker processes meanwhile."""
    data = build_data(config)
    assert isinstance(data, ImageNetDataModule)
    timed = Clock(steps, device)
    fit(config, data, timed)
    return timed.seconds


def bench_imagenet(images: str | None = None) -> Path:
    """results/bench/imagenet.json: ResNet-50, batch 256, bf16, channels_last, compiled; a trial of ResNet-18 on a CPU.

    `images`: a folder in ImageNet's layout; synthetic ones by default.
    """
    run, batch, steps, overrides = FULL if torch.cuda.is_available() else TRIED
    config = configured(run, batch, steps, overrides, images)
    set_threads(config)
    set_precision("bf16")
    device = device_of(config)
    log(f"timing {run} at batch {batch} from memory ...")
    seconds = from_memory(config, steps, device)
    log("timing it through the loader ...")
    seconds["loader"] = through_loader(config, steps, device)
    found: dict[str, object] = {"run": run, "batch": batch, "crop": config.data.size, "bar": BAR, "seconds": seconds}
    found |= {
        "precision": computed("bf16", device),
        "compiled": config.train.compile,
        "images": "folder of images" if images else "synthetic images",
    }
    return write_bench("imagenet", device, found)
