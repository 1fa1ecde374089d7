"""Writes the shards of shards.py from train/: each whole or not at all, so that a killed run continues."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from reproduce.data.imagenet.decode import read_image
from reproduce.data.imagenet.image_folder import Files, read_classes
from reproduce.data.imagenet.shards import TROUBLE, Shards, crc32, shards_of
from reproduce.data.imagenet.transforms import resize_shorter
from reproduce.data.sampling import epoch_order
from reproduce.data.workers import WorkerDataset, loader, reraise_each
from reproduce.utils.console import log, progress
from reproduce.utils.errors import UserError
from reproduce.utils.files import free_bytes

SAMPLE, SAMPLE_KEY = 500, 0x51DE  # images decoded to estimate how large all will be, and the key of their choice
MARGIN = 1.05  # a mean of 500 images is off by some percent
PART = ".part-"  # so begin the names of what is being written


def predecode(root: Path, side: int, folder: Path | None, workers: int) -> Shards:
    """Write the shards that are missing or damaged. Images with a longer shorter side than `side` are resized to it.

    Raises UserError for a folder without train/, an unreadable image, shards of other images and a disk too small.
    """
    classes, files = read_classes(root / "train")
    shards = shards_of(classes, files, side, folder)
    if shards.folder.exists() and not shards.folder.is_dir():
        raise UserError(f"{shards.folder}: is no folder; name another (SHARDS=...)")
    missing = _to_be_written(shards)
    for left in shards.folder.glob(f"{PART}*"):  # by a writer that was killed; one that lives fails and says so
        shutil.rmtree(left, ignore_errors=True)
    _check_space(files, shards, missing)
    with progress("images pre-decoded", sum(len(shards.rows(number)) for number in missing)) as advance:
        for count in reraise_each(loader(WorkerDataset(Writer(files, shards), missing), workers)):
            advance(count)
    return shards


def _to_be_written(shards: Shards) -> list[int]:
    """Raises UserError for shards of other images, or of a listing of another length."""
    own = {shards.path(number) for number in range(len(shards))}
    states = {number: shards.state(number) for number in range(len(shards))}
    strange = [path for path in sorted(shards.folder.glob("train-*.safetensors")) if path not in own]
    strange += [shards.path(number) for number, state in states.items() if state == "foreign"]
    if strange:
        raise UserError(f"{strange[0]}: {TROUBLE['foreign']}")
    return [number for number, state in states.items() if state != "whole"]


def _check_space(files: Files, shards: Shards, missing: list[int]) -> None:
    """Raises UserError when what is still to be written is larger than the free space."""
    chosen = epoch_order(SAMPLE_KEY, 0, len(files))[:SAMPLE].tolist() if missing else []
    sample = [stored(read_image(files.path(i)), shards.side).numel() for i in chosen]
    needed = MARGIN * sum(sample) / max(len(sample), 1) * sum(len(shards.rows(number)) for number in missing)
    if needed > (free := free_bytes(shards.folder)):
        sizes = f"{needed / 1e9:.1f} GB are needed there and {free / 1e9:.1f} GB are free"
        raise UserError(f"{shards.folder}: {sizes}; name a larger disk (SHARDS=...) or a smaller SIDE")
    if missing:
        log(f"{shards.folder}: about {needed / 1e9:.1f} GB in {len(missing):,} shards ...")


def stored(image: Tensor, side: int) -> Tensor:
    """What a shard keeps of an image [3, H, W]: itself, unless its shorter side is above `side`."""
    return resize_shorter(image, side) if min(image.shape[1:]) > side else image


@dataclass(frozen=True)
class Writer:
    """number of a shard → it is written; how many images it holds."""

    files: Files
    shards: Shards

    def __call__(self, number: int) -> int:
        images = [stored(read_image(self.files.path(i)), self.shards.side) for i in self.shards.rows(number)]
        pixels = torch.cat([image.permute(1, 2, 0).flatten() for image in images])
        sizes = torch.tensor([image.shape[1:] for image in images])
        path, tensors = self.shards.path(number), {"pixels": pixels, "sizes": sizes}
        try:
            _write(path, tensors | {"crc32": torch.tensor([crc32(pixels)])}, self.shards.header(number))
        except (OSError, SafetensorError) as error:  # of a full disk safetensors tells by its own kind
            raise UserError(f"{path}: cannot be written ({error}); the same command again continues") from error
        return len(images)


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=PART) as folder:
        part = Path(folder) / path.name
        save_file(tensors, part, header)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
