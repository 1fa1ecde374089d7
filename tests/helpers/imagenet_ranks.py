"""Run by test_imagenet_data.py: two processes (gloo) train a tiny net on a tree in which one file is cut short.

Only the second process reads that file first. Every process must end, the path named.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from torch import Tensor, nn

from reproduce.data.imagenet.datamodule import ImageNetDataModule
from reproduce.utils.errors import UserError


class Tiny(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(12, 10))

    def training_step(self, batch: Sequence[tuple[int, tuple[Tensor, Tensor]]], batch_idx: int) -> Tensor:
        (_, (x, y)), *_ = batch
        return nn.functional.cross_entropy(self.net(x / 64), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def main(root: Path) -> int:
    torch.set_num_threads(1)
    sizes = {"crop": 32, "shorter_side": (32, 40), "test_side": 36}
    channels = {"normalize": "channels", "mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    run = {"batch_size": 4, "seed": 0, "iterations": 1000, "test_every": 1000, "workers": 1}
    data = ImageNetDataModule(source="folder", root=str(root), **run, **sizes, **channels)  # type: ignore[arg-type]
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    try:
        trainer.fit(Tiny(), datamodule=data)
    except UserError as error:
        print(f"rank {trainer.global_rank}: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
