"""ImageNet-2012 behind one LightningDataModule: files on disk, one keyed stream of augmented batches, exact testing."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from reproduce.data.keyed import epoch_order
from reproduce.data.loader import Items, loader, threaded, told, unfailed
from reproduce.data.mean import training_mean
from reproduce.data.resample import Cuts, resample
from reproduce.data.shapes import write_shapes
from reproduce.data.shards import FromFiles, FromShards, Reader, place_in, shards_of
from reproduce.data.shares import CPU, CentreCrops, Share, TrainingShare, WholeImage
from reproduce.data.stream import Batch, Order, next_multiple
from reproduce.data.tree import Tree, read_official, read_tree
from reproduce.errors import UserError

SOURCES = ("official", "folder", "synthetic")
DESCRIPTIONS = {"official": "ImageNet-2012, official", "synthetic": "embedded ImageNet-shaped images"}
TEST_BATCH = 100
SPLIT_KEY = 0x45_001  # key of the training/validation split, the same for every seed and source
CACHE = Path("runs/cache")


class ImageNet(L.LightningDataModule):
    """The files, and the batch of any iteration as a function of (seed, iteration).

    A loader item is this process's share of one iteration, decoded, cropped and mirrored in a worker, still uint8; mean
    and colour noise are applied where training computes. Neither the number of workers nor that of processes changes a
    bit of it.

    Set before use: `start_iteration` (where the next training loader begins) and `channels_last` (memory layout of x).
    After `setup`: classes, description, fingerprint, is_official, n_train, n_test, train_labels, test_labels.

    Args:
        source: official (all of ILSVRC-2012, or an error) | folder (any tree of that layout) | synthetic (embedded).
        root: where train/ and val/ lie (official, folder).
        batch_size: of one iteration, over all processes.
        normalize: "per-pixel-mean" subtracts the training set's mean image from raw pixels 0-255 and divides by
            `scale`; "channels" is (pixel / 255 - mean) / std.
        validation: images held out of the training set, chosen by a fixed key.
        subset: first k images per class, of both sets; 0: all.
        test_every: iterations between tests; a training loader ends there.
        chunk: not used: a loader item is one iteration.
        shorter_side: smallest and largest shorter side of a training image, drawn uniformly; at least `crop`.
        crop: side of what the net sees.
        test_side: shorter side of a test image.
        colour_noise: standard deviation of AlexNet's three draws per image; 0: none.
        workers: processes that decode, beside this one; 0: this one decodes.
        cache: where the mean image and the embedded set are kept.
        predecoded: training images are read from shards (shards.py) of this shorter side at most; 0: from their files.
            Test images and the mean image's come from files all the same.
        shards: where those lie; by default `shards-<side>` beside train/.
        resize_on_device: of pre-decoded images, workers only cut out what a crop covers; it is resized where training
            computes.
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
        test_every: int = 5000,
        chunk: int = 1,
        channels_last: bool = False,
        shorter_side: tuple[int, int] = (256, 480),
        crop: int = 224,
        test_side: int = 256,
        colour_noise: float = 0.1,
        workers: int = 0,
        cache: Path = CACHE,
        predecoded: int = 0,
        shards: Path | None = None,
        resize_on_device: bool = False,
    ) -> None:
        super().__init__()
        if source not in SOURCES:
            raise UserError(f"data.source: {source!r} is not one of {', '.join(SOURCES)}")
        if normalize not in ("per-pixel-mean", "channels"):
            raise UserError(f"data.normalize: {normalize!r} is not one of per-pixel-mean, channels")
        if normalize == "channels" and (mean is None or std is None):
            raise UserError("data.mean, data.std: three numbers each are needed for data.normalize=channels")
        if not crop <= shorter_side[0] <= shorter_side[1]:
            raise UserError(f"data.shorter_side: {shorter_side} must rise and hold a crop of {crop} (data.crop)")
        if test_side < crop:
            raise UserError(f"data.test_side: {test_side} is too small for a crop of {crop} (data.crop)")
        self.source, self.root, self.validation, self.subset = source, root, validation, subset
        self.batch_size, self.seed, self.iterations = batch_size, seed, iterations
        self.normalize, self.mean, self.std, self.scale = normalize, mean, std, scale
        self.test_every, self.chunk, self.channels_last = test_every, chunk, channels_last
        self.shorter_side, self.crop, self.test_side = (shorter_side[0], shorter_side[1]), crop, test_side
        self.colour_noise, self.workers, self.cache = colour_noise, workers, cache
        self.predecoded, self.shards, self.cut = predecoded, shards, bool(predecoded) and resize_on_device
        self.start_iteration = 0
        self.fingerprint = ""
        self._on_device: dict[torch.device, tuple[Tensor, ...]] = {}

    # The files

    def setup(self, stage: str | None = None) -> None:
        """List the files, take subset and fingerprint, hold out the validation images, find the training set's mean.

        A second call does nothing. With several processes all must call it: process 0 computes the mean for them. For
        stage "test" val/ alone will do, where `normalize` does not need the mean of the training images.
        """
        if self.fingerprint:
            return
        whole = self._tree(test_only=stage == "test" and self.normalize == "channels")
        self.is_official = self.source == "official" and not self.subset and not self.predecoded
        tree = whole.subset(self.subset) if self.subset else whole
        self.classes = tree.classes
        self.description = DESCRIPTIONS.get(self.source, f"folder of images, {len(tree.classes):,} classes")
        self.description += "" if len(tree.train) else ", validation images only"
        if self.predecoded:
            self.description += f", training images pre-decoded (shorter side at most {self.predecoded})"
        self._split(tree)
        self._read = self._reader(whole, check=stage != "test")
        self._order = Order(self.n_train, batch_size=self.batch_size, seed=self.seed)
        fingerprint = tree.fingerprint()
        self._offset, self._divisor = self._normalization(fingerprint)
        self._divides_by_one = bool((self._divisor == 1).all())
        self.fingerprint = fingerprint

    def _tree(self, test_only: bool) -> Tree:
        if self.source == "official":
            return read_official(self.root, test_only)
        return read_tree(write_shapes(self.cache) if self.source == "synthetic" else self.root, test_only)

    def _reader(self, whole: Tree, check: bool) -> Reader:
        """How a training image is read. Raises UserError where shards are to be checked and one cannot be used."""
        files = self.files["train"]
        if not (self.predecoded and len(files)):
            return FromFiles(files)
        shards = shards_of(whole.classes, whole.train, self.predecoded, self.shards)
        if check:
            shards.check()
        return FromShards(shards, place_in(whole.train, files))

    def _split(self, tree: Tree) -> None:
        """Hold out the first of a permutation under a fixed key, class-blind."""
        n = len(tree.train)
        if not 0 <= self.validation < max(n, 1):  # n is 0 for a tree to be tested on only
            raise UserError(f"data.validation: {self.validation} is not in 0..{n - 1} (there are {n} training images)")
        order = epoch_order(SPLIT_KEY, 0, n)
        held_out, kept = (part.sort().values for part in (order[: self.validation], order[self.validation :]))
        self.files = {"train": tree.train.take(kept), "validation": tree.train.take(held_out), "test": tree.test}

    @property
    def n_train(self) -> int:
        """Training images, without the validation images."""
        return len(self.files["train"])

    @property
    def n_test(self) -> int:
        return len(self.files["test"])

    @property
    def train_labels(self) -> Tensor:
        return self.files["train"].labels

    @property
    def test_labels(self) -> Tensor:
        return self.files["test"].labels

    # Pixels

    def _normalization(self, fingerprint: str) -> tuple[Tensor, Tensor]:
        """Offset [3, crop, crop] or [3, 1, 1] and divisor [3, 1, 1], both for raw pixels 0-255."""
        if self.normalize == "channels":
            offset, divisor = 255 * torch.tensor([self.mean, self.std], dtype=torch.float64)
            return offset.float().view(3, 1, 1), divisor.float().view(3, 1, 1)
        crops = CentreCrops(self.files["train"], self.test_side, self.crop)
        mean = training_mean(crops, fingerprint, workers=self.workers, cache=self.cache, device=self._device(None))
        return mean, torch.full((3, 1, 1), self.scale)

    def normalise(self, x: Tensor, device: torch.device | str | None = None) -> Tensor:
        """x [b, 3, h, w], uint8 or float of 0-255, as the net takes it: float32 on `device`.

        The mean image has one value for each pixel of a crop. Images of another size (fully convolutional testing) have
        no such pixels, so the mean image's mean colour is subtracted there; the two differ little.
        """
        device = self._device(device)
        mean_image, mean_colour, divisor = self._resident(device)
        offset = mean_image if x.shape[2:] == mean_image.shape[1:] else mean_colour
        x = self._layout(x.to(device, non_blocking=True)).float().sub_(offset)
        return x if self._divides_by_one else x.div_(divisor)

    def _resident(self, device: torch.device) -> tuple[Tensor, ...]:
        """Offset, its mean colour and divisor on `device`, moved there once; laid out in memory as x is."""
        if device not in self._on_device:
            parts = self._layout(self._offset[None])[0], self._offset.mean((1, 2), keepdim=True), self._divisor
            self._on_device[device] = tuple(part.to(device) for part in parts)
        return self._on_device[device]

    # Batches as plain functions

    def train_batch(
        self, iteration: int, rank: int = 0, world: int = 1, device: torch.device | str | None = None
    ) -> Batch:
        """One iteration: x float32 [b, 3, crop, crop] normalised and augmented, y int64 [b], b = batch_size / world.

        `device`: by default the trainer's, else the CPU. Raises UserError when batch_size is not a multiple of `world`,
        and for an unreadable image.
        """
        return self._finish(self._share(rank, world)(iteration), self._device(device))

    def train_batches(
        self, iterations: Tensor, rank: int = 0, world: int = 1, device: torch.device | str | None = None
    ) -> list[Batch]:
        """The batches of iterations [k]: a list of k pairs as `train_batch` gives them."""
        return [self.train_batch(i, rank, world, device) for i in iterations.tolist()]

    def test_batches(
        self,
        device: torch.device | str | None = None,
        rank: int = 0,
        world: int = 1,
        size: int = TEST_BATCH,
        split: str = "test",
    ) -> Iterator[Batch]:
        """This rank's test or validation images, centre crop, `size` at a time: x float32 [·, 3, crop, crop], y [·]."""
        for images, labels in told(self._crops(rank, world, size, split)):
            yield self.normalise(images, device), labels.to(self._device(device))

    def test_images(
        self, rank: int = 0, world: int = 1, indices: Sequence[int] | Tensor | None = None
    ) -> Iterator[tuple[Tensor, int]]:
        """This rank's test images, or those of `indices`, each decoded once: uint8 [3, H, W] as in the file, label.

        Without `indices`: images rank, rank + world, ...
        """
        files = self.files["test"]
        chosen = range(rank, len(files), world) if indices is None else [int(i) for i in indices]
        yield from told(loader(Items(WholeImage(files), chosen), self.workers))

    # Batches under Lightning's Trainer (with use_distributed_sampler=False)

    def train_dataloader(self) -> DataLoader[Any]:
        """This process's shares from `start_iteration` to the next multiple of `test_every`, or to `iterations`."""
        end = min(next_multiple(self.start_iteration, self.test_every), self.iterations)
        rank, world = self._place()
        self._order.positions(rank, world, CPU)  # a batch that cannot be divided shows here, on every process
        keys, on_gpu = range(self.start_iteration, end), self._device(None).type == "cuda"
        if self.cut:
            return threaded(Items(replace(self._share(rank, world), pin=on_gpu), keys), self.workers)
        return loader(Items(self._share(rank, world), keys), self.workers, on_gpu)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """This rank's centre crops (uint8) and labels, in equally many batches on every rank, so one may be empty.

        Of the test images, and by a second loader of those held out of the training set where there are any.
        """
        return [self._crops(*self._place(), split=split) for split in ("test", "validation") if len(self.files[split])]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """A share becomes a list of one training batch, crops become a test batch. Raises a worker's UserError."""
        batch = unfailed(batch)
        if len(batch) == 3:
            return [self._finish(batch, device)]
        images, labels = batch
        return self.normalise(images, device), labels.to(device, non_blocking=True)

    # Parts

    def _share(self, rank: int, world: int) -> TrainingShare:
        drawn = self.shorter_side, self.colour_noise, self.crop, self.channels_last
        return TrainingShare(self._read, self.train_labels, self._order, *drawn, rank, world, self.cut)

    def _finish(self, share: Share, device: torch.device) -> Batch:
        """The arithmetic in float: (x - offset) / divisor, and the colour noise in the same units."""
        x, labels, colour = share
        x = resample(x, self.crop, device) if isinstance(x, Cuts) else x
        noise = colour[:, :, None, None].to(device, non_blocking=True) / self._resident(device)[-1]
        return self.normalise(x, device).add_(noise), labels.to(device, non_blocking=True)

    def _crops(self, rank: int, world: int, size: int = TEST_BATCH, split: str = "test") -> DataLoader[Any]:
        """Images rank, rank + world, ... of a split, in as many batches on every rank as the largest shard needs."""
        files = self.files[split]
        own, largest = torch.arange(rank, len(files), world), -(-len(files) // world)
        keys = [own[i : i + size] for i in range(0, largest, size)]
        make = CentreCrops(files, self.test_side, self.crop)
        return loader(Items(make, keys), self.workers, self._device(None).type == "cuda")

    def _layout(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)

    def _place(self) -> tuple[int, int]:
        """(rank, world) of this process."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _device(self, device: torch.device | str | None) -> torch.device:
        if device is None:
            return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return torch.device(device)
