"""Training images decoded once and for all: uint8 RGB in files that are mapped into memory, read without copying.

An image whose shorter side is above `side` was resized to it, by the filter of the views; every other one is as its
file decodes. A shard is a safetensors file of 512 images in the order of the listing: `pixels` uint8 [bytes], image
after image, each [H, W, 3], `sizes` int64 [n, 2] (height, width) and `crc32` int64 [1], of the pixels. Its header says
what it was made from.
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from reproduce.data.imagenet.decode import Rows, read_image
from reproduce.data.imagenet.image_folder import Files, Tree
from reproduce.utils.errors import UserError

FORMAT = 2  # a new number whenever a shard is laid out in another way
IMAGES = 512  # in a shard: at most half a gigabyte
TROUBLE = {
    "missing": "is not there; `make imagenet-shards` (the same DATA, SIDE, SHARDS) writes what is missing",
    "damaged": "is damaged; `make imagenet-shards` (the same DATA, SIDE, SHARDS) writes it again",
    "foreign": "is of other images, another side or an older version; remove its folder, or name another (SHARDS=...)",
    "altered": "does not hold the pixels that were written; remove it, and `make imagenet-shards` writes it again",
}

Reader = Callable[[int, Rows], Tensor]  # index of a training image -> uint8 [3, H, W], at least the rows from the top
Opened = tuple[Tensor, list[int], list[tuple[int, int]]]


@dataclass(frozen=True)
class Shards:
    """Where the shards of `n` training images lie; `source` is the fingerprint of their listing."""

    folder: Path
    side: int
    source: str
    n: int

    def __len__(self) -> int:
        return -(-self.n // IMAGES)

    def path(self, number: int) -> Path:
        return self.folder / f"train-{number:05d}-of-{len(self):05d}.safetensors"

    def rows(self, number: int) -> range:
        """The images of a shard, as positions in the listing."""
        return range(number * IMAGES, min((number + 1) * IMAGES, self.n))

    def header(self, number: int) -> dict[str, str]:
        """One entry: safetensors writes several in any order, and a shard is to be the same bytes each time."""
        made = {"format": FORMAT, "side": self.side, "shard": number, "source": self.source}
        return {"made_from": json.dumps(made)}

    def state(self, number: int) -> str:
        """whole | missing | damaged | foreign, by the header, the sizes and the length of the file."""
        try:
            with safe_open(self.path(number), framework="pt") as file:
                header, sizes = file.metadata(), file.get_tensor("sizes")
                length = file.get_slice("pixels").get_shape()
        except FileNotFoundError:
            return "missing"
        except (OSError, SafetensorError):
            return "damaged"
        if header != self.header(number):
            return "foreign"
        whole = sizes.shape == (len(self.rows(number)), 2) and length == [3 * int(sizes.prod(1).sum())]
        return "whole" if whole else "damaged"

    def full_state(self, number: int) -> str:
        """The same, or altered, with every pixel read."""
        state = self.state(number)
        if state != "whole":
            return state
        with safe_open(self.path(number), framework="pt") as file:
            return state if crc32(file.get_tensor("pixels")) == int(file.get_tensor("crc32")) else "altered"

    def check(self) -> None:
        """Raises UserError, naming the file, for the first shard that cannot be used. No pixel is read."""
        for number in range(len(self)):
            self._usable(number)

    def image(self, row: int) -> Tensor:
        """Image `row` of the listing, uint8 [3, H, W]: a view of the file. Raises UserError as `check` does."""
        number, k = divmod(row, IMAGES)
        pixels, begins, sizes = _opened(self, number)
        return pixels[begins[k] : begins[k + 1]].view(*sizes[k], 3).permute(2, 0, 1)

    def _usable(self, number: int) -> None:
        state = self.state(number)
        if state != "whole":
            raise UserError(f"{self.path(number)}: {TROUBLE[state]}")


@cache
def _opened(shards: Shards, number: int) -> Opened:
    """Pixels (mapped, not read), where each image begins, and its size; kept open by the process that asked."""
    shards._usable(number)
    with safe_open(shards.path(number), framework="pt") as file:
        pixels, sizes = file.get_tensor("pixels"), file.get_tensor("sizes")
    ends = (3 * sizes.prod(1)).cumsum(0).tolist()
    return pixels, [0, *ends], [(height, width) for height, width in sizes.tolist()]


def crc32(pixels: Tensor) -> int:
    """Of uint8 [bytes]."""
    return zlib.crc32(pixels.numpy().data)


def shards_of(classes: list[str], train: Files, side: int, folder: str | Path | None) -> Shards:
    """The shards of a listing of train/, whole and in its order; by default in `shards-<side>` beside train/."""
    listing = Tree(classes, train, train.take(torch.empty(0, dtype=torch.int64)))
    folder = Path(folder).expanduser() if folder else train.folder.parent / f"shards-{side}"
    return Shards(folder, side, listing.fingerprint(), len(train))


def from_files(files: Files, index: int, rows: Rows) -> Tensor:
    """A Reader that decodes image files."""
    return read_image(files.path(index), rows)


def from_shards(shards: Shards, listed: np.ndarray, index: int, rows: Rows) -> Tensor:
    """A Reader of pre-decoded images: `listed` [n] is the position of each of them in the listing."""
    return shards.image(int(listed[index]))


def training_reader(files: Files, whole: Tree, side: int | None, folder: str | Path | None, check: bool) -> Reader:
    """How training images are read: from their files, or with a `side` from the shards of the whole listing.

    Raises UserError where the shards are to be checked and one cannot be used.
    """
    if not (side and len(files)):
        return partial(from_files, files)
    shards = shards_of(whole.classes, whole.train, side, folder)
    if check:
        shards.check()
    return partial(from_shards, shards, positions_in(whole.train, files))


def positions_in(listing: Files, files: Files) -> np.ndarray:
    """The position of each of the files in a listing that holds them all: int64 [n]."""
    order = np.argsort(listing.names)
    return order[np.searchsorted(listing.names, files.names, sorter=order)]
