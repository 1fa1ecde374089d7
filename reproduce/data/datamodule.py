"""What both data modules have in common: their options, the split, and where in the training a process stands."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from reproduce.data.sampling import epoch_order, next_multiple
from reproduce.data.workers import reraise_each
from reproduce.metrics.classification import Batch
from reproduce.utils.errors import UserError


class IterationDataModule(L.LightningDataModule):
    """Images, and the batch of any iteration as a function of (seed, iteration).

    Set before use: `start_iteration`, where the next training loader begins.
    After `setup`: classes, description, fingerprint, is_official, n_train, n_test, train_labels, test_labels.

    Args:
        source: official (the paper's data set, whole, or an error) | folder (class folders of images) | synthetic
            (made by the suite).
        root: where the data lies (official, folder).
        batch_size: of one iteration, over all processes.
        iterations: of the whole training.
        normalize: "per-pixel-mean" subtracts the training set's mean image from raw pixels 0-255 and divides by
            `scale`; "channels" is (pixel / 255 - mean) / std.
        validation: images held out of the training set, chosen by a fixed key.
        subset: first k images per class, of both sets; 0: all.
        test_every: iterations between tests; a training loader ends there.
        channels_last: memory layout of x.
    """

    split_key: int  # key of the training/validation split, the same for every seed and source
    test_size: int  # images of a test batch
    train_labels: Tensor
    test_labels: Tensor
    classes: list[str]
    _offset: Tensor
    _divisor: Tensor

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
        test_every: int = 5000,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.source, self.root, self.validation, self.subset = source, root, validation, subset
        self.batch_size, self.seed, self.iterations, self.test_every = batch_size, seed, iterations, test_every
        self.normalize, self.mean, self.std, self.scale = normalize, mean, std, scale
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.start_iteration = 0
        self.fingerprint = ""

    @property
    def n_train(self) -> int:
        """Training images, without the validation images."""
        return len(self.train_labels)

    @property
    def n_test(self) -> int:
        return len(self.test_labels)

    def test_batches(
        self,
        device: torch.device | str | None = None,
        rank: int = 0,
        world: int = 1,
        size: int | None = None,
        split: str = "test",
    ) -> Iterator[Batch]:
        """This rank's test or validation images, `size` at a time: x float32 [·, 3, h, w], one view of each, y [·]."""
        device = self._device(device)
        for batch in reraise_each(self._test_share(rank, world, split, size or self.test_size)):
            yield self._test_batch(batch, device)

    def train_batch(
        self, iteration: int, rank: int = 0, world: int = 1, device: torch.device | str | None = None
    ) -> Batch:
        """One iteration: x float32 [b, 3, h, w] normalised and augmented, y int64 [b], with b = batch_size / world.

        `device`: by default the trainer's, else the CPU. Raises UserError when batch_size is not a multiple of `world`,
        and for an unreadable image.
        """
        return self.train_batches(torch.tensor([iteration]), rank, world, device)[0]

    @abstractmethod
    def train_batches(
        self, iterations: Tensor, rank: int = 0, world: int = 1, device: torch.device | str | None = None
    ) -> list[Batch]:
        """The batches of consecutive iterations [k]: a list of k pairs as `train_batch` gives them."""

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """This rank's test images (uint8) and labels, in equally many batches on every rank, so one may be empty.

        Of the test set, and by a second loader of the images held out of the training set where there are any.
        """
        splits = ["test", "validation"] if self.validation else ["test"]
        return [self._test_share(*self._rank(), split, self.test_size) for split in splits]

    @abstractmethod
    def _test_share(self, rank: int, world: int, split: str, size: int) -> DataLoader[Any]:
        """Images rank, rank + world, ... of a split (uint8) and labels, `size` at a time.

        In as many batches on every rank as the largest share needs, so that one may be empty.
        """

    @abstractmethod
    def _test_batch(self, batch: Batch, device: torch.device) -> Batch:
        """The images as the net takes them, on the device."""

    def _split(self, n: int) -> tuple[Tensor, Tensor]:
        """Which of n training images are kept and which are held out, ascending.

        The first of a permutation under a fixed key are held out: class-blind also where files are sorted by class.
        """
        if not 0 <= self.validation < max(n, 1):  # n is 0 for ImageNet's val/ alone, to be tested on only
            raise UserError(f"data.validation: {self.validation} is not in 0..{n - 1} (there are {n} training images)")
        order = epoch_order(self.split_key, 0, n)
        return order[self.validation :].sort().values, order[: self.validation].sort().values

    def _normalization(self, mean_image: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        """Offset [3, h, w] or [3, 1, 1] and divisor [3, 1, 1], both for raw pixels 0-255."""
        if self.normalize == "per-pixel-mean":
            return mean_image(), torch.full((3, 1, 1), self.scale)
        offset, divisor = 255 * torch.tensor([self.mean, self.std], dtype=torch.float64)
        return offset.float().view(3, 1, 1), divisor.float().view(3, 1, 1)

    def pixels(self, x: Tensor) -> Tensor:
        """Images [b, 3, h, w] as the net takes them -> uint8 on the CPU, as they were before normalisation."""
        return (x.cpu() * self._divisor + self._offset).round().clamp(0, 255).to(torch.uint8)

    def _coming(self) -> range:
        """The iterations from `start_iteration` to the next test, or to the end."""
        return range(self.start_iteration, min(next_multiple(self.start_iteration, self.test_every), self.iterations))

    def _rank(self) -> tuple[int, int]:
        """(rank, world) of this process."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _device(self, device: torch.device | str | None) -> torch.device:
        """By default the trainer's, else the CPU."""
        if device is None:
            return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return torch.device(device)
