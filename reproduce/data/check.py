"""Is an ImageNet folder complete, and can every image of it be decoded? What is missing, and how to get it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from reproduce.data.decode import read_image
from reproduce.data.loader import Items, loader
from reproduce.data.prepare import GET
from reproduce.data.progress import progress
from reproduce.data.tree import (
    HELP,
    OFFICIAL_CLASSES,
    OFFICIAL_SIZES,
    OFFICIAL_WNIDS,
    Files,
    Tree,
    read_tree,
    wnids_sha256,
)
from reproduce.errors import UserError

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


def check(root: Path, decode: bool, workers: int, show: Callable[[str], None] = print) -> int:
    """Say what is there and what is not; 0 where all is well, 1 where classes lack images or images cannot be read.

    A tree of other classes or numbers than ILSVRC-2012's is well too, as data.source=folder.
    """
    try:
        tree = read_tree(root)
    except UserError as error:
        show(str(error).replace(f"; {HELP}", ""))
        show(f"To get what is missing: {GET}; {PREPARE}")
        return 1
    report(tree, show)
    return int(decode and bool(undecodable(tree, workers, show)))


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
        return
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
            for chunk, lines in zip(chunks, loader(Items(Undecodable(files), chunks), workers), strict=True):
                failed += lines
                advance(len(chunk))
    for line in failed:
        show(line)
    show(f"{total:,} images decoded, {len(failed):,} failed")
    return failed
