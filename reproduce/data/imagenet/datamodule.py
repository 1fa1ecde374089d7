"""ImageNet-2012 behind one LightningDataModule: files on disk, one keyed stream of augmented batches, exact testing."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from reproduce.data.datamodule import IterationDataModule
from reproduce.data.imagenet.batches import CentreCrops, Share, TrainingShare, whole_image
from reproduce.data.imagenet.image_folder import Tree, read_official, read_tree
from reproduce.data.imagenet.normalize import Normaliser, training_mean
from reproduce.data.imagenet.resize_on_device import CropRegions, resample
from reproduce.data.imagenet.shards import training_reader
from reproduce.data.sampling import Order
from reproduce.data.synthetic.imagenet import write_shapes
from reproduce.data.workers import WorkerDataset, loader, reraise, reraise_each, threaded
from reproduce.metrics.classification import Batch

DESCRIPTIONS = {"official": "ImageNet-2012, official", "synthetic": "ImageNet-shaped images made by the suite"}
CACHE = Path("runs/cache")


class ImageNetDataModule(IterationDataModule):
    """Files on disk; a loader item is this process's share of one iteration, decoded, cropped and mirrored by workers.

    It is still uint8: mean and colour noise are applied where training computes. Neither the number of workers nor that
    of processes changes a bit of it. After `setup` also: files, by split (train, validation, test).

    Args:
        shorter_side: smallest and largest shorter side of a training image, drawn uniformly; at least `crop`.
        crop: side of what the net sees.
        test_side: shorter side of a test image.
        colour_noise: standard deviation of AlexNet's three draws per image; 0: none.
        workers: processes that decode, beside this one; 0: this one decodes.
        cache: where the mean image and the synthetic set are kept.
        predecoded: training images are read from shards (shards.py) of this shorter side at most; None: from files.
            Test images and the mean image's come from files all the same.
        shards: where those lie; by default `shards-<side>` beside train/.
        resize_on_device: of pre-decoded images, workers only cut out what a crop covers; it is resized where training
            computes.
    """

    split_key = 0x45_001
    test_size = 100

    def __init__(
        self,
        *,
        shorter_side: tuple[int, int] = (256, 480),
        crop: int = 224,
        test_side: int = 256,
        colour_noise: float = 0.1,
        workers: int = 0,
        cache: Path = CACHE,
        predecoded: int | None = None,
        shards: str | Path | None = None,
        resize_on_device: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.shorter_side, self.crop, self.test_side = shorter_side, crop, test_side
        self.colour_noise, self.workers, self.cache = colour_noise, workers, cache
        self.predecoded, self.shards, self.cut = predecoded, shards, bool(predecoded) and resize_on_device

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
        self.classes, self.description = tree.classes, self._described(tree)
        kept, held_out = self._split(len(tree.train))
        self.files = {"train": tree.train.take(kept), "validation": tree.train.take(held_out), "test": tree.test}
        self.train_labels, self.test_labels = self.files["train"].labels, self.files["test"].labels
        self._read = training_reader(self.files["train"], whole, self.predecoded, self.shards, check=stage != "test")
        self._order = Order(self.n_train, batch_size=self.batch_size, seed=self.seed)
        fingerprint = tree.fingerprint()
        self._offset, self._divisor = self._normalization(partial(self._mean_image, fingerprint))
        self._normaliser = Normaliser(self._offset, self._divisor, self.layout)
        self.fingerprint = fingerprint

    def _tree(self, test_only: bool) -> Tree:
        if self.source == "official":
            return read_official(self.root, test_only)
        return read_tree(write_shapes(self.cache) if self.source == "synthetic" else self.root, test_only)

    def _described(self, tree: Tree) -> str:
        text = DESCRIPTIONS.get(self.source, f"folder of images, {len(tree.classes):,} classes")
        if not len(tree.train):
            text += ", validation images only"
        if self.predecoded:
            text += f", training images pre-decoded (shorter side at most {self.predecoded})"
        return text

    def _mean_image(self, fingerprint: str) -> Tensor:
        """Of the centre crops of training images: float32 [3, crop, crop]."""
        crops = CentreCrops(self.files["train"], self.test_side, self.crop)
        return training_mean(crops, fingerprint, workers=self.workers, cache=self.cache, device=self._device(None))

    def normalise(self, x: Tensor, device: torch.device | str | None = None) -> Tensor:
        """x [b, 3, h, w], uint8 or float of 0-255, as the net takes it: float32 on `device`."""
        return self._normaliser(x, self._device(device))

    def train_batches(
        self, iterations: Tensor, rank: int = 0, world: int = 1, device: torch.device | str | None = None
    ) -> list[Batch]:
        share = self.share(rank, world)
        return [self._finish(share(i), self._device(device)) for i in iterations.tolist()]

    def test_images(
        self, rank: int = 0, world: int = 1, indices: Sequence[int] | Tensor | None = None
    ) -> Iterator[tuple[Tensor, int]]:
        """This rank's test images, or those of `indices`, each decoded once: uint8 [3, H, W] as in the file, label.

        Without `indices`: images rank, rank + world, ...
        """
        files = self.files["test"]
        chosen = range(rank, len(files), world) if indices is None else [int(i) for i in indices]
        yield from reraise_each(loader(WorkerDataset(partial(whole_image, files), chosen), self.workers))

    # Batches under Lightning's Trainer (with use_distributed_sampler=False)

    def train_dataloader(self) -> DataLoader[Any]:
        """This process's shares from `start_iteration` to the next multiple of `test_every`, or to `iterations`."""
        rank, world = self._rank()
        on_gpu = self._device(None).type == "cuda"
        if self.cut:
            return threaded(WorkerDataset(replace(self.share(rank, world), pin=on_gpu), self._coming()), self.workers)
        return loader(WorkerDataset(self.share(rank, world), self._coming()), self.workers, on_gpu)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """A share becomes a list of one (iteration, batch), crops become a test batch. Raises a worker's UserError."""
        batch = reraise(batch)
        if len(batch) == 4:
            return [(batch[3], self._finish(batch, device))]
        return self._test_batch(batch, device)

    # Parts

    def share(self, rank: int, world: int) -> TrainingShare:
        """What workers make for process `rank`, as a function of the iteration."""
        drawn = self.shorter_side, self.colour_noise, self.crop, self.layout
        return TrainingShare(self._read, self.train_labels, self._order, *drawn, rank, world, self.cut)

    def _test_batch(self, batch: Batch, device: torch.device) -> Batch:
        images, labels = batch
        return self.normalise(images, device), labels.to(device, non_blocking=True)

    def _finish(self, share: Share, device: torch.device) -> Batch:
        """The arithmetic in float: (x - offset) / divisor, and the colour noise in the same units."""
        x, labels, colour, _ = share
        x = resample(x, self.crop, device) if isinstance(x, CropRegions) else x
        x = self._normaliser.add(self._normaliser(x, device), colour)
        return x, labels.to(device, non_blocking=True)

    def _test_share(self, rank: int, world: int, split: str, size: int) -> DataLoader[Any]:
        files = self.files[split]
        own, largest = torch.arange(rank, len(files), world), -(-len(files) // world)
        keys = [own[i : i + size] for i in range(0, largest, size)]
        make = CentreCrops(files, self.test_side, self.crop)
        return loader(WorkerDataset(make, keys), self.workers, self._device(None).type == "cuda")
