"""ImageNet's folders: train/<wnid>/* and val/<wnid>/*, or val/* with val_labels.txt. Listed, not decoded.

val_labels.txt lies beside val/ and has a line for each image: `ILSVRC2012_val_00000001.JPEG n01751748`.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reproduce.utils.errors import UserError

LABELS = "val_labels.txt"
OFFICIAL_SIZES = 1_281_167, 50_000
OFFICIAL_CLASSES = 1000
# SHA-256 of the 1000 wnids of ILSVRC-2012, sorted and joined by "\n", without one at the end.
OFFICIAL_WNIDS = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"
# Bytes of ILSVRC2012_img_train.tar, a tar of one tar a class, and of ILSVRC2012_img_val.tar, as published.
OFFICIAL_TARS = 147_897_477_120, 6_744_924_160
TAR_BLOCK, TAR_RECORD = 512, 10_240  # bytes: a header, and what contents are padded to; what an archive is padded to
LISTERS = 16  # threads: on a network drive listing is waiting
LAYOUT = "data.root needs train/<wnid>/* and val/<wnid>/*, or val/* with val_labels.txt"
HELP = "`make check-data DATA=...` says what is missing and how to get it"


@dataclass(frozen=True)
class Files:
    """Image files of one set, sorted by class and name: names relative to `folder` as bytes [n] (a million Python
    strings would be copied into every loader worker), labels int64 [n], sizes in bytes int64 [n]."""

    folder: Path
    names: np.ndarray
    labels: Tensor
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        return self.folder / os.fsdecode(bytes(self.names[index]))

    def take(self, index: Tensor) -> "Files":
        chosen = index.numpy()
        return replace(self, names=self.names[chosen], labels=self.labels[index], sizes=self.sizes[chosen])

    def first_per_class(self, k: int) -> "Files":
        """The first k images of each class; all of a class that has fewer."""
        _, start = np.unique(self.labels.numpy(), return_index=True)
        rank = np.arange(len(self)) - np.repeat(start, np.diff([*start, len(self)]))
        return self.take(torch.from_numpy(np.flatnonzero(rank < k)))


@dataclass(frozen=True)
class Tree:
    """Both sets, labelled by the position of their class in `classes` (sorted wnids)."""

    classes: list[str]
    train: Files
    test: Files

    def subset(self, k: int) -> "Tree":
        return replace(self, train=self.train.first_per_class(k), test=self.test.first_per_class(k))

    def fingerprint(self) -> str:
        """SHA-256 over set, class, file name and size of every image: "sha256:<64 digits>". No image is opened.

        The same for both layouts of val/.
        """
        digest = hashlib.sha256()
        for name, files in (("train", self.train), ("val", self.test)):
            for path, label, size in zip(files.names, files.labels.tolist(), files.sizes.tolist(), strict=True):
                line = f"{name}/{self.classes[label]}/".encode() + bytes(path).split(b"/")[-1] + f" {size}\n".encode()
                digest.update(line)
        return f"sha256:{digest.hexdigest()}"

    def is_official(self) -> bool:
        """By class names, numbers of images and bytes in all; of a tree without training images, by its val/ alone."""
        return self.has_official_names() and not self.strange_bytes()

    def has_official_names(self) -> bool:
        """The classes of ILSVRC-2012 and as many images."""
        sizes = (len(self.train) or OFFICIAL_SIZES[0], len(self.test))
        return wnids_sha256(self.classes) == OFFICIAL_WNIDS and sizes == OFFICIAL_SIZES

    def strange_bytes(self) -> str:
        """Which set's files would make a tar of another size than the official one; nothing where none would."""
        archives = ("train", self.train, len(self.classes)), ("val", self.test, 0)
        found = []
        for (name, files, inner), official in zip(archives, OFFICIAL_TARS, strict=True):
            least, most = tar_bytes(files.sizes, inner)
            if len(files) and not least <= official <= most:
                nearest = f"{least:,} bytes or more" if official < least else f"{most:,} bytes at most"
                found.append(f"the files of {name}/ make a tar of {nearest}, not of {official:,}")
        return " and ".join(found)


def tar_bytes(sizes: np.ndarray, inner: int = 0) -> tuple[int, int]:
    """The least and the most bytes of a tar of files of these sizes, by itself or as `inner` tars in one.

    A file takes a header and whole blocks, and an archive ends with two empty blocks. The sizes leave open whether it
    has an entry for its folder and is filled up to a whole record: 0.0002 % of ILSVRC-2012's val, 0.007 % of its train.
    """
    files = int((TAR_BLOCK + -(-sizes // TAR_BLOCK) * TAR_BLOCK).sum())
    least = files + inner * TAR_BLOCK + (inner + 1) * 2 * TAR_BLOCK
    return least, least + (inner + 1) * TAR_RECORD


def wnids_sha256(wnids: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(wnids)).encode()).hexdigest()


def read_tree(root: str | Path, test_only: bool = False) -> Tree:
    """List both sets; with `test_only` val/ alone where there is no train/. Raises UserError, naming the path, for a
    missing folder, an empty class, classes that differ between train and val, and an image of a flat val/ without a
    label."""
    folder = Path(root).expanduser()
    if test_only and not (folder / "train").is_dir():
        return _read_test(folder)
    classes, train = read_classes(folder / "train")
    if not class_folders(folder / "val"):
        return Tree(classes, train, _read_flat(folder, classes))
    others, test = read_classes(folder / "val")
    if others != classes:
        differ = sorted(set(classes) ^ set(others))
        shown = ", ".join(differ[:3]) + (f" and {len(differ) - 3} more" if len(differ) > 3 else "")
        raise UserError(f"{root}: the class folders of train/ and val/ differ ({shown}); both need the same; {HELP}")
    return Tree(classes, train, test)


def _read_test(folder: Path) -> Tree:
    """val/ alone, its classes those of its own folders or labels: enough to evaluate weights by others."""
    if class_folders(folder / "val"):
        classes, test = read_classes(folder / "val")
    else:
        classes = sorted({wnid for _, wnid in read_labels(folder / LABELS)})
        test = _read_flat(folder, classes)
    return Tree(classes, _files(folder / "train", [], np.empty(0)), test)


def read_official(root: str | Path, test_only: bool = False) -> Tree:
    """The same. Raises UserError unless all of ILSVRC-2012 is there: no class or image more or less, and its bytes."""
    tree = read_tree(root, test_only)
    if tree.is_official():
        return tree
    if tree.has_official_names():
        raise UserError(f"{root}: {tree.strange_bytes()}; {HELP}; other images of these names are data.source=folder")
    found = f"{len(tree.classes):,} classes, {len(tree.train):,} training and {len(tree.test):,} validation images"
    wanted = f"the {OFFICIAL_CLASSES:,} of ILSVRC-2012, {OFFICIAL_SIZES[0]:,} and {OFFICIAL_SIZES[1]:,}"
    raise UserError(f"{root}: {found} instead of {wanted}; {HELP}; other trees are data.source=folder")


def class_folders(folder: Path) -> list[str]:
    """Sorted names of the class folders. Raises UserError for a folder that is not there."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {LAYOUT}; {HELP}")
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def read_classes(folder: Path) -> tuple[list[str], Files]:
    """The classes of train/ or val/ and their files. Raises UserError for a missing folder and an empty class."""
    classes = class_folders(folder)
    if not classes:
        raise UserError(f"{folder}: no class folders; {LAYOUT}; {HELP}")
    with ThreadPoolExecutor(LISTERS) as pool:
        listed = list(pool.map(list_images, [folder / name for name in classes]))
    empty = [name for name, found in zip(classes, listed, strict=True) if not found]
    if empty:
        cure = f"put its images there or remove the folder from both sets; {HELP}"
        raise UserError(f"{folder / empty[0]}: the class is empty; {cure}")
    labels = np.repeat(np.arange(len(classes)), [len(found) for found in listed])
    files = [(f"{name}/{image}", size) for name, found in zip(classes, listed, strict=True) for image, size in found]
    return classes, _files(folder, files, labels)


def list_images(folder: Path) -> list[tuple[str, int]]:
    """Name and size of each file of a folder, sorted; hidden ones are left out. Raises UserError for what is no file.

    Nothing is passed over in silence: a broken link would be an image less.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                status = _status(entry)
                if status is None or not stat.S_ISREG(status.st_mode):
                    raise UserError(f"{entry.path}: no file (a folder, a pipe, a broken link); repair or remove it")
                found.append((entry.name, status.st_size))
    return sorted(found)


def _status(entry: "os.DirEntry[str]") -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:  # a link to nowhere, or to itself
        return None


def _read_flat(root: Path, classes: list[str]) -> Files:
    labels = {name: label for label, name in enumerate(classes)}
    wnids, images = dict(read_labels(root / LABELS)), list_images(root / "val")
    lacking = [name for name, _ in images if wnids.get(name) not in labels]
    if lacking:
        without = f"{lacking[0]} ({len(lacking)} images)"
        raise UserError(f"{root / LABELS}: no label among the classes of train/ for {without}")
    if not images:
        raise UserError(f"{root / 'val'}: no images; {LAYOUT}; {HELP}")
    images.sort(key=lambda image: (labels[wnids[image[0]]], image[0]))
    return _files(root / "val", images, np.array([labels[wnids[name]] for name, _ in images]))


def read_labels(path: Path) -> Iterator[tuple[str, str]]:
    """(file name, wnid) of each line. Raises UserError for a missing file and for a line of another form."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: needed for a val/ without class folders and cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        if len(words) != 2:
            raise UserError(f"{path}: line {number} is not `file-name wnid`")
        yield words[0], words[1]


def _files(folder: Path, listed: list[tuple[str, int]], labels: np.ndarray) -> Files:
    names = np.array([os.fsencode(name) for name, _ in listed], dtype=np.bytes_)
    sizes = np.array([size for _, size in listed], dtype=np.int64)
    return Files(folder, names, torch.from_numpy(labels.astype(np.int64)), sizes)
