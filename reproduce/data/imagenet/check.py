"""Is an ImageNet folder complete, and can every image of it be decoded? What is missing, and how to get it."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

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


def undecodable(item: tuple[Files, Tensor]) -> list[str]:
    """A line for each image of some indices that cannot be read, naming it."""
    files, index = item
    found = []
    for i in index.tolist():
        try:
            read_image(files.path(i))
        except UserError as error:
            found.append(str(error))
    return found


def unusable(shards: Shards, read: bool, number: int) -> list[str]:
    """A line if a shard cannot be used, naming it; nothing else. `read`: its pixels are read, too."""
    state = shards.full_state(number) if read else shards.state(number)
    return [] if state == "whole" else [f"{shards.path(number)}: {TROUBLE[state]}"]


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
    failed: list[str] = []
    if decode:
        items = [(files, index) for files in (tree.train, tree.test) for index in torch.arange(len(files)).split(CHUNK)]
        counts = [len(index) for _, index in items]
        failed += look(WorkerDataset(undecodable, items), counts, "images decoded", workers, show)
    if predecoded:
        shards = shards_of(tree.classes, tree.train, *predecoded)
        states = WorkerDataset(partial(unusable, shards, decode), range(len(shards)))
        failed += look(states, [1] * len(shards), f"shards {'read' if decode else 'looked at'}", workers, show)
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


def look(
    items: WorkerDataset[Any], counts: Sequence[int], what: str, workers: int, show: Callable[[str], None]
) -> list[str]:
    """Look at all items, of `counts` files each; show and return a line for each file that fails."""
    failed: list[str] = []
    with progress(what, sum(counts)) as advance:
        for lines, count in zip(loader(items, workers), counts, strict=True):
            failed += lines
            advance(count)
    for line in (*failed, f"{sum(counts):,} {what}, {len(failed):,} failed"):
        show(line)
    return failed
