"""Configuration -> module, data and Lightning's Trainer."""

import logging
import os
import warnings
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy

from reproduce.config.device import device_of, on_gpu
from reproduce.config.schema import Config
from reproduce.models.build import build_training_net
from reproduce.training.classification import Classifier
from reproduce.training.optimizer import SGD
from reproduce.training.schedule import Plateau, Schedule
from reproduce.utils.precision import computed

PRECISIONS: dict[str, Any] = {"fp32": "32-true", "tf32": "32-true", "bf16": "bf16-mixed"}


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
        captured=config.execution.cuda_graph,
        micro_batch=config.execution.micro_batch,
        top5=config.data.top5,
    )


TASKS: dict[str, Callable[[Config], Classifier]] = {"classification": build_classifier}  # by task


def plateau(config: Config) -> Plateau | None:
    t = config.train
    if t.lr_policy != "plateau":
        return None
    return Plateau(str(t.plateau_watch), int(t.plateau_patience or 1), float(t.plateau_gain or 0))


def environment(config: Config) -> ClusterEnvironment | None:
    """Who starts the processes, where Lightning's own guess would not do; None leaves it to Lightning.

    Under srun it is SLURM, with Lightning's requeueing off: submitit's is the one (reproduce/jobs/slurm.py). In an
    allocation of one task several processes are started as anywhere else: Lightning would wait for tasks for ever.
    """
    e = config.execution
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return None
    if int(os.environ["SLURM_NTASKS"]) == 1 < e.devices * e.nodes:
        return LightningEnvironment()
    return SLURMEnvironment(auto_requeue=False)


def build_trainer(config: Config, callbacks: list[Callback], logger: Logger | None) -> L.Trainer:
    """Lightning's Trainer, plain. Its epochs are the intervals between tests; ResumeCallback sets how many are left."""
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
        benchmark=e.cudnn_benchmark,
        logger=logger or False,
        callbacks=callbacks,
        max_epochs=1,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,  # the batches are keyed by iteration, not by a sampler
        num_sanity_val_steps=0,
        enable_checkpointing=False,  # ResumeCallback's states are atomic and hold our iteration counter
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # Signals are ours (utils/signals.py): Lightning's handlers leave with code 0 or 134 and save nothing, or a second
    # kind of checkpoint under SLURM (lightning 2.6; Lightning-AI/pytorch-lightning#20806, #21623).
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    # So is asking the other processes (ResumeCallback): Lightning would broadcast and wait after every batch (#21487).
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
