"""CIFAR-10 behind one LightningDataModule: three sources, one keyed stream of augmented batches, exact test batches."""

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from reproduce.data import augment
from reproduce.data.folder import read_folder
from reproduce.data.images import Images
from reproduce.data.keyed import epoch_order
from reproduce.data.official import download_official, read_official
from reproduce.data.stream import Batch, Stream, next_multiple
from reproduce.data.synthetic import read_synthetic
from reproduce.errors import UserError

READERS = {"official": read_official, "folder": read_folder, "synthetic": read_synthetic}
OFFICIAL_SIZES = (50_000, 10_000)
WINDOW = 100  # the warm-up of ResNet-110 is decided at multiples of 100 iterations: no loader item crosses one
TEST_BATCH = 1000
SPLIT_KEY = 0x45_000  # key of the training/validation split, the same for every seed and source


class Cifar10(L.LightningDataModule):
    """The images, and the batch of any iteration as a function of (seed, iteration).

    A loader item is a handful of iteration numbers; batches are made on the device, where the whole set lies as uint8.

    Set before use: `start_iteration` (where the next training loader begins) and `channels_last` (memory layout of x).
    After `setup`: train_images, train_labels, test_images, test_labels, validation_images and validation_labels (empty
    without a validation split), classes, description, fingerprint, is_official, n_train, n_test.

    Args:
        source: official | folder | synthetic.
        root: where the data lies (official, folder).
        batch_size: of one iteration, over all processes.
        normalize: "per-pixel-mean" subtracts the mean image of the training split from raw pixels 0-255 and divides by
            `scale`; "channels" is (pixel / 255 - mean) / std.
        validation: images held out of the training set (5000: the paper's 45k/5k split), chosen by a fixed key.
        subset: first k images per class, of both sets; 0: all.
        test_every: iterations between tests; a training loader ends there.
        chunk: iterations per loader item, at most.
    """

    def __init__(
        self,
        *,
        source: str,
        root: str,
        batch_size: int,
        seed: int,
        iterations: int,
        normalize: str = "per-pixel-mean",
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        scale: float = 1.0,
        validation: int = 0,
        subset: int = 0,
        test_every: int = 1000,
        chunk: int = 1,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        if source not in READERS:
            raise UserError(f"data.source: {source!r} is not one of {', '.join(READERS)}")
        if normalize not in ("per-pixel-mean", "channels"):
            raise UserError(f"data.normalize: {normalize!r} is not one of per-pixel-mean, channels")
        if normalize == "channels" and (mean is None or std is None):
            raise UserError("data.mean, data.std: three numbers each are needed for data.normalize=channels")
        self.source, self.root, self.validation, self.subset = source, root, validation, subset
        self.batch_size, self.seed, self.iterations = batch_size, seed, iterations
        self.normalize, self.mean, self.std, self.scale = normalize, mean, std, scale
        self.test_every, self.chunk, self.channels_last = test_every, chunk, channels_last
        self.start_iteration = 0
        self.fingerprint = ""

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
        self.is_official = self.source == "official" and self.subset == 0 and _sizes(images) == OFFICIAL_SIZES
        images = images.subset(self.subset) if self.subset else images
        self.classes, self.description = images.classes, images.description
        self.test_images, self.test_labels = images.test_images, images.test_labels
        self._split(images)
        self._offset, self._divisor = self._normalization()
        train = self.train_images, self.train_labels, self._offset, self._divisor
        self._stream = Stream(*train, batch_size=self.batch_size, seed=self.seed)
        self.fingerprint = images.fingerprint()

    def _split(self, images: Images) -> None:
        """Hold out the first of a permutation under a fixed key: class-blind also where files are sorted by class."""
        n = len(images.train_labels)
        if not 0 <= self.validation < n:
            raise UserError(f"data.validation: {self.validation} is not in 0..{n - 1} (there are {n} training images)")
        order = epoch_order(SPLIT_KEY, 0, n)
        held_out, kept = (part.sort().values for part in (order[: self.validation], order[self.validation :]))
        self.validation_images, self.validation_labels = images.train_images[held_out], images.train_labels[held_out]
        self.train_images, self.train_labels = images.train_images[kept], images.train_labels[kept]

    def _normalization(self) -> Batch:
        """Offset [3, 32, 32] or [3, 1, 1] and divisor [3, 1, 1], both for raw pixels 0-255."""
        if self.normalize == "per-pixel-mean":
            total = self.train_images.sum(0, dtype=torch.int64)  # exact, whatever the number of threads
            return (total.double() / self.n_train).float(), torch.full((3, 1, 1), self.scale)
        offset, divisor = 255 * torch.tensor([self.mean, self.std], dtype=torch.float64)
        return offset.float().view(3, 1, 1), divisor.float().view(3, 1, 1)

    @property
    def n_train(self) -> int:
        """Training images, without the validation images."""
        return len(self.train_labels)

    @property
    def n_test(self) -> int:
        return len(self.test_labels)

    # Batches as plain functions

    def train_batch(
        self, iteration: int, rank: int = 0, world: int = 1, device: torch.device | str | None = None
    ) -> Batch:
        """One iteration: x float32 [b, 3, 32, 32] normalised and augmented, y int64 [b], with b = batch_size / world.

        `device`: by default the trainer's, else the CPU. Raises UserError when batch_size is not a multiple of `world`.
        """
        return self.train_batches(torch.tensor([iteration]), rank, world, device)[0]

    def train_batches(
        self, iterations: Tensor, rank: int = 0, world: int = 1, device: torch.device | str | None = None
    ) -> list[Batch]:
        """The batches of consecutive iterations [k], made in one go: a list of k pairs as `train_batch` gives them."""
        pairs = self._stream.batches(iterations, rank, world, self._device(device))
        return [(self._layout(x), y) for x, y in pairs]

    def test_batches(
        self,
        device: torch.device | str | None = None,
        rank: int = 0,
        world: int = 1,
        size: int = TEST_BATCH,
        split: str = "test",
    ) -> Iterator[Batch]:
        """This rank's test or validation images, single view, `size` at a time: x float32 [·, 3, 32, 32], y [·]."""
        device = self._device(device)
        for images, labels in self._shard(rank, world, size, split):
            yield self._test_batch(images, labels, device)

    # Batches under Lightning's Trainer (with use_distributed_sampler=False)

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Iteration numbers from `start_iteration` to the next multiple of `test_every`, or to `iterations`."""
        end = min(next_multiple(self.start_iteration, self.test_every), self.iterations)
        items, i = [], self.start_iteration
        while i < end:
            stop = min(i + self.chunk, next_multiple(i, WINDOW), end)
            items.append(torch.arange(i, stop))
            i = stop
        return _loader(items)

    def val_dataloader(self) -> list[DataLoader[Tensor]]:
        """This rank's test images (uint8) and labels, in equally many batches on every rank, so one may be empty.

        Of the test set, and by a second loader of the images held out of the training set where there are any.
        """
        splits = ["test", "validation"] if self.validation else ["test"]
        return [_loader(self._shard(*self._place(), split=split)) for split in splits]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Iteration numbers become a list of training batches; uint8 test images become a normalised test batch."""
        if isinstance(batch, Tensor):
            return self.train_batches(batch, *self._place(), device)
        images, labels = batch
        return self._test_batch(images, labels, device)

    # Parts

    def _shard(self, rank: int, world: int, size: int = TEST_BATCH, split: str = "test") -> list[Batch]:
        """Images rank, rank + world, ... of a split, in as many batches on every rank as the largest shard needs."""
        images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
        largest = -(-len(labels) // world)
        images, labels = images[rank::world], labels[rank::world]
        return [(images[i : i + size], labels[i : i + size]) for i in range(0, largest, size)]

    def _test_batch(self, images: Tensor, labels: Tensor, device: torch.device) -> Batch:
        offset, divisor = self._offset.to(device), self._divisor.to(device)
        return self._layout(augment.normalize(images.to(device), offset, divisor)), labels.to(device)

    def _layout(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)

    def _place(self) -> tuple[int, int]:
        """(rank, world) of this process."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _device(self, device: torch.device | str | None) -> torch.device:
        if device is None:
            return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return torch.device(device)


def _sizes(images: Images) -> tuple[int, int]:
    return len(images.train_labels), len(images.test_labels)


def _loader(items: list[Any]) -> DataLoader[Any]:
    """The items as they are, in this process; a generator of its own keeps the loader off the global random stream."""
    return DataLoader(items, batch_size=None, num_workers=0, generator=torch.Generator())  # type: ignore[arg-type]
