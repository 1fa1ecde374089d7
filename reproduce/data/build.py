"""Configuration -> DataModule, by a table."""

from collections.abc import Callable
from typing import Any

from reproduce.config.device import on_gpu
from reproduce.config.run import RUNS
from reproduce.config.schema import Config
from reproduce.data.cifar10.datamodule import Cifar10DataModule
from reproduce.data.imagenet.datamodule import ImageNetDataModule
from reproduce.utils.environment import cores

Data = Cifar10DataModule | ImageNetDataModule


def chunk_of(config: Config) -> int:
    """Iterations per Lightning batch, at most; ImageNet's steps are long enough, and its batches large, for one."""
    if not config.data.in_memory:
        return 1
    return config.execution.steps_per_batch or (50 if on_gpu(config) else 1)


def build_data(config: Config, chunk: int = 1) -> Data:
    """The DataModule of a configuration, giving `chunk` iterations at a time where it can."""
    return DATA[config.data.name](config, chunk)


def _common(config: Config) -> dict[str, Any]:
    """What both data sets take: data.* but the name, and of train.* what a batch depends on."""
    of_train = {"batch_size", "seed", "iterations", "test_every", "channels_last"}
    return config.data.model_dump(exclude={"name"}) | config.train.model_dump(include=of_train)


def _cifar10(config: Config, chunk: int) -> Cifar10DataModule:
    return Cifar10DataModule(**_common(config), chunk=chunk)


def _imagenet(config: Config, chunk: int) -> ImageNetDataModule:
    given = _common(config) | {"workers": workers(config), "resize_on_device": on_gpu(config)}
    return ImageNetDataModule(**given, cache=RUNS / "cache")


DATA: dict[str, Callable[[Config, int], Data]] = {"cifar10": _cifar10, "imagenet": _imagenet}  # by data.name


def workers(config: Config) -> int:
    """Processes that decode images, of one training process: as configured, or its share of the cores but one."""
    e = config.execution
    share = cores() // (e.devices * e.jobs)
    return max(share - 1, 1) if e.workers < 0 else e.workers
