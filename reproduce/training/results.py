"""What a finished training leaves: result.json with its provenance, curve.csv and the final weights."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import lightning as L
import torch
from safetensors.torch import save as safetensors_bytes
from torch import nn

from reproduce.config.run import Run
from reproduce.data.build import Data
from reproduce.metrics import classification
from reproduce.models import complexity, precise_bn
from reproduce.models.pretrained import weights_sha256
from reproduce.training import checkpoint
from reproduce.training.callbacks import ResumeCallback
from reproduce.training.classification import Classifier
from reproduce.utils.environment import device_name, processor, versions
from reproduce.utils.errors import UserError
from reproduce.utils.files import write_bytes, write_csv, write_json
from reproduce.utils.precision import computed

BEST = {"iteration": "iteration", "val_error": "validation_error", "test_error": "test_error"}  # columns of the curve


def data_provenance(data: Data) -> dict[str, object]:
    return {
        "source": data.source,
        "description": data.description,
        "fingerprint": data.fingerprint,
        "official": data.is_official,
        "n_train": data.n_train,
        "n_test": data.n_test,
    }


def recompute_bn(run: Run, net: nn.Module, data: Data, device: torch.device) -> None:
    """BN statistics as averages over one epoch's training batches; changes `net`.

    Errors: UserError where the data has no training images (ImageNet's val/ alone).
    """
    if not data.n_train:
        raise UserError("eval.bn_statistics: recomputed: needs the training images, and data.root has none")
    iterations = -(-data.n_train // run.config.train.batch_size)
    batches = (data.train_batch(i, device=device) for i in range(iterations))
    precise_bn.recompute_bn(net, batches, run.config.eval.precision)


def metrics(row: dict[str, float]) -> dict[str, float]:
    """The errors of the curve's last point in percent; for ImageNet those of the centre crop, top-1 and top-5."""
    found = {"train_error": row["train_error"], "test_error": row["test_error"]}
    if "test_top5_error" in row:
        found |= {"top1_error": row["test_error"], "top5_error": row["test_top5_error"]}
    return found


def best_validation(rows: Sequence[Mapping[str, float]]) -> dict[str, float] | None:
    """Where the curve is lowest on the images held out of training (the first such point); None without any.

    Reported beside the errors after the last iteration, never in their place.
    """
    held_out = [row for row in rows if "validation_error" in row]
    if not held_out:
        return None
    best = min(held_out, key=lambda row: row["validation_error"])
    return {key: best[name] for key, name in BEST.items()}


def last_point(run: Run, module: Classifier, data: Data, device: torch.device) -> dict[str, float]:
    """The curve's last point. `device`: of the training; Lightning has taken the net from it by now.

    Where BN statistics are to be recomputed, the net gets them here, and its test errors are those measured afterwards;
    the weights that are kept have moving averages whatever they are tested with.
    """
    last = dict(module.rows[-1])
    if run.config.eval.bn_statistics == "recomputed":
        recompute_bn(run, module.net.to(device), data, device)
        batches = data.test_batches(device)
        tested = classification.count_errors(module.net, batches, run.config.eval.precision, module.top5)
        last["test_error"] = tested.error
        last |= {"test_top5_error": tested.top5_error} if module.top5 else {}
    return last


def origin(run: Run, trainer: L.Trainer, module: Classifier, data: Data, resume: ResumeCallback) -> dict[str, Any]:
    """Provenance of the result, with the time that all starts took together."""
    device = trainer.strategy.root_device
    found = provenance(run, data=data_provenance(data), device=device, processes=trainer.world_size, code=resume.commit)
    found |= {"captured": module.was_captured} if run.config.execution.cuda_graph else {}
    found |= {"start": resume.began, "end": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    return found | {"hours": round(resume.seconds_in_all / 3600, 4), "resumed": resume.resumed, "starts": resume.starts}


def write_result(
    run: Run, trainer: L.Trainer, module: Classifier, data: Data, resume: ResumeCallback
) -> dict[str, Any]:
    """results/<profile>/<run>/seed-<k>/: the curve, and result.json last: its presence says that the run is done."""
    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in module.net.state_dict().items()}
    last = last_point(run, module, data, trainer.strategy.root_device)
    if module.tested not in (0, data.n_test):
        raise RuntimeError(f"{module.tested} test images were counted instead of {data.n_test}")
    net, made = module.net, origin(run, trainer, module, data, resume)
    result = {
        "run": run.name,
        "seed": run.seed,
        "profile": run.profile,
        "iterations": module.iteration,
        "layers": complexity.layers(net),
        "parameters": complexity.parameters(net),
        "multiply_adds": complexity.multiply_adds(net, run.config.data.paper_size),
        "metrics": metrics(last),
        **({"best_validation": best} if (best := best_validation(module.rows)) else {}),
        "n_test": data.n_test,
        "warmup_iterations": module.warmup_over if module.schedule.warmup_lr else None,
        "weights_sha256": weights_sha256(state),
        "provenance": made,
    }
    write_bytes(run.workdir / "final.safetensors", safetensors_bytes(state))
    write_csv(run.results / "curve.csv", module.rows[0], module.rows)
    write_json(run.results / "result.json", result)
    checkpoint.clear(run.workdir)
    return result


def provenance(
    run: Run, *, data: Mapping[str, object], device: torch.device, processes: int, code: tuple[str | None, bool]
) -> dict[str, Any]:
    """Where a number comes from. No host or user name, no path of this machine, never sys.argv."""
    return {
        "config": run.to_public_dict(),
        "recipe_hash": run.recipe_hash,
        "command": run.command(),
        "overrides": run.shown_overrides,
        "commit": code[0],
        "dirty": code[1],
        "versions": versions(),
        "device": device_name(device),
        "processor": processor(),
        "precision": computed(run.config.train.precision, device),
        "test_precision": computed(run.config.eval.precision, device),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "micro_batch": run.config.execution.micro_batch,
        "bn_group": run.config.model.bn_group,
        "data": dict(data),
    }
