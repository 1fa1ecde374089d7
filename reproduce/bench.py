"""Speed of a training step, data included, as ratios measured in turns within one run (machines are noisy).

Ours is the real thing, Lightning's Trainer over Classifier and Cifar10. Against it: (a) the loop that most CIFAR
repositories have, PIL images through torchvision's transforms and a DataLoader, fp32, the loss read at each step;
(b) our net and batches in a bare PyTorch loop, with the same precision and memory layout. On a GPU (not run yet) both
also with the step captured (execution.graph), and the time that the batches alone take.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
import torchvision.transforms as T
from lightning.pytorch.callbacks import Callback
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from reproduce.build import (
    build_classifier,
    build_data,
    build_net,
    build_trainer,
    build_training_net,
    chunk_of,
    on_gpu,
    set_precision,
    set_threads,
)
from reproduce.classifier import SGD, Batch
from reproduce.config import Config, resolve
from reproduce.data.cifar10 import Cifar10
from reproduce.nets.residual import has_bf16
from reproduce.record import say, write_bench
from reproduce.step import CAPTURES, CapturedStep, EagerStep, Step

ROUNDS = 6  # the first one warms up
BARS = {"usual": 2.0, "bare": 0.95}  # ours is to be at least so many times as fast
GPU_BARS = {20: {"usual": 6.0, "bare": 0.98}, 110: {"usual": 5.0, "bare": 0.98}}  # of the captured step, by depth
STEPS = {20: 4, 56: 2}  # depth -> iterations per turn
GPU_STEPS = {20: 200, 110: 100}  # whole chunks of 50


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


def batches(config: Config, data: Cifar10, device: torch.device) -> Iterator[Batch]:
    """One iteration's batch after the other, made in chunks as for a training."""
    chunk, first = chunk_of(config), 0
    while True:
        if chunk == 1:
            yield data.train_batch(first, device=device)
        else:
            yield from data.train_batches(torch.arange(first, first + chunk), device=device)
        first += chunk


def bare_loop(config: Config, data: Cifar10, device: torch.device) -> Iterator[None]:
    """(b): each `next` is one step, captured where ours is."""
    net = build_training_net(config).to(device)
    call = torch.compile(net) if config.train.compile else net
    captured = config.execution.graph and device.type in CAPTURES
    optimizer = SGD().over(net, fused=True if captured else None)

    def update(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=config.train.precision == "bf16"):
            scores = call(images)
        F.cross_entropy(scores.float(), labels).backward()
        optimizer.step()

    step: Step = EagerStep(update, optimizer)
    if captured:
        step = CapturedStep(update, optimizer, CAPTURES[device.type]())
    for images, labels in batches(config, data, device):
        step(images, labels, 0.1)
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


def measure(depth: int, precision: str, steps: int, graph: bool = False) -> dict[str, list[float]]:
    """Seconds per step of each loop, one number a round."""
    words = ["train.batch_size=128", f"train.precision={precision}", "execution.checkpoint_seconds=86400"]
    words += [f"train.iterations={steps * ROUNDS}", f"train.test_every={steps * ROUNDS}", "train.milestones=[]"]
    config = resolve(f"cifar10-resnet-{depth}", "demo", [*words, f"execution.graph={graph}"]).config
    set_threads(config)
    set_precision(precision)
    device = torch.device("cuda" if on_gpu(config) else "cpu")
    data = build_data(config, chunk_of(config))
    assert isinstance(data, Cifar10)
    data.setup("fit")
    turns = Turns(other_loops(config, data, device), steps, device)
    trainer = build_trainer(config, [turns], None)
    trainer.limit_val_batches = 0
    trainer.fit(build_classifier(config), datamodule=data)
    return {name: seconds[1:] for name, seconds in turns.times.items()}


def other_loops(config: Config, data: Cifar10, device: torch.device) -> dict[str, Iterator[Any]]:
    gpu = device.type == "cuda"
    images = PilImages(data)
    usual = {f"usual, {n} workers": usual_loop(config, images, n, device) for n in (0, 4 if gpu else 2)}
    others = usual | {"bare": bare_loop(config, data, device)}
    return others | {"batches": batches(config, data, device)} if gpu else others


def rows(gpu: bool) -> Iterator[dict[str, Any]]:
    """ResNet-20 and ResNet-56 on a CPU; ResNet-20 and ResNet-110 on a GPU, as usual and captured."""
    steps = GPU_STEPS if gpu else STEPS
    for precision, depth, graph in product(("bf16", "fp32"), steps, (False, True) if gpu else (False,)):
        name = f"ResNet-{depth}{', captured' if graph else ''}"
        say(f"timing {name} in {precision} ...")
        row = {"net": name, "precision": precision, "seconds": measure(depth, precision, steps[depth], graph)}
        yield row | ({"bars": GPU_BARS[depth]} if gpu else {})


def bench() -> Path:
    """Time nets of the paper at batch 128 in bf16 (the bars) and fp32: results/bench/step.json."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = {"images": "embedded images", "batch": 128, "bars": BARS, "rows": list(rows(device.type == "cuda"))}
    return write_bench("step", device, found | {"bf16_instructions": device.type == "cuda" or has_bf16()})
