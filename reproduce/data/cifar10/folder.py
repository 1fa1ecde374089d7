"""The `folder` source: root/train/<class>/* and root/test/<class>/*, PNG or JPEG of 32x32 pixels.

A copy whose images are not all exact lists those that are not in root/not-exact.txt, and its numbers say so.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reproduce.data.cifar10.images import Images
from reproduce.utils.console import log
from reproduce.utils.errors import UserError

SIZE = 32
LAYOUT = "data.root needs train/<class>/* and test/<class>/*"
ANNOUNCE = 5000  # images from which on a line on stderr says what takes so long


def read_folder(root: str) -> Images:
    """Read every image of the folder; classes are the sorted folder names, images are sorted by name within a class.

    Raises UserError, naming the path, for a missing folder, classes that differ between train and test, an empty class
    and a file that is no 32x32 PNG or JPEG.
    """
    train, test = Path(root).expanduser() / "train", Path(root).expanduser() / "test"
    classes = _classes(train)
    if _classes(test) != classes:
        differ = ", ".join(sorted(set(classes) ^ set(_classes(test))))
        raise UserError(f"{root}: the class folders of train/ and test/ differ ({differ}); both need the same")
    train_images, train_labels, train_formats = _read(train, classes)
    test_images, test_labels, test_formats = _read(test, classes)
    formats = " and ".join(sorted(train_formats | test_formats))
    description = f"folder of images ({formats}), {len(classes)} classes{_exact(Path(root).expanduser())}"
    return Images(train_images, train_labels, test_images, test_labels, classes, description)


def _exact(root: Path) -> str:
    """How many images have the original's pixels, of a copy that lists the others in root/not-exact.txt."""
    try:
        listed = set((root / "not-exact.txt").read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{root / 'not-exact.txt'}: not a list of paths ({error}); repair or remove it") from None
    images = {
        f"{split}/{path.parent.name}/{path.name}" for split in ("train", "test") for path in (root / split).glob("*/*")
    }
    if missing := sorted(listed - images):
        raise UserError(f"{root / 'not-exact.txt'}: {missing[0]}: there is no such image; repair or remove the list")
    return f", {len(images - listed):,} of {len(images):,} images exact"


def _classes(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {LAYOUT} (data.source=folder)")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise UserError(f"{folder}: no class folders; {LAYOUT}")
    return classes


def _read(folder: Path, classes: list[str]) -> tuple[Tensor, Tensor, set[str]]:
    """Images [N, 3, 32, 32], labels [N] and the file formats met."""
    files = [_files(folder / name) for name in classes]
    labels = torch.tensor([label for label, names in enumerate(files) for _ in names])
    paths = [path for names in files for path in names]
    if len(paths) >= ANNOUNCE:
        log(f"{folder}: reading {len(paths):,} images")
    images = np.empty((len(paths), SIZE, SIZE, 3), dtype=np.uint8)
    # One thread: such small images cost more of Python than of libjpeg, and two threads were measured to be slower.
    formats = {_decode(path, image) for path, image in zip(paths, images, strict=True)}
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels, formats


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not files:
        raise UserError(f"{folder}: the class is empty; put its images there, or remove it from train/ and test/")
    for path in files:
        if not path.is_file():  # a pipe would be waited for
            raise UserError(f"{path}: no file (a folder, a pipe, a broken link); repair or remove it")
    return files


def _decode(path: Path, out: np.ndarray) -> str:
    """Decode one file into out [32, 32, 3] as RGB; return its format. The size is checked before decoding."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.size != (SIZE, SIZE):
                raise UserError(f"{path}: {image.width}x{image.height} pixels; every image must be {SIZE}x{SIZE}")
            if image.mode.startswith(("I", "F")):
                raise UserError(f"{path}: more than 8 bits per channel; convert it to 8 bits")
            out[:] = np.asarray(image.convert("RGB"))
            return str(image.format)
    except (OSError, SyntaxError, ValueError) as error:  # what PIL raises for files that are damaged or of another kind
        raise UserError(f"{path}: not a readable PNG or JPEG ({error}); repair or remove it") from error
