"""Speed of a training step, data included, as ratios measured in turns within one run (machines are noisy).

Ours is the real thing, Lightning's Trainer over Classifier and Cifar10. Against it: (a) the loop that most CIFAR
repositories have (baseline.py), its loader with no worker and with some, of which the faster counts; (b) our net and
batches in a bare PyTorch loop, with the same precision and memory layout. On a GPU (not run yet) both also with the
step captured (execution.cuda_graph), and the time that the batches alone take.
"""

import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from benchmarks.baseline import PilImages, usual_loop
from benchmarks.results import write_bench
from reproduce.config.device import set_threads
from reproduce.config.load import resolve
from reproduce.config.schema import Config
from reproduce.data.build import Data, build_data, chunk_of
from reproduce.data.cifar10.datamodule import Cifar10DataModule
from reproduce.models.build import build_net, build_training_net
from reproduce.models.complexity import multiply_adds
from reproduce.training.cuda_graph import CAPTURES, CapturedStep, EagerStep, Step
from reproduce.training.module import Batch, IterationModule
from reproduce.training.optimizer import SGD
from reproduce.training.trainer import build_classifier, build_trainer, device_of
from reproduce.utils.console import log
from reproduce.utils.precision import autocast, computed, has_bf16, set_precision

BATCH = 128
ROUNDS = 26  # the first one warms up; many short turns, as other loads of a machine come and go
# By depth: ours is to be at least so many times as fast; on a GPU with a CUDA graph.
THRESHOLDS = {20: {"usual": 2.5, "bare": 0.98}, 56: {"usual": 2.0, "bare": 0.98}}
GPU_THRESHOLDS = {20: {"usual": 6.0, "bare": 0.98}, 110: {"usual": 5.0, "bare": 0.98}}
STEPS = {20: 2, 56: 1}  # depth -> iterations per turn
GPU_STEPS = {20: 200, 110: 100}  # whole chunks of 50
GEMM = {"cpu": 2048, "cuda": 8192}  # side of the square matrices: a product takes far longer than its launch
PRODUCTS = 10


def batches(config: Config, data: Data, device: torch.device) -> Iterator[Batch]:
    """One iteration's batch after the other, made in chunks as for a training."""
    chunk, first = chunk_of(config), 0
    while True:
        if chunk == 1:
            yield data.train_batch(first, device=device)
        else:
            yield from data.train_batches(torch.arange(first, first + chunk), device=device)
        first += chunk


def bare_loop(config: Config, batches: Iterable[Batch], device: torch.device) -> Iterator[None]:
    """(b): each `next` is one step, captured where ours is."""
    net = build_training_net(config).to(device)
    call = torch.compile(net) if config.train.compile else net
    captured = config.execution.cuda_graph and device.type in CAPTURES
    optimizer = SGD().over(net, fused=True if captured else None)

    def update(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        with autocast(config.train.precision, device):
            scores = call(images)
        F.cross_entropy(scores.float(), labels).backward()
        optimizer.step()

    step: Step = EagerStep(update, optimizer)
    if captured:
        step = CapturedStep(update, optimizer, CAPTURES[device.type]())
    for images, labels in batches:
        step(images, labels, 0.1)
        yield None


def clock(device: torch.device) -> float:
    """Seconds, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(loop: Iterator[object], steps: int, device: torch.device) -> float:
    """Seconds per step of the next steps of a loop."""
    began = clock(device)
    for _ in range(steps):
        next(loop)
    return (clock(device) - began) / steps


@contextmanager
def captured_or_failed() -> Iterator[None]:
    """A capture that fails is an error here, a UserWarning: what follows would be timed as if it were captured."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="execution.cuda_graph", category=UserWarning)
        yield


@dataclass
class Turns(Callback):
    """Lets the other loops have their turn between ours, and times them all: seconds per step, one number a turn."""

    others: dict[str, Iterator[Any]]
    steps: int
    device: torch.device
    rarely: int = 1  # the usual loops make only one step in so many: on a GPU, where they are expected to take longer
    times: dict[str, list[float]] = field(default_factory=dict)
    _began: float = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._began = clock(self.device)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        assert isinstance(pl_module, IterationModule)
        if pl_module.iteration % self.steps:
            return
        self.times.setdefault("ours", []).append((clock(self.device) - self._began) / self.steps)
        for name, loop in self.others.items():
            steps = self.steps // (self.rarely if name.startswith("usual") else 1)
            self.times.setdefault(name, []).append(timed(loop, steps, self.device))
        self._began = clock(self.device)


def only_steps(batch: int, precision: str, iterations: int) -> list[str]:
    """Overrides that make a training of so many steps, and of nothing else."""
    words = [f"train.batch_size={batch}", f"train.precision={precision}", "train.milestones=[]", "data.side=null"]
    return [*words, f"train.iterations={iterations}", f"train.test_every={iterations}"]


def fit(config: Config, data: Data, callback: Callback) -> None:
    """The training itself, without the test at its end."""
    trainer = build_trainer(config, [callback], None)
    trainer.limit_val_batches = 0
    trainer.fit(build_classifier(config), datamodule=data)


def in_turns(config: Config, data: Data, turns: Turns) -> dict[str, list[float]]:
    """Seconds per step of our training and of the other loops, without the first turn."""
    fit(config, data, turns)
    return {name: seconds[1:] for name, seconds in turns.times.items()}


def measure(depth: int, precision: str, steps: int, graph: bool = False) -> dict[str, list[float]]:
    """Seconds per step of each loop, one number a round."""
    words = [*only_steps(BATCH, precision, steps * ROUNDS), f"execution.cuda_graph={graph}"]
    config = resolve(f"cifar10-resnet-{depth}", "demo", words).config
    set_threads(config)
    set_precision(precision)
    device = device_of(config)
    data = build_data(config, chunk_of(config))
    assert isinstance(data, Cifar10DataModule)
    data.setup("fit")
    rarely = 4 if device.type == "cuda" else 1
    return in_turns(config, data, Turns(other_loops(config, data, device), steps, device, rarely))


def other_loops(config: Config, data: Cifar10DataModule, device: torch.device) -> dict[str, Iterator[Any]]:
    gpu = device.type == "cuda"
    usual = config.model.depth, config.train.batch_size, PilImages(data)
    others: dict[str, Iterator[Any]]
    others = {f"usual, {n} workers": usual_loop(*usual, n, device) for n in (0, 4 if gpu else 2)}
    others |= {"bare": bare_loop(config, batches(config, data, device), device)}
    return others | {"batches": batches(config, data, device)} if gpu else others


def gemm_rate(precision: str, device: torch.device) -> float:
    """FLOP/s of the best of several products of square matrices: what this machine can do for a net."""
    side = GEMM[device.type]
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    products = (a @ b for _ in range(PRODUCTS))
    return 2 * side**3 / min(timed(products, 1, device) for _ in range(PRODUCTS))


def step_flops(depth: int) -> int:
    """Of a step at batch 128: a multiply-add is two, and the backward pass takes two forward ones."""
    return 3 * 2 * BATCH * multiply_adds(build_net(resolve(f"cifar10-resnet-{depth}", "demo", []).config))


def rows(device: torch.device) -> Iterator[dict[str, Any]]:
    """ResNet-20 and ResNet-56 on a CPU; ResNet-20 and ResNet-110 on a GPU, as usual and captured."""
    gpu = device.type == "cuda"
    steps, thresholds = (GPU_STEPS, GPU_THRESHOLDS) if gpu else (STEPS, THRESHOLDS)
    for precision, depth, graph in product(("bf16", "fp32"), steps, (False, True) if gpu else (False,)):
        if computed(precision, device) != precision:
            continue  # bf16 on a CPU without it: the fp32 rows are what it does
        name = f"ResNet-{depth}{', CUDA graph' if graph else ''}"
        log(f"timing {name} in {precision} ...")
        try:
            with captured_or_failed():
                seconds = measure(depth, precision, steps[depth], graph)  # sets threads and precision for later, too
        except UserWarning as error:
            log(f"{name}: left out; {error}")
            continue
        row = {"net": name, "precision": precision, "bars": thresholds[depth], "seconds": seconds}
        yield row | {"flops": step_flops(depth), "gemm": gemm_rate(precision, device)}


def bench() -> Path:
    """Time nets of the paper at batch 128 in bf16 (which the thresholds are for) and fp32: results/bench/step.json."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = {"images": "synthetic images", "batch": BATCH, "rows": list(rows(device))}
    return write_bench("step", device, found | {"bf16_instructions": device.type == "cuda" or has_bf16()})
