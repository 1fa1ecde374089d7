"""How a step is best executed on this machine: variants of the configuration, in turns, against the first of them.

All are the bare loop of step.py, with net, batches and recipe of the paper; results differ by rounding at most.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.results import write_bench
from benchmarks.step import BATCH, bare_loop, batches, captured_or_failed, timed
from reproduce.config.device import set_threads
from reproduce.config.load import resolve
from reproduce.config.schema import Config
from reproduce.data.build import build_data, chunk_of
from reproduce.data.cifar10.datamodule import Cifar10DataModule
from reproduce.utils.console import log
from reproduce.utils.errors import one_line
from reproduce.utils.precision import computed, set_precision

ROUNDS = 15
BF16 = "train.precision=bf16"
BOTH = {  # variant -> its overrides; the others are compared with the first
    "bf16, channels_last": (BF16,),
    "bf16, contiguous": (BF16, "train.channels_last=false"),
    "bf16, compiled": (BF16, "train.compile=true"),
    "bf16, recomputing": (BF16, "execution.activation_checkpointing=true"),
    "fp32, channels_last": ("train.precision=fp32",),
    "fp32, contiguous": ("train.precision=fp32", "train.channels_last=false"),
    "fp32, compiled": ("train.precision=fp32", "train.compile=true"),
}
CPU = BOTH | {"bf16, one thread": (BF16, "execution.threads=1")}
GPU = BOTH | {
    "tf32, channels_last": ("train.precision=tf32",),
    "bf16, autotuned": (BF16, "execution.cudnn_benchmark=true"),
    "bf16, CUDA graph": (BF16, "execution.cuda_graph=true"),
    "bf16, autotuned and CUDA graph": (BF16, "execution.cudnn_benchmark=true", "execution.cuda_graph=true"),
    "bf16, compiled and CUDA graph": (BF16, "train.compile=true", "execution.cuda_graph=true"),
    "fp32, CUDA graph": ("train.precision=fp32", "execution.cuda_graph=true"),
}
DEPTHS = 20, 56  # no deeper: each of three variants would compile for minutes
STEPS = {"cpu": 1, "cuda": 50}  # iterations of a turn: on a GPU a whole chunk


@dataclass
class Variant:
    """One way to execute the step, warm from the second turn on; on a GPU the first turn holds the capture, too."""

    config: Config
    data: Cifar10DataModule
    device: torch.device
    seconds: list[float] = field(default_factory=list)  # per step, one number a turn

    def __post_init__(self) -> None:
        self._loop = bare_loop(self.config, batches(self.config, self.data, self.device), self.device)

    def turn(self) -> None:
        set_threads(self.config)  # these are settings of the process, which all variants share
        set_precision(self.config.train.precision)
        torch.backends.cudnn.benchmark = self.config.execution.cudnn_benchmark
        self.seconds.append(timed(self._loop, STEPS[self.device.type], self.device))


def measure(depth: int, device: torch.device) -> Iterator[dict[str, object]]:
    """One row per variant that can be had: seconds per step in each turn, and by how many its first turn was longer."""
    variants = {}
    for name, words in (GPU if device.type == "cuda" else CPU).items():
        overrides = [f"train.batch_size={BATCH}", "data.side=null", *words]
        config = resolve(f"cifar10-resnet-{depth}", "demo", overrides).config
        if computed(config.train.precision, device) != config.train.precision:
            continue  # bf16 on a CPU without it
        data = build_data(config, chunk_of(config))
        assert isinstance(data, Cifar10DataModule)
        data.setup("fit")
        variants[name] = Variant(config, data, device)
    log(f"ResNet-{depth}: {len(variants)} variants of a step, the first time (some are compiled or captured now) ...")
    for name, variant in variants.items():
        try:
            with captured_or_failed():
                variant.turn()
        except (RuntimeError, UserWarning) as error:  # no compiler, no Triton, a capture refused
            log(f"{name}: not to be had here; {one_line(error)}")
    variants = {name: variant for name, variant in variants.items() if variant.seconds}
    for turn in range(ROUNDS):
        log(f"ResNet-{depth}: {len(variants)} variants of a step, round {turn + 1} of {ROUNDS} ...")
        for variant in variants.values():
            variant.turn()
    for name, variant in variants.items():
        first, *seconds = variant.seconds
        start = (first - statistics.median(seconds)) * STEPS[device.type]
        yield {"net": f"ResNet-{depth}", "variant": name, "seconds": seconds, "start": start}


def bench() -> Path:
    """results/bench/variants.json."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = [row for depth in DEPTHS for row in measure(depth, device)]
    set_threads(resolve("cifar10-resnet-20", "demo", []).config)
    return write_bench("variants", device, {"batch": BATCH, "images": "synthetic images", "rows": rows})
