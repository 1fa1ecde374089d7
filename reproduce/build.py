"""Config -> net, data, Classifier and Lightning's Trainer: the one place where configuration values become objects."""

import logging
import os
import warnings
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

from reproduce.classifier import SGD, Classifier
from reproduce.config import Config
from reproduce.data.cifar10 import Cifar10
from reproduce.data.imagenet import ImageNet
from reproduce.errors import UserError
from reproduce.nets import residual
from reproduce.nets.recompute import recomputed
from reproduce.precision import computed
from reproduce.record import RUNS, cores
from reproduce.schedule import Plateau, Schedule

Data = Cifar10 | ImageNet
PRECISIONS: dict[str, Any] = {"fp32": "32-true", "tf32": "32-true", "bf16": "bf16-mixed"}


def build_net(config: Config) -> nn.Module:
    """The net of a configuration, with its keyed initial weights."""
    n = config.net
    return residual.build(
        stem=n.stem,
        depth=n.depth,
        shortcut=n.shortcut,
        block=n.block,
        zero_padding=n.zero_padding,
        subsample=n.subsample,
        stride=n.stride,
        bn_group=None if n.bn_group == "device" else n.bn_group,
        classes=n.classes,
        init=n.init,
        seed=config.train.seed,
    )


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
    if config.net.stem != "cifar":
        return 1
    return config.execution.chunk or (50 if on_gpu(config) else 1)


def build_data(config: Config, chunk: int = 1) -> Data:
    """The DataModule of a configuration: CIFAR-10 with its single view of 32x32, or ImageNet with its crops."""
    d, t = config.data, config.train
    common: dict[str, Any] = {
        "source": d.source,
        "root": d.root,
        "batch_size": t.batch_size,
        "seed": t.seed,
        "iterations": t.iterations,
        "normalize": d.normalize,
        "mean": d.mean,
        "std": d.std,
        "scale": d.scale,
        "validation": d.validation,
        "subset": d.subset,
        "test_every": t.test_every,
        "channels_last": t.channels_last,
    }
    if config.net.stem == "cifar":
        return Cifar10(**common, chunk=chunk, side=d.side)
    return ImageNet(
        **common,
        **{key: getattr(d, key) for key in ("shorter_side", "crop", "test_side", "colour_noise")},
        workers=workers(config),
        cache=RUNS / "cache",
        predecoded=d.predecoded or 0,
        shards=Path(d.shards) if d.shards else None,
        resize_on_device=on_gpu(config),
    )


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
        top5=config.net.stem == "imagenet",
    )


def plateau(config: Config) -> Plateau | None:
    t = config.train
    if t.lr_policy != "plateau":
        return None
    return Plateau(str(t.plateau_watch), int(t.plateau_patience or 1), float(t.plateau_gain or 0))


def image_size(config: Config) -> int:
    """Side in pixels of the image for which the paper counts multiply-adds."""
    return 32 if config.net.stem == "cifar" else 224


def set_threads(config: Config) -> None:
    """CPU threads of this process: the cores are divided between the processes of one machine."""
    torch.set_num_threads(config.execution.threads or max(1, cores() // config.execution.devices))


def on_gpu(config: Config) -> bool:
    wanted = config.execution.accelerator
    if wanted == "gpu" and not torch.cuda.is_available():
        raise UserError("execution.accelerator: gpu: no CUDA device is visible here; `make doctor` says more")
    return wanted != "cpu" and torch.cuda.is_available()


def device_of(config: Config) -> torch.device:
    """The kind of device that this configuration computes on."""
    return torch.device("cuda" if on_gpu(config) else "cpu")


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
