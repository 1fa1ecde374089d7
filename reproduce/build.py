"""Config -> net, data, Classifier and Lightning's Trainer: the one place where configuration values become objects."""

import logging
import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from reproduce.classifier import Classifier
from reproduce.config import RUNS, Config
from reproduce.data.cifar10 import Cifar10
from reproduce.data.imagenet import ImageNet
from reproduce.device import device_of, on_gpu
from reproduce.nets import residual
from reproduce.nets.recompute import recomputed
from reproduce.optimizer import SGD
from reproduce.precision import computed
from reproduce.record import cores
from reproduce.schedule import Plateau, Schedule

Data = Cifar10 | ImageNet
PRECISIONS: dict[str, Any] = {"fp32": "32-true", "tf32": "32-true", "bf16": "bf16-mixed"}


def build_net(config: Config) -> nn.Module:
    """The net of a configuration, with its keyed initial weights."""
    return MODELS[config.model.name](config)


def _residual(config: Config, stem: str) -> nn.Module:
    options = config.model.model_dump(exclude={"name", "bn_group"})
    group = config.model.bn_group
    return residual.build(stem=stem, bn_group=None if group == "device" else group, seed=config.train.seed, **options)


MODELS: dict[str, Callable[[Config], nn.Module]] = {  # by model.name
    "cifar-resnet": partial(_residual, stem="cifar"),
    "imagenet-resnet": partial(_residual, stem="imagenet"),
}


def build_net_to_fill(config: Config) -> nn.Module:
    """The same net for weights of a file: nothing is drawn, which takes longer than reading; counters are 0."""
    with torch.device("meta"):
        net = build_net(config)
    net.to_empty(device="cpu")
    for statistics in net.buffers():
        statistics.zero_()
    return net


def build_training_net(config: Config) -> nn.Module:
    """The same net in the memory layout of its training, recomputing its blocks where that is asked for."""
    net = build_net(config)
    if config.train.channels_last:
        net = net.to(memory_format=torch.channels_last)
    return recomputed(net) if config.execution.recompute else net


def chunk_of(config: Config) -> int:
    """Iterations per Lightning batch, at most; ImageNet's steps are long enough, and its batches large, for one."""
    if not config.data.in_memory:
        return 1
    return config.execution.chunk or (50 if on_gpu(config) else 1)


def build_data(config: Config, chunk: int = 1) -> Data:
    """The DataModule of a configuration, giving `chunk` iterations at a time where it can."""
    return DATA[config.data.name](config, chunk)


def _common(config: Config) -> dict[str, Any]:
    """What both data sets take: data.* but the name, and of train.* what a batch depends on."""
    of_train = {"batch_size", "seed", "iterations", "test_every", "channels_last"}
    return config.data.model_dump(exclude={"name"}) | config.train.model_dump(include=of_train)


def _cifar10(config: Config, chunk: int) -> Cifar10:
    return Cifar10(**_common(config), chunk=chunk)


def _imagenet(config: Config, chunk: int) -> ImageNet:
    given = _common(config)
    shards, predecoded = given["shards"], given["predecoded"]
    given |= {"shards": Path(shards) if shards else None, "predecoded": predecoded or 0}
    return ImageNet(**given, workers=workers(config), cache=RUNS / "cache", resize_on_device=on_gpu(config))


DATA: dict[str, Callable[[Config, int], Data]] = {"cifar10": _cifar10, "imagenet": _imagenet}  # by data.name


def workers(config: Config) -> int:
    """Processes that decode images, of one training process: as configured, or its share of the cores but one."""
    e = config.execution
    share = cores() // (e.devices * e.jobs)
    return max(share - 1, 1) if e.workers < 0 else e.workers


def build_classifier(config: Config) -> Classifier:
    t = config.train
    schedule = Schedule(t.lr, t.milestones, t.warmup_lr, t.warmup_error, t.warmup_window, plateau(config))
    sgd = SGD(t.momentum, t.weight_decay, t.nesterov, t.weight_decay_on == "all")
    return Classifier(
        build_training_net(config),
        schedule,
        sgd,
        test_precision=config.eval.precision,
        compiled=t.compile,
        captured=config.execution.graph,
        top5=config.data.top5,
    )


TASKS: dict[str, Callable[[Config], Classifier]] = {"classification": build_classifier}  # by task


def plateau(config: Config) -> Plateau | None:
    t = config.train
    if t.lr_policy != "plateau":
        return None
    return Plateau(str(t.plateau_watch), int(t.plateau_patience or 1), float(t.plateau_gain or 0))


def set_threads(config: Config) -> None:
    """CPU threads of this process: the cores are divided between the processes of one machine."""
    torch.set_num_threads(config.execution.threads or max(1, cores() // config.execution.devices))


def environment(config: Config) -> ClusterEnvironment | None:
    """Who starts the processes, where Lightning's own guess would not do; None leaves it to Lightning.

    Under srun it is SLURM, with Lightning's requeueing off: submitit's is the one (reproduce/submit.py). In an
    allocation of one task several processes are started as anywhere else: Lightning would wait for tasks for ever.
    """
    e = config.execution
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return None
    if int(os.environ["SLURM_NTASKS"]) == 1 < e.devices * e.nodes:
        return LightningEnvironment()
    return SLURMEnvironment(auto_requeue=False)


def build_trainer(config: Config, callbacks: list[Callback], logger: Logger | None) -> L.Trainer:
    """Lightning's Trainer, plain. Its epochs are the intervals between tests; the Keeper sets how many are left."""
    e = config.execution
    _quiet()
    trainer = L.Trainer(
        accelerator="gpu" if on_gpu(config) else "cpu",
        devices=e.devices,
        num_nodes=e.nodes,
        # DDP would give everyone the BN statistics of process 0 at the first batch; the Classifier averages them.
        strategy=DDPStrategy(broadcast_buffers=False) if e.devices * e.nodes > 1 else "auto",
        plugins=environment(config),
        precision=PRECISIONS[computed(config.train.precision, device_of(config))],
        benchmark=e.autotune,
        logger=logger or False,
        callbacks=callbacks,
        max_epochs=1,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,  # the batches are keyed by iteration, not by a sampler
        num_sanity_val_steps=0,
        enable_checkpointing=False,  # the Keeper's states are atomic and hold our iteration counter
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # Signals are ours (stop.py): Lightning's handlers leave with code 0 or 134 and save nothing, or a second kind of
    # checkpoint under SLURM (lightning 2.6; Lightning-AI/pytorch-lightning#20806, #21623).
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    # So is asking the other processes (Keeper): Lightning would broadcast and wait after every batch (#21487).
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    return trainer


def _quiet() -> None:
    """Lightning's banners and adverts would come with every run; its warnings about loader workers do not apply."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")  # we log our own points
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")  # Lightning's own use of torch
    warnings.filterwarnings("ignore", message=".*functional.all_gather is deprecated.*")  # as well
