"""What loader workers make: objects that can be sent to them whole, called with what is to be made."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from reproduce.data.decode import read_image
from reproduce.data.stream import Batch, Order
from reproduce.data.tree import Files
from reproduce.data.views import centre_crop, draw, resize_shorter, rows_needed, training_crop

CPU = torch.device("cpu")


@dataclass(frozen=True)
class TrainingShare:
    """iteration → the share of process `rank`: x uint8 [b, 3, crop, crop], y int64 [b], colour noise float32 [b, 3]."""

    files: Files
    order: Order
    shorter_side: tuple[int, int]
    colour_noise: float
    crop: int
    channels_last: bool
    rank: int
    world: int

    def __call__(self, iteration: int) -> tuple[Tensor, Tensor, Tensor]:
        j = self.order.positions(self.rank, self.world, CPU)
        index = self.order.indices(torch.tensor([iteration]), j)[0]
        moves = draw(self.order.seed, iteration, j, self.shorter_side, self.colour_noise)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        x = torch.empty(len(j), 3, self.crop, self.crop, dtype=torch.uint8, memory_format=layout)
        drawn = zip(moves.side.tolist(), moves.down.tolist(), moves.across.tolist(), moves.flip.tolist(), strict=True)
        for k, (i, (side, down, across, flip)) in enumerate(zip(index.tolist(), drawn, strict=True)):
            needed = partial(rows_needed, side=side, down=down, crop=self.crop)
            view = training_crop(read_image(self.files.path(i), needed), side, down, across, self.crop)
            x[k] = view.flip(2) if flip else view
        return x, self.files.labels[index], moves.colour


@dataclass(frozen=True)
class CentreCrops:
    """indices [n] → centre crops uint8 [n, 3, crop, crop] of images whose shorter side is `side`, labels int64 [n]."""

    files: Files
    side: int
    crop: int

    def __call__(self, index: Tensor) -> Batch:
        x = torch.empty(len(index), 3, self.crop, self.crop, dtype=torch.uint8)
        for k, i in enumerate(index.tolist()):
            x[k] = centre_crop(resize_shorter(read_image(self.files.path(i)), self.side), self.crop)
        return x, self.files.labels[index]


@dataclass(frozen=True)
class CropSums:
    """indices [n] → the sum of their centre crops, int64 [3, crop, crop]."""

    crops: CentreCrops

    def __call__(self, index: Tensor) -> Tensor:
        return self.crops(index)[0].sum(0, dtype=torch.int64)


@dataclass(frozen=True)
class WholeImage:
    """index → the image as in its file, uint8 [3, H, W], and its label."""

    files: Files

    def __call__(self, index: int) -> tuple[Tensor, int]:
        return read_image(self.files.path(index)), int(self.files.labels[index])
