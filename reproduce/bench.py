"""Speed of a training step, data included, as ratios measured in turns within one run (machines are noisy).

Ours is the real thing, Lightning's Trainer over Classifier and Cifar10. Against it: (a) the loop that most CIFAR
repositories have, PIL images through torchvision's transforms and a DataLoader, fp32, the loss read at each step;
(b) our net and batches in a bare PyTorch loop, with the same precision and memory layout.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
import torchvision.transforms as T
from lightning.pytorch.callbacks import Callback
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from reproduce.build import build_classifier, build_data, build_net, build_trainer, on_gpu, set_precision, set_threads
from reproduce.config import Config, resolve
from reproduce.data.cifar10 import Cifar10
from reproduce.nets.residual import has_bf16
from reproduce.record import say, write_bench

ROUNDS = 6  # the first one warms up
BARS = {"usual": 2.0, "bare": 0.95}  # ours is to be at least so many times as fast
STEPS = {20: 4, 56: 2}  # depth -> iterations per turn


class PilImages(Dataset[tuple[Tensor, int]]):
    """The usual data set: one PIL image at a time, cropped, flipped, converted and normalised."""

    def __init__(self, data: Cifar10):
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in data.train_images]
        self.labels = data.train_labels.tolist()
        normalise = T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        self.transform = T.Compose([T.RandomHorizontalFlip(), T.RandomCrop(32, 4), T.ToTensor(), normalise])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def usual_loop(config: Config, images: PilImages, workers: int, device: torch.device) -> Iterator[float]:
    """(a): each `next` is one step."""
    net = build_net(config).to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(
        images,
        config.train.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        drop_last=True,
    )
    while True:
        for x, y in loader:
            loss = F.cross_entropy(net(x.to(device)), y.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()


def bare_loop(config: Config, data: Cifar10, device: torch.device) -> Iterator[None]:
    """(b): each `next` is one step."""
    t = config.train
    net: nn.Module = build_net(config).to(device)
    if t.channels_last:
        net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    iteration = 0
    while True:
        images, labels = data.train_batch(iteration, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=t.precision == "bf16"):
            scores = net(images)
        loss = F.cross_entropy(scores.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        iteration += 1
        yield None


@dataclass
class Turns(Callback):
    """Lets the other loops have their turn between ours, and times them all."""

    others: dict[str, Iterator[Any]]
    steps: int
    device: torch.device
    times: dict[str, list[float]] = field(default_factory=dict)
    _began: float = 0.0

    def _clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._began = self._clock()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if (pl_module.iteration) % self.steps:  # type: ignore[operator]
            return
        self._note("ours", self._began)
        for name, loop in self.others.items():
            began = self._clock()
            for _ in range(self.steps):
                next(loop)
            self._note(name, began)
        self._began = self._clock()

    def _note(self, name: str, began: float) -> None:
        self.times.setdefault(name, []).append((self._clock() - began) / self.steps)


def measure(depth: int, precision: str) -> dict[str, list[float]]:
    """Seconds per step of each loop, one number a round."""
    steps = STEPS[depth]
    words = ["train.batch_size=128", f"train.precision={precision}", "execution.checkpoint_seconds=86400"]
    words += [f"train.iterations={steps * ROUNDS}", f"train.test_every={steps * ROUNDS}", "train.milestones=[]"]
    config = resolve(f"cifar10-resnet-{depth}", "demo", words).config
    set_threads(config)
    set_precision(precision)
    device = torch.device("cuda" if on_gpu(config) else "cpu")
    data = build_data(config)
    assert isinstance(data, Cifar10)
    data.setup("fit")
    images = PilImages(data)
    others: dict[str, Iterator[Any]] = {f"usual, {n} workers": usual_loop(config, images, n, device) for n in (0, 2)}
    others["bare"] = bare_loop(config, data, device)
    turns = Turns(others, steps, device)
    trainer = build_trainer(config, [turns], None)
    trainer.limit_val_batches = 0
    trainer.fit(build_classifier(config), datamodule=data)
    return {name: seconds[1:] for name, seconds in turns.times.items()}


def bench() -> Path:
    """Time ResNet-20 and ResNet-56 at batch 128 in bf16 (the bars) and fp32: results/bench/step.json."""
    rows = []
    for precision in ("bf16", "fp32"):
        for depth in STEPS:
            say(f"timing ResNet-{depth} in {precision} ...")
            rows.append({"net": f"ResNet-{depth}", "precision": precision, "seconds": measure(depth, precision)})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = {"images": "embedded images", "batch": 128, "bars": BARS, "rows": rows}
    return write_bench("step", device, found | {"bf16_instructions": device.type == "cuda" or has_bf16()})
