"""Images per second of ImageNet training: Lightning's Trainer over our module, from memory and through the loader.

From memory, the same decoded share (uint8) is trained on again and again, with mean and noise added on the device as in
training; in turns with it goes a bare PyTorch loop over the same batches. Through the loader, files are decoded too.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.baseline import MEAN, STD
from benchmarks.results import write_bench
from benchmarks.step import Turns, bare_loop, batches, in_turns, only_steps
from reproduce.config.device import device_of, set_threads
from reproduce.config.load import resolve
from reproduce.config.schema import Config
from reproduce.data.build import build_data
from reproduce.data.imagenet.batches import Share
from reproduce.data.imagenet.datamodule import ImageNetDataModule
from reproduce.utils.console import log
from reproduce.utils.precision import computed, set_precision

THRESHOLD = 0.97  # "at most 3 % slower" than the bare loop
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


def configured(run: str, batch: int, steps: int, overrides: tuple[str, ...], images: str | None) -> Config:
    """Enough iterations for the rounds, in bf16, without tests and checkpoints."""
    words = [*only_steps(batch, "bf16", steps * ROUNDS), *overrides, "execution.devices=1", "data.normalize=channels"]
    words += [f"data.mean={list(MEAN)}", f"data.std={list(STD)}"]
    words += [f"data.root={images}"] if images else ["data.source=synthetic"]
    return resolve(run, "folder", words).config


def measure(config: Config, steps: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds per step: ours and the bare loop from memory, in turns, and ours while workers decode the images."""
    memory, files = build_data(config), build_data(config)
    assert isinstance(memory, ImageNetDataModule)
    memory.__class__, memory.workers = FromMemory, 0
    memory.setup("fit")
    bare = bare_loop(config, batches(config, memory, device), device)
    seconds = in_turns(config, memory, Turns({"bare": bare}, steps, device))
    log("timing it through the loader ...")
    return seconds | {"loader": in_turns(config, files, Turns({}, steps, device))["ours"]}


def bench(root: str | None = None) -> Path:
    """results/bench/imagenet.json: ResNet-50, batch 256, bf16, channels_last, compiled; a trial of ResNet-18 on a CPU.

    `root`: a folder in ImageNet's layout; synthetic ones by default.
    """
    run, batch, steps, overrides = FULL if torch.cuda.is_available() else TRIED
    config = configured(run, batch, steps, overrides, root)
    set_threads(config)
    set_precision("bf16")
    device = device_of(config)
    log(f"timing {run} at batch {batch} from memory ...")
    seconds = measure(config, steps, device)
    found: dict[str, object] = {"run": run, "batch": batch, "crop": config.data.size, "bar": THRESHOLD}
    found |= {"seconds": seconds, "precision": computed("bf16", device), "compiled": config.train.compile}
    return write_bench("imagenet", device, found | {"images": "folder of images" if root else "synthetic images"})
