"""Training as one keyed stream of augmented batches, made where the images lie."""

import torch
from torch import Tensor

from reproduce.data import augment
from reproduce.data.keyed import epoch_order
from reproduce.errors import UserError

Batch = tuple[Tensor, Tensor]
CACHED_ORDERS = 4


class Order:
    """Position p = iteration · batch_size + j of the stream is image order(p // n)[p % n] of the n training images.

    So each image comes once per epoch, none is dropped, and a batch may span two epochs. The image depends on (seed,
    iteration, j) alone: neither on the number of processes nor on where a run was interrupted.
    """

    def __init__(self, n: int, *, batch_size: int, seed: int) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self._orders: dict[tuple[int, torch.device], Tensor] = {}

    def positions(self, rank: int, world: int, device: torch.device) -> Tensor:
        """The positions j [b] of each iteration that are the share of process `rank`, with b = batch_size / world.

        Raises UserError when batch_size is not a multiple of `world`.
        """
        if self.batch_size % world:
            raise UserError(f"train.batch_size: {self.batch_size} is not divisible by {world} processes")
        b = self.batch_size // world
        return torch.arange(rank * b, (rank + 1) * b, device=device)

    def indices(self, iterations: Tensor, j: Tensor) -> Tensor:
        """Index of the training image at each position: iterations [k], on the CPU, and j [b] → [k, b], where j is."""
        first = int(iterations.min()) * self.batch_size // self.n
        last = (int(iterations.max() + 1) * self.batch_size - 1) // self.n
        orders = [self._order(epoch, j.device) for epoch in range(first, last + 1)]
        position = iterations.to(j.device)[:, None] * self.batch_size + j - first * self.n
        return (torch.cat(orders) if len(orders) > 1 else orders[0])[position]

    def _order(self, epoch: int, device: torch.device) -> Tensor:
        """The epoch's permutation, kept while batches are drawn from it."""
        key, kept = (epoch, device), self._orders
        if key not in kept:  # a new dictionary, never a changed one: threads may ask at the same time
            kept = dict(list(kept.items())[1 - CACHED_ORDERS :]) | {key: epoch_order(self.seed, epoch, self.n, device)}
            self._orders = kept
        return kept[key]


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
        moves = augment.draw(self.seed, iterations.to(device)[:, None], j, images.shape[3])
        x = augment.normalize(images.index_select(0, index), offset, divisor)
        x = augment.crop_flip(x, *(move.flatten() for move in moves)).contiguous(memory_format=self.layout)
        return list(zip(x.split(len(j)), labels[index].split(len(j)), strict=True))

    def _resident(self, device: torch.device) -> tuple[Tensor, ...]:
        """Images, labels, offset and divisor on `device`, moved there once."""
        if device not in self._on_device:
            self._on_device[device] = tuple(part.to(device) for part in self._parts)
        return self._on_device[device]


def next_multiple(i: int, of: int) -> int:
    """The smallest multiple of `of` above i."""
    return (i // of + 1) * of
