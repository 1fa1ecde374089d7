"""CIFAR-10 behind one LightningDataModule: three sources, one keyed stream of augmented batches, exact test batches."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from reproduce.data.cifar10 import augment
from reproduce.data.cifar10.batches import Stream
from reproduce.data.cifar10.download import download_official, read_official
from reproduce.data.cifar10.folder import read_folder
from reproduce.data.cifar10.images import Images
from reproduce.data.datamodule import IterationDataModule
from reproduce.data.synthetic.cifar10 import read_synthetic
from reproduce.metrics.classification import Batch

READERS = {"official": read_official, "folder": read_folder, "synthetic": read_synthetic}
OFFICIAL_SIZES = (50_000, 10_000)


class Cifar10DataModule(IterationDataModule):
    """Images in memory; a loader item is a few iteration numbers, of which the device makes the batches.

    After `setup` also: train_images, test_images, validation_images (uint8) and validation_labels; the last two are
    empty without a validation split (5000: the paper's 45k/5k).

    Args:
        chunk: iterations per loader item, at most.
        side: pixels that the images are shrunk to; None: as they are, 32.
    """

    split_key = 0x45_000
    test_size = 1000

    def __init__(self, *, chunk: int = 1, side: int | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.chunk, self.side = chunk, side

    # The images

    def prepare_data(self) -> None:
        """Download the official data where it is missing (Lightning calls this on one process only)."""
        if self.source == "official":
            download_official(self.root)

    def setup(self, stage: str | None = None) -> None:
        """Read the source, take subset and fingerprint, hold out the validation images. A second call does nothing."""
        if self.fingerprint:
            return
        images = READERS[self.source](self.root)
        whole = self.subset == 0 and self.side is None
        self.is_official = self.source == "official" and whole and _sizes(images) == OFFICIAL_SIZES
        images = images.subset(self.subset) if self.subset else images
        images = images.shrunk(self.side) if self.side else images
        self.classes, self.description = images.classes, images.description
        self.test_images, self.test_labels = images.test_images, images.test_labels
        self._hold_out(images)
        self._offset, self._divisor = self._normalization(self._mean_image)
        train = self.train_images, self.train_labels, self._offset, self._divisor
        self._stream = Stream(*train, batch_size=self.batch_size, seed=self.seed, layout=self.layout)
        self.fingerprint = images.fingerprint()

    def _hold_out(self, images: Images) -> None:
        kept, held_out = self._split(len(images.train_labels))
        self.validation_images, self.validation_labels = images.train_images[held_out], images.train_labels[held_out]
        self.train_images, self.train_labels = images.train_images[kept], images.train_labels[kept]

    def _mean_image(self) -> Tensor:
        """Of the images that are trained on: float32 [3, h, w]."""
        total = self.train_images.sum(0, dtype=torch.int64)  # exact, whatever the number of threads
        return (total.double() / self.n_train).float()

    def train_batches(
        self, iterations: Tensor, rank: int = 0, world: int = 1, device: torch.device | str | None = None
    ) -> list[Batch]:
        return self._stream.batches(iterations, rank, world, self._device(device))

    # Batches under Lightning's Trainer (with use_distributed_sampler=False)

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Iteration numbers from `start_iteration` to the next multiple of `test_every`, or to `iterations`."""
        coming, items = self._coming(), []
        i = coming.start
        while i < coming.stop:
            stop = min(i + self.chunk, coming.stop)
            items.append(torch.arange(i, stop))
            i = stop
        return _loader(items)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Iteration numbers become a list of (iteration, batch); uint8 test images become a normalised test batch."""
        if isinstance(batch, Tensor):
            return list(zip(batch.tolist(), self.train_batches(batch, *self._rank(), device), strict=True))
        return self._test_batch(batch, device)

    # Parts

    def _test_share(self, rank: int, world: int, split: str, size: int) -> DataLoader[Batch]:
        images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
        largest = -(-len(labels) // world)
        images, labels = images[rank::world], labels[rank::world]
        return _loader([(images[i : i + size], labels[i : i + size]) for i in range(0, largest, size)])

    def _test_batch(self, batch: Batch, device: torch.device) -> Batch:
        images, labels = batch
        offset, divisor = self._offset.to(device), self._divisor.to(device)
        x = augment.normalize(images.to(device), offset, divisor)
        return x.contiguous(memory_format=self.layout), labels.to(device)


def _sizes(images: Images) -> tuple[int, int]:
    return len(images.train_labels), len(images.test_labels)


def _loader(items: list[Any]) -> DataLoader[Any]:
    """The items as they are, in this process; a generator of its own keeps the loader off the global random stream."""
    return DataLoader(items, batch_size=None, num_workers=0, generator=torch.Generator())  # type: ignore[arg-type]
