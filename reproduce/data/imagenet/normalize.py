"""The per-pixel mean of ImageNet's training set (Sec. 3.4): computed once on process 0, kept in a file, sent to all."""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reproduce.data.imagenet.batches import CentreCrops, sum_of_crops
from reproduce.data.imagenet.image_folder import LISTERS, Files
from reproduce.data.sampling import epoch_order
from reproduce.data.workers import WorkerDataset, loader, reraise_each
from reproduce.utils.console import log
from reproduce.utils.distributed import of_first_process
from reproduce.utils.files import write_bytes

SAMPLE = 10_000  # images: the standard error of a pixel's mean is then below one grey level (its deviation is about 70)
SAMPLE_KEY = 0x3EA4  # key of the choice, the same for every seed
CHUNK = 25  # images per loader item
ANNOUNCE = 2000  # images from which on a line on stderr says what takes so long


def training_mean(crops: CentreCrops, fingerprint: str, *, workers: int, cache: Path, device: torch.device) -> Tensor:
    """Mean centre crop [3, crop, crop] float32 of at most 10,000 training images, chosen by a key.

    `fingerprint` tells one data set from another by names and sizes; the times at which the chosen files were changed
    tell images of the same size apart. Raises UserError, on all processes, for an unreadable image.
    """
    n, crop = len(crops.files), crops.crop

    def make() -> np.ndarray:
        key = f"{fingerprint} {n} {crops.side} {crop} {SAMPLE} {_changed(crops.files)}"
        path = cache / f"mean-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
        kept = _read(path, (3, crop, crop))
        if kept is None:
            kept = _compute(crops, workers)
            content = io.BytesIO()
            np.save(content, kept)
            with suppress(OSError):  # a cache that cannot be written costs time, not correctness
                write_bytes(path, content.getvalue())
        return kept

    return torch.from_numpy(of_first_process(make, device))


def _chosen(files: Files) -> Tensor:
    return epoch_order(SAMPLE_KEY, 0, len(files))[:SAMPLE]


def _changed(files: Files) -> str:
    """Hash of the times of the chosen files' last changes, in nanoseconds. Reading the files would be a gigabyte."""

    def time_of(index: int) -> int:
        try:
            return files.path(index).stat().st_mtime_ns
        except OSError:  # gone since it was listed: reading it says so
            return 0

    with ThreadPoolExecutor(LISTERS) as pool:
        times = np.array(list(pool.map(time_of, _chosen(files).tolist())), dtype=np.int64)
    return hashlib.sha256(times.tobytes()).hexdigest()


def _compute(crops: CentreCrops, workers: int) -> np.ndarray:
    chosen = _chosen(crops.files)
    if len(chosen) >= ANNOUNCE:
        log(f"{crops.files.folder}: the mean of {len(chosen):,} images, once ...")
    sums = reraise_each(loader(WorkerDataset(partial(sum_of_crops, crops), chosen.split(CHUNK)), workers))
    total = sum(sums, torch.zeros(3, crops.crop, crops.crop, dtype=torch.int64))  # of integers: exact in any order
    return (total.double() / len(chosen)).float().numpy()


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        kept = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or damaged: computed anew
        return None
    return kept if kept.shape == shape and kept.dtype == np.float32 else None


class Normaliser:
    """Offset [3, crop, crop] or [3, 1, 1] and divisor [3, 1, 1], for raw pixels 0-255; x is laid out as `layout` says.

    A mean image has one value for each pixel of a crop. Images of another size (fully convolutional testing) have no
    such pixels, so the mean image's mean colour is subtracted there; the two differ little.
    """

    def __init__(self, offset: Tensor, divisor: Tensor, layout: torch.memory_format) -> None:
        self.offset, self.divisor, self.layout = offset, divisor, layout
        self._divides_by_one = bool((divisor == 1).all())
        self._on_device: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def __call__(self, x: Tensor, device: torch.device) -> Tensor:
        """x [b, 3, h, w], uint8 or float of 0-255 → float32 on `device`."""
        offset, mean_colour, divisor = self._resident(device)
        offset = offset if x.shape[2:] == offset.shape[1:] else mean_colour
        x = x.to(device, non_blocking=True).contiguous(memory_format=self.layout)
        x = x.sub(offset) if x.is_floating_point() else x.float().sub_(offset)  # the caller's floats stay as they are
        return x if self._divides_by_one else x.div_(divisor)

    def add(self, x: Tensor, colour: Tensor) -> Tensor:
        """Normalised x with colours [b, 3], in steps of 0-255, added to all pixels of each image; in place."""
        noise = colour[:, :, None, None].to(x.device, non_blocking=True)
        return x.add_(noise / self._resident(x.device)[2])

    def _resident(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Offset, its mean colour and divisor on `device`, moved there once; laid out in memory as x is."""
        if device not in self._on_device:
            offset = self.offset[None].contiguous(memory_format=self.layout)[0]
            parts = offset, self.offset.mean((1, 2), keepdim=True), self.divisor
            self._on_device[device] = parts[0].to(device), parts[1].to(device), parts[2].to(device)
        return self._on_device[device]
