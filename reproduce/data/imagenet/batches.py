"""Picklable callables for DataLoader workers: iteration -> this rank's images, decoded and cropped."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from reproduce.data.imagenet.decode import read_image
from reproduce.data.imagenet.image_folder import Files
from reproduce.data.imagenet.resize_on_device import CropRegions, pack
from reproduce.data.imagenet.shards import Reader
from reproduce.data.imagenet.transforms import (
    CropParams,
    centre_crop,
    draw,
    region,
    resize_shorter,
    rows_needed,
    training_crop,
)
from reproduce.data.sampling import Order
from reproduce.metrics.classification import Batch

CPU = torch.device("cpu")
Share = tuple[Any, Tensor, Tensor, int]  # x (uint8 [b, 3, crop, crop], or CropRegions), labels, colour noise, iteration


@dataclass(frozen=True)
class TrainingShare:
    """iteration → the share of process `rank`: x uint8 [b, 3, crop, crop], y int64 [b], colour noise float32 [b, 3].

    With `cut`, x is what the crops cover (CropRegions), to be resized and mirrored on the device; `pin`ned for a GPU.
    """

    read: Reader
    labels: Tensor
    order: Order
    shorter_side: tuple[int, int]
    colour_noise: float
    crop: int
    layout: torch.memory_format
    rank: int
    world: int
    cut: bool = False
    pin: bool = False

    def __call__(self, iteration: int) -> Share:
        j = self.order.positions(self.rank, self.world, CPU)
        index = self.order.indices(torch.tensor([iteration]), j)[0]
        params = draw(self.order.seed, iteration, j, self.shorter_side, self.colour_noise)
        x = self._regions(index, params) if self.cut else self._crops(index, params)
        return x, self.labels[index], params.colour, iteration

    def _crops(self, index: Tensor, params: CropParams) -> Tensor:
        x = torch.empty(len(index), 3, self.crop, self.crop, dtype=torch.uint8, memory_format=self.layout)
        for k, (i, side, down, across) in enumerate(self._drawn(index, params)):
            view = training_crop(self._image(i, side, down), side, down, across, self.crop)
            x[k] = view.flip(2) if params.flip[k] else view
        return x

    def _regions(self, index: Tensor, params: CropParams) -> CropRegions:
        drawn = self._drawn(index, params)
        regions = [region(self._image(i, side, down), side, down, across, self.crop) for i, side, down, across in drawn]
        return pack(regions, params.flip, self.pin)

    def _drawn(self, index: Tensor, params: CropParams) -> Iterator[tuple[int, int, int, int]]:
        """Image, shorter side, and the hashes that place each crop."""
        parts = (index, params.side, params.down, params.across)
        return zip(*(part.tolist() for part in parts), strict=True)

    def _image(self, i: int, side: int, down: int) -> Tensor:
        return self.read(i, partial(rows_needed, side=side, down=down, crop=self.crop))


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


def sum_of_crops(crops: CentreCrops, index: Tensor) -> Tensor:
    """indices [n] → the sum of their centre crops, int64 [3, crop, crop]."""
    return crops(index)[0].sum(0, dtype=torch.int64)


def whole_image(files: Files, index: int) -> tuple[Tensor, int]:
    """The image as in its file, uint8 [3, H, W], and its label."""
    return read_image(files.path(index)), int(files.labels[index])
