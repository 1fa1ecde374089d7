"""Run by test_ddp.py: a training on 3 processes that compares weights after every Lightning batch.

Prints one JSON line on process 0: batches compared, whether all were equal, reductions, and the test images counted.
`raw` as first argument replaces manual_backward by loss.backward(): the fault that the comparison must see.
`micro` computes each share of 2 images in two micro-batches.
"""

import json
import sys
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import ddp

from reproduce.config.load import resolve
from reproduce.data.build import build_data
from reproduce.training.callbacks import ResumeCallback
from reproduce.training.classification import Classifier
from reproduce.training.trainer import build_classifier, build_trainer
from tests.helpers.tiny import TINY


class Compare(Callback):
    """Whether all processes hold the same weights, after every Lightning batch."""

    def __init__(self) -> None:
        self.equal: list[bool] = []
        self.tested_alike: list[bool] = []

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        own = torch.cat([b.double().flatten() for b in pl_module.buffers()])
        everyone = pl_module.all_gather(own)
        assert isinstance(everyone, torch.Tensor)
        self.tested_alike.append(bool((everyone == everyone[0]).all()))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        own = torch.cat([p.detach().flatten() for p in pl_module.parameters()])
        everyone = pl_module.all_gather(own)
        assert isinstance(everyone, torch.Tensor)
        self.equal.append(bool((everyone == everyone[0]).all()))


def counted_reductions() -> list[bool]:
    """For each backward pass to come whether DDP averages the gradients after it."""
    found, prepare = [], ddp.prepare_for_backward

    def prepared(model: Any, output: Any) -> None:
        found.append(model.require_backward_grad_sync)
        prepare(model, output)

    patched: Any = ddp
    patched.prepare_for_backward = prepared
    return found


def main(mode: str) -> None:
    torch.set_num_threads(1)
    words = [*TINY, "execution.devices=3", "train.batch_size=6", "data.subset=1", "execution.steps_per_batch=2"]
    words += ["execution.micro_batch=1"] if mode == "micro" else []
    run = resolve("cifar10-resnet-20", "smoke", words)
    module, compare, reductions = build_classifier(run.config), Compare(), counted_reductions()
    if mode == "raw":
        monkeypatched: Any = Classifier
        monkeypatched.manual_backward = lambda self, loss: loss.backward()
    keeper = ResumeCallback(run.folder, run.recipe_hash, 12, 5, 1000)
    trainer = build_trainer(run.config, [keeper, compare], None)
    data = build_data(run.config, chunk=2)
    trainer.fit(module, datamodule=data)
    if trainer.is_global_zero:
        found = {
            "batches": len(compare.equal),
            "equal": all(compare.equal),
            "tested_alike": all(compare.tested_alike),
            "reductions": reductions,
            "counted": module.tested,
            "n_test": data.n_test,
        }
        print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
