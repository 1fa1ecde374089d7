"""The typed form of a configuration: every key, its type and range. Values and their reasons stand in configs/."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Optional

from omegaconf import MISSING

from reproduce.errors import UserError


@dataclass(frozen=True)
class Net:
    stem: str = MISSING
    depth: int = MISSING
    shortcut: str = MISSING
    block: str = MISSING
    classes: int = MISSING
    zero_padding: str = MISSING
    subsample: str = MISSING
    stride: str = MISSING
    bn_group: Any = MISSING  # "device" or a number of images
    init: str = MISSING


@dataclass(frozen=True)
class Data:
    source: str = MISSING
    root: str = MISSING
    normalize: str = MISSING
    mean: Optional[tuple[float, float, float]] = None  # noqa: UP045 (omegaconf reads this annotation on Python 3.10)
    std: Optional[tuple[float, float, float]] = None  # noqa: UP045
    scale: float = MISSING
    validation: int = MISSING
    subset: int = MISSING
    # Of one recipe only; None, and no part of what is hashed, elsewhere (OWN_KEYS).
    side: Optional[int] = None  # noqa: UP045
    shorter_side: Optional[tuple[int, int]] = None  # noqa: UP045
    crop: Optional[int] = None  # noqa: UP045
    colour_noise: Optional[float] = None  # noqa: UP045
    test_side: Optional[int] = None  # noqa: UP045
    predecoded: Optional[int] = None  # noqa: UP045
    shards: Optional[str] = None  # noqa: UP045


@dataclass(frozen=True)
class Train:
    iterations: int = MISSING
    batch_size: int = MISSING
    lr: float = MISSING
    lr_policy: str = MISSING
    milestones: tuple[int, ...] = MISSING
    momentum: float = MISSING
    nesterov: bool = MISSING
    weight_decay: float = MISSING
    weight_decay_on: str = MISSING
    warmup_lr: float = MISSING
    warmup_error: float = MISSING
    warmup_window: int = MISSING
    test_every: int = MISSING
    precision: str = MISSING
    seed: int = MISSING
    compile: bool = MISSING
    channels_last: bool = MISSING
    plateau_watch: Optional[str] = None  # noqa: UP045
    plateau_patience: Optional[int] = None  # noqa: UP045
    plateau_gain: Optional[float] = None  # noqa: UP045


@dataclass(frozen=True)
class Eval:
    bn_statistics: str = MISSING
    precision: str = MISSING
    test_sides: Optional[tuple[int, ...]] = None  # noqa: UP045


@dataclass(frozen=True)
class Execution:
    devices: int = MISSING
    nodes: int = MISSING
    accelerator: str = MISSING
    jobs: int = MISSING
    mps: bool = False
    threads: int = MISSING
    workers: int = 0
    chunk: int = MISSING
    graph: bool = False
    autotune: bool = False
    recompute: bool = False
    checkpoint_seconds: float = MISSING
    wandb: str = MISSING


@dataclass(frozen=True)
class Config:
    """One training, resolved: the recipe, what its run and profile change, and the command line's overrides."""

    net: Net = field(default_factory=Net)
    data: Data = field(default_factory=Data)
    train: Train = field(default_factory=Train)
    eval: Eval = field(default_factory=Eval)
    execution: Execution = field(default_factory=Execution)


CHOICES: dict[str, tuple[str | int, ...]] = {
    "net.stem": ("cifar", "imagenet"),
    "net.shortcut": ("none", "A", "B", "C"),
    "net.block": ("auto", "basic", "bottleneck"),
    "net.zero_padding": ("end", "both"),
    "net.subsample": ("stride", "average"),
    "net.stride": ("first-1x1", "3x3"),
    "net.init": ("fan_in", "fan_out"),
    "data.source": ("official", "folder", "synthetic"),
    "data.side": (8, 16),
    "data.normalize": ("per-pixel-mean", "channels"),
    "train.lr_policy": ("steps", "plateau"),
    "train.plateau_watch": ("train", "validation"),
    "train.weight_decay_on": ("all", "weights"),
    "train.precision": ("fp32", "tf32", "bf16"),
    "eval.bn_statistics": ("moving", "recomputed"),
    "eval.precision": ("fp32", "tf32", "bf16"),
    "execution.accelerator": ("auto", "cpu", "gpu"),
    "execution.wandb": ("disabled", "offline", "online"),
}

INFINITY = math.inf
RANGES: dict[str, tuple[float, float]] = {
    "net.depth": (1, 10_000),
    "net.classes": (2, 100_000),
    "data.scale": (1e-6, 1e6),
    "data.validation": (0, 1_000_000),
    "data.subset": (0, 1_000_000),
    "train.iterations": (1, 10**9),
    "train.batch_size": (1, 10**6),
    "train.lr": (0.0, 1e3),
    "train.momentum": (0.0, 1.0),
    "train.weight_decay": (0.0, 1e3),
    "train.warmup_lr": (0.0, 1e3),
    "train.warmup_error": (0.0, 100.0),
    "train.warmup_window": (1, 10**9),
    "train.test_every": (1, 10**9),
    "train.seed": (0, 2**31 - 1),
    "data.crop": (32, 4096),
    "data.colour_noise": (0.0, 10.0),
    "data.test_side": (32, 4096),
    "data.predecoded": (32, 4096),
    "train.plateau_patience": (1, 10**6),
    "train.plateau_gain": (0.0, 100.0),
    "execution.devices": (1, 1024),
    "execution.nodes": (1, 10_000),
    "execution.jobs": (1, 1024),
    "execution.threads": (0, 4096),
    "execution.workers": (-1, 1024),
    "execution.chunk": (0, 1000),
    "execution.checkpoint_seconds": (0.0, 86_400.0),
}


OWN_KEYS = {  # of one recipe: without a value in a recipe that does not name them
    "data.side",
    *("data.shorter_side", "data.crop", "data.colour_noise", "data.test_side", "eval.test_sides"),
    *("data.predecoded", "data.shards"),
    *("train.plateau_watch", "train.plateau_patience", "train.plateau_gain"),
}


def flatten(tree: dict[str, Any]) -> dict[str, Any]:
    """{"net": {"depth": 20}} -> {"net.depth": 20}."""
    return {f"{part}.{key}": value for part, values in tree.items() for key, value in values.items()}


def problems(flat: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a configuration, each as `key: reason`, the cure in it."""
    absent = {key for key in OWN_KEYS if flat[key] is None}
    for key, allowed in CHOICES.items():
        if key not in absent and flat[key] not in allowed:
            yield f"{key}: {flat[key]!r} is not one of {', '.join(map(str, allowed))}"
    for key, (low, high) in RANGES.items():
        if key not in absent and not low <= flat[key] <= high:  # also false for NaN
            yield f"{key}: {flat[key]} is not between {low:g} and {high:g}"
    yield from _problems_between_keys(flat)


def _problems_between_keys(flat: dict[str, Any]) -> Iterator[str]:
    group, steps = flat["net.bn_group"], list(flat["train.milestones"])
    if group != "device" and (not isinstance(group, int) or isinstance(group, bool) or group < 1):
        yield f"net.bn_group: {group!r} is neither `device` nor a number of images"
    if any(step < 1 for step in steps) or steps != sorted(set(steps)):
        yield f"train.milestones: {steps} are not increasing iterations"
    processes = flat["execution.devices"] * flat["execution.nodes"]
    share, rest = divmod(flat["train.batch_size"], processes)
    if rest:
        yield f"train.batch_size: {flat['train.batch_size']} is not divisible by {processes} (execution.devices, nodes)"
    elif group != "device" and isinstance(group, int) and group > 0 and share % group:
        yield f"net.bn_group: {share} images per device are no multiple of the group of {group}"
    for key in ("data.mean", "data.std"):
        if (flat[key] is None) == (flat["data.normalize"] == "channels"):
            yield f"{key}: goes with data.normalize=channels and with nothing else: three numbers, of pixels in [0, 1]"
        elif flat[key] is not None and not all(math.isfinite(x) and 0 <= x <= 1 for x in flat[key]):
            yield f"{key}: {list(flat[key])} are not three numbers in [0, 1]"
    if flat["data.std"] is not None and any(x == 0 for x in flat["data.std"]):
        yield "data.std: a standard deviation of 0 divides by zero"
    yield from _problems_of_views(flat)
    yield from _problems_of_plateau(flat)
    if flat["execution.recompute"] and flat["train.compile"]:
        yield "execution.recompute: does not go with train.compile=true"
    if flat["train.nesterov"] and flat["train.momentum"] == 0:
        yield "train.nesterov: needs train.momentum above 0"


def _problems_of_views(flat: dict[str, Any]) -> Iterator[str]:
    """ImageNet's views; the CIFAR recipe, with its single 32x32 view, takes none of these keys."""
    views = {key: flat[key] for key in OWN_KEYS if not key.startswith("train.")}
    side = views.pop("data.side")
    if flat["net.stem"] != "cifar" and side is not None:
        yield "data.side: goes with the CIFAR-10 runs"
    if flat["net.stem"] == "cifar":
        yield from (f"{key}: goes with the ImageNet runs" for key, value in views.items() if value is not None)
        return
    (low, high), crop, test_side = flat["data.shorter_side"], flat["data.crop"], flat["data.test_side"]
    if not crop <= low <= high <= 4096:
        yield f"data.shorter_side: {[low, high]} is no interval of sides from data.crop ({crop}) on"
    if test_side < crop:
        yield f"data.test_side: {test_side} is smaller than data.crop ({crop})"
    sides = list(flat["eval.test_sides"])
    if not sides or sides != sorted(set(sides)) or sides[0] < 32 or sides[-1] > 4096:
        yield f"eval.test_sides: {sides} are not increasing shorter sides from 32 on"


def _problems_of_plateau(flat: dict[str, Any]) -> Iterator[str]:
    if flat["train.lr_policy"] != "plateau":
        return
    keys = ("train.plateau_watch", "train.plateau_patience", "train.plateau_gain")
    yield from (f"{key}: is needed for train.lr_policy=plateau" for key in keys if flat[key] is None)
    if flat["train.plateau_watch"] == "validation" and not flat["data.validation"]:
        yield "data.validation: train.plateau_watch=validation needs images held out of the training set, e.g. 50000"


def check(flat: dict[str, Any], where: str) -> None:
    """Raise UserError with the first problem of a flat configuration; `where` names the file or the command line."""
    for problem in problems(flat):
        raise UserError(f"{where}: {problem}")
