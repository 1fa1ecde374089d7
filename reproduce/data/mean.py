"""The per-pixel mean of ImageNet's training set (Sec. 3.4): computed once on process 0, kept in a file, sent to all."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from reproduce.data.keyed import epoch_order
from reproduce.data.loader import Items, loader, told
from reproduce.data.shares import CentreCrops, CropSums
from reproduce.data.tree import LISTERS, Files
from reproduce.errors import UserError

SAMPLE = 10_000  # images: the standard error of a pixel's mean is then below one grey level (its deviation is about 70)
SAMPLE_KEY = 0x3EA4  # key of the choice, the same for every seed
CHUNK = 25  # images per loader item
ANNOUNCE = 2000  # images from which on a line on stderr says what takes so long

T = TypeVar("T")


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
            with suppress(OSError):  # a cache that cannot be written costs time, not correctness
                _write(path, kept)
        return kept

    return torch.from_numpy(of_first_process(make, device))


def of_first_process(make: Callable[[], T], device: torch.device) -> T:
    """What `make` returns on process 0, on all; a UserError of it is raised on all, so that none waits for ever."""
    if not (dist.is_available() and dist.is_initialized()):
        return make()
    found: list[T | str | None] = [None, None]  # result, error
    if dist.get_rank() == 0:
        try:
            found[0] = make()
        except UserError as error:
            found[1] = str(error)
    dist.broadcast_object_list(found, src=0, device=device)
    if isinstance(found[1], str):
        raise UserError(found[1])
    return found[0]  # type: ignore[return-value]


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
        print(f"{crops.files.folder}: the mean of {len(chosen):,} images, once ...", file=sys.stderr, flush=True)
    sums = told(loader(Items(CropSums(crops), chosen.split(CHUNK)), workers))
    total = sum(sums, torch.zeros(3, crops.crop, crops.crop, dtype=torch.int64))  # of integers: exact in any order
    return (total.double() / len(chosen)).float().numpy()


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        kept = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or damaged: computed anew
        return None
    return kept if kept.shape == shape and kept.dtype == np.float32 else None


def _write(path: Path, mean: np.ndarray) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".mean-", delete=False) as file:
        np.save(file, mean)
    os.replace(file.name, path)  # noqa: PTH105 - a name, not a Path
