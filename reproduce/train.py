"""Training one run: config -> net, data and Classifier under Lightning's Trainer -> result files."""

import logging
import warnings
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from safetensors.torch import save as safetensors_bytes
from torch import nn

from reproduce import checkpoint, count, measure, observer
from reproduce.callbacks import Keeper, Progress, Stopped
from reproduce.classifier import SGD, Classifier, Schedule
from reproduce.config import Config, Run
from reproduce.data.cifar10 import Cifar10
from reproduce.errors import UserError
from reproduce.nets import residual
from reproduce.record import (
    CURVE,
    RESULTS,
    RUNS,
    cores,
    is_first_process,
    provenance,
    read_json,
    weights_sha256,
    write_bytes,
    write_csv,
    write_json,
)

PRECISIONS: dict[str, Any] = {"fp32": "32-true", "tf32": "32-true", "bf16": "bf16-mixed"}
Show = Callable[[dict[str, Any]], None]


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


def build_data(config: Config, chunk: int = 1) -> Cifar10:
    d, t = config.data, config.train
    return Cifar10(
        source=d.source,
        root=d.root,
        batch_size=t.batch_size,
        seed=t.seed,
        iterations=t.iterations,
        normalize=d.normalize,
        mean=d.mean,
        std=d.std,
        scale=d.scale,
        validation=d.validation,
        subset=d.subset,
        test_every=t.test_every,
        chunk=chunk,
        channels_last=t.channels_last,
    )


def build_classifier(config: Config) -> Classifier:
    t = config.train
    net = build_net(config)
    if t.channels_last:
        net = net.to(memory_format=torch.channels_last)
    schedule = Schedule(t.lr, t.milestones, t.warmup_lr, t.warmup_error, t.warmup_window)
    sgd = SGD(t.momentum, t.weight_decay, t.nesterov, t.weight_decay_on == "all")
    return Classifier(net, schedule, sgd, test_precision=config.eval.precision, compiled=t.compile)


def set_precision(precision: str) -> None:
    """fp32 means fp32: TensorFloat-32 only when it is asked for (PyTorch's convolutions would use it unasked)."""
    allowed = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


def set_threads(config: Config) -> None:
    """CPU threads of this process: the cores are divided between the processes of one machine."""
    torch.set_num_threads(config.execution.threads or max(1, cores() // config.execution.devices))


def on_gpu(config: Config) -> bool:
    wanted = config.execution.accelerator
    if wanted == "gpu" and not torch.cuda.is_available():
        raise UserError("execution.accelerator: gpu: no CUDA device is visible here; `make doctor` says more")
    return wanted != "cpu" and torch.cuda.is_available()


def build_trainer(config: Config, callbacks: list[Callback], logger: Logger | None) -> L.Trainer:
    """Lightning's Trainer, plain. Its epochs are the intervals between tests; the Keeper sets how many are left."""
    e = config.execution
    _quiet()
    return L.Trainer(
        accelerator="gpu" if on_gpu(config) else "cpu",
        devices=e.devices,
        num_nodes=e.nodes,
        strategy="ddp" if e.devices * e.nodes > 1 else "auto",
        precision=PRECISIONS[config.train.precision],
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


def _quiet() -> None:
    """Lightning's banners and adverts would come with every run; its warnings about loader workers do not apply."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")  # we log our own points
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")  # Lightning's own use of torch
    warnings.filterwarnings("ignore", message=".*functional.all_gather is deprecated.*")  # as well


class Recorder(Callback):
    """Sends each new point of the curve to the observer."""

    def __init__(self, sink: Logger | None):
        self.sink = sink

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        self.sent = len(pl_module.rows)  # those before a continuation were sent then

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        if trainer.is_global_zero:
            for row in pl_module.rows[self.sent :]:
                observer.point(self.sink, row)
            self.sent = len(pl_module.rows)


def guard_data(run: Run, data: Cifar10) -> None:
    """results/paper/ holds official data and nothing else, and any profile's folder one data fingerprint."""
    if run.profile == "paper" and not data.is_official:
        raise UserError(
            f"results/paper: is for the official CIFAR-10 only, not for {data.description}; use another --profile"
        )
    for path in sorted((RESULTS / run.profile).glob("*/seed-*/result.json")):
        other = (read_json(path) or {}).get("provenance", {}).get("data", {}).get("fingerprint")
        if other not in (None, data.fingerprint):
            raise UserError(
                f"{path}: was trained on other data ({other[:18]}…, now {data.fingerprint[:18]}…); move it away"
            )


def is_done(run: Run) -> bool:
    """Whether the result is there. Errors: UserError when it is of another recipe."""
    path = RESULTS / run.folder / "result.json"
    result = read_json(path)
    if result is None:
        return False
    if result.get("provenance", {}).get("recipe_hash") != run.recipe_hash:
        raise UserError(f"{path}: is of another recipe than the one asked for; move {path.parent} away to train anew")
    return True


def train(run: Run, label: str, show: Show) -> None:
    """Train a run to its last iteration, from wherever an earlier start left it, and write its result.

    Errors: UserError for what the user can repair; Stopped when a signal asked for the end.
    """
    config, folder = run.config, RUNS / run.folder
    set_threads(config)
    set_precision(config.train.precision)
    sink = observer.logger(run, folder) if is_first_process() else None
    data = build_data(config, config.execution.chunk or (50 if on_gpu(config) else 1))
    module = build_classifier(config)

    def done() -> bool:
        guard_data(run, data)
        return is_done(run)

    t, seconds = config.train, config.execution.checkpoint_seconds
    keeper = Keeper(folder, run.recipe_hash, t.iterations, t.test_every, seconds, done)
    progress = Progress(folder, label, t.iterations, show)
    trainer = build_trainer(config, [Recorder(sink), keeper, progress], sink)
    summary: dict[str, Any] | None = None
    try:
        trainer.fit(module, datamodule=data)
        if trainer.is_global_zero and not keeper.was_done:
            summary = write_result(run, trainer, module, data, keeper)["metrics"]
    finally:
        observer.finish(sink, summary)


def data_provenance(data: Cifar10) -> dict[str, object]:
    return {
        "source": data.source,
        "description": data.description,
        "fingerprint": data.fingerprint,
        "official": data.is_official,
        "n_train": data.n_train,
        "n_test": data.n_test,
    }


def recomputed_error(run: Run, net: nn.Module, data: Cifar10, device: torch.device) -> float:
    """Test error in percent once the BN statistics are averages over one epoch's training batches; changes `net`."""
    size = run.config.train.batch_size
    measure.recompute_bn(net, (data.train_batch(i, device=device)[0:2] for i in range(-(-data.n_train // size))))
    errors, n = measure.count_errors(net, data.test_batches(device), run.config.eval.precision)
    return 100 * errors / n


def write_result(run: Run, trainer: L.Trainer, module: Classifier, data: Cifar10, keeper: Keeper) -> dict[str, Any]:
    """results/<profile>/<run>/seed-<k>/: the curve, and result.json last: its presence says that the run is done."""
    net, last = module.net, dict(module.rows[-1])
    if run.config.eval.bn_statistics == "recomputed":
        last["test_error"] = recomputed_error(run, net, data, module.device)
    if module.tested not in (0, data.n_test):
        raise RuntimeError(f"{module.tested} test images were counted instead of {data.n_test}")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    origin = provenance(
        run, data=data_provenance(data), device=module.device, processes=trainer.world_size, code=keeper.commit
    )
    origin |= {"start": keeper.began, "end": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    origin |= {"hours": round(keeper.seconds_in_all / 3600, 4), "resumed": keeper.resumed}
    result = {
        "run": run.name,
        "seed": run.seed,
        "profile": run.profile,
        "iterations": module.iteration,
        "layers": count.layers(net),
        "parameters": count.parameters(net),
        "multiply_adds": count.multiply_adds(build_net(run.config), 32),
        "metrics": {"train_error": last["train_error"], "test_error": last["test_error"]},
        "n_test": data.n_test,
        "warmup_iterations": module.warmup_over if module.schedule.warmup_lr else None,
        "weights_sha256": weights_sha256(state),
        "provenance": origin,
    }
    write_bytes(RUNS / run.folder / "final.safetensors", safetensors_bytes(state))
    write_csv(RESULTS / run.folder / "curve.csv", CURVE, module.rows)
    write_json(RESULTS / run.folder / "result.json", result)
    checkpoint.clear(RUNS / run.folder)
    return result


__all__ = ["Stopped", "build_data", "build_net", "is_done", "train"]
