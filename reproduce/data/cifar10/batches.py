"""Training as one keyed stream of augmented batches, made where the images lie."""

import torch
from torch import Tensor

from reproduce.data.cifar10 import augment
from reproduce.data.sampling import Order
from reproduce.metrics.classification import Batch


class Stream(Order):
    """The images too, whole on the training device: crop and flip depend on (seed, iteration, j) as the order does."""

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        offset: Tensor,
        divisor: Tensor,
        *,
        batch_size: int,
        seed: int,
        layout: torch.memory_format = torch.contiguous_format,
    ) -> None:
        super().__init__(len(labels), batch_size=batch_size, seed=seed)
        self._parts, self.layout = (images, labels, offset, divisor), layout
        self._on_device: dict[torch.device, tuple[Tensor, ...]] = {}

    def batches(self, iterations: Tensor, rank: int, world: int, device: torch.device) -> list[Batch]:
        """The share of process `rank` of consecutive iterations [k], made in one go on `device`.

        Returns k pairs: x float32 [b, 3, 32, 32] normalised and augmented, in the memory layout asked for, y int64 [b],
        with b = batch_size / world. Raises UserError when batch_size is not a multiple of `world`.
        """
        j = self.positions(rank, world, device)
        images, labels, offset, divisor = self._resident(device)
        index = self.indices(iterations, j).flatten()
        drawn = augment.draw(self.seed, iterations.to(device)[:, None], j, images.shape[3])
        x = augment.normalize(images.index_select(0, index), offset, divisor)
        x = augment.crop_flip(x, *(part.flatten() for part in drawn)).contiguous(memory_format=self.layout)
        return list(zip(x.split(len(j)), labels[index].split(len(j)), strict=True))

    def _resident(self, device: torch.device) -> tuple[Tensor, ...]:
        """Images, labels, offset and divisor on `device`, moved there once."""
        if device not in self._on_device:
            self._on_device[device] = tuple(part.to(device) for part in self._parts)
        return self._on_device[device]
