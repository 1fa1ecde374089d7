"""Is an ImageNet folder complete, and can every image of it be decoded? What is missing, and how to get it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from reproduce.data.imagenet.archives import GET
from reproduce.data.imagenet.decode import read_image
from reproduce.data.imagenet.image_folder import (
    HELP,
    OFFICIAL_CLASSES,
    OFFICIAL_SIZES,
    OFFICIAL_WNIDS,
    Files,
    Tree,
    read_tree,
    wnids_sha256,
)
from reproduce.data.imagenet.shards import TROUBLE, Shards, shards_of
from reproduce.data.workers import WorkerDataset, loader
from reproduce.utils.console import progress
from reproduce.utils.errors import UserError

CHUNK = 64  # images per item of work
PREPARE = "then `make imagenet-prepare DATA=this-folder TARS=folder-of-the-archives` (it continues what was begun)"


@dataclass(frozen=True)
class Undecodable:
    """indices → a line for each image that cannot be read, naming it."""

    files: Files

    def __call__(self, index: Tensor) -> list[str]:
        return [line for i in index.tolist() if (line := self._trouble(i))]

    def _trouble(self, index: int) -> str:
        try:
            read_image(self.files.path(index))
        except UserError as error:
            return str(error)
        return ""


@dataclass(frozen=True)
class Unusable:
    """number of a shard → a line if it cannot be used, naming it; nothing else. `read`: its pixels are read, too."""

    shards: Shards
    read: bool

    def __call__(self, number: int) -> list[str]:
        state = self.shards.full_state(number) if self.read else self.shards.state(number)
        return [] if state == "whole" else [f"{self.shards.path(number)}: {TROUBLE[state]}"]


def check(
    root: Path,
    decode: bool,
    workers: int,
    show: Callable[[str], None] = print,
    predecoded: tuple[int, Path | None] | None = None,
) -> int:
    """Say what is there and what is not; 0 where all is well, 1 where classes lack images or files cannot be read.

    A tree of other classes or numbers than ILSVRC-2012's is well too, as data.source=folder. `decode`: every image is
    read. `predecoded`: side and folder of shards to look at as well.
    """
    try:
        tree = read_tree(root)
    except UserError as error:
        show(str(error).replace(f"; {HELP}", ""))
        show(f"To get what is missing: {GET}; {PREPARE}")
        return 1
    report(tree, show)
    failed = undecodable(tree, workers, show) if decode else []
    if predecoded:
        failed += unusable(shards_of(tree.classes, tree.train, *predecoded), decode, workers, show)
    return int(bool(failed))


def report(tree: Tree, show: Callable[[str], None]) -> None:
    for name, files, wanted in zip(("train", "val"), (tree.train, tree.test), OFFICIAL_SIZES, strict=True):
        counts = torch.bincount(files.labels, minlength=len(tree.classes))
        show(
            f"{name}: {len(tree.classes):,} of {OFFICIAL_CLASSES:,} classes, {len(files):,} of {wanted:,} images "
            f"({int(counts.min()):,} to {int(counts.max()):,} a class), {files.sizes.sum() / 1e9:.1f} GB"
        )
    lacking = [tree.classes[i] for i in torch.bincount(tree.test.labels, minlength=len(tree.classes)).eq(0).nonzero()]
    if lacking:
        show(f"val: no image of {', '.join(lacking[:5])}{' ...' if len(lacking) > 5 else ''}")
    if tree.is_official():
        show("This is the whole of ILSVRC-2012: data.source=official.")
        show("Checked: class names, numbers of images, and the bytes of all files against the sizes of the archives.")
        return
    if tree.has_official_names():
        show(f"The classes of ILSVRC-2012 and as many images, but not its bytes: {tree.strange_bytes()}.")
    same = wnids_sha256(tree.classes) == OFFICIAL_WNIDS
    show(f"Not the whole of ILSVRC-2012 ({'its' if same else 'other'} classes): usable as data.source=folder.")
    show(f"To get the whole: {GET}; {PREPARE}")


def undecodable(tree: Tree, workers: int, show: Callable[[str], None]) -> list[str]:
    """Decode every image; show and return a line for each that fails."""
    failed: list[str] = []
    total = len(tree.train) + len(tree.test)
    with progress("decoded", total) as advance:
        for files in (tree.train, tree.test):
            chunks = torch.arange(len(files)).split(CHUNK)
            for chunk, lines in zip(chunks, loader(WorkerDataset(Undecodable(files), chunks), workers), strict=True):
                failed += lines
                advance(len(chunk))
    return shown(failed, f"{total:,} images decoded", show)


def unusable(shards: Shards, read: bool, workers: int, show: Callable[[str], None]) -> list[str]:
    """Look at every shard, with `read` at every pixel; show and return a line for each that cannot be used."""
    failed: list[str] = []
    with progress("shards", len(shards)) as advance:
        for lines in loader(WorkerDataset(Unusable(shards, read), range(len(shards))), workers):
            failed += lines
            advance(1)
    return shown(failed, f"{len(shards):,} shards {'read' if read else 'looked at'}", show)


def shown(failed: list[str], what: str, show: Callable[[str], None]) -> list[str]:
    for line in (*failed, f"{what}, {len(failed):,} failed"):
        show(line)
    return failed
