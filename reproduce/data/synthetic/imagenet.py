"""The synthetic ImageNet-shaped set: ten classes of drawn forms as real files in ImageNet's layout, made on first use.

Forms as in cifar10.py beside this file, drawn in sizes from 64 pixels on and in any proportion, nearly all as JPEG. The
odd kinds of ImageNet are among the training images: a PNG named .JPEG, CMYK, grey, progressive, a broken EXIF block.
"""

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from reproduce.data.synthetic.cifar10 import FORMS, Form, cover_of, paint, uniform

EDITION = 1  # a new number whenever other images are drawn: the folder's name holds it
WNIDS = [f"n{number:08d}" for number in range(1, len(FORMS) + 1)]
TRAIN, VAL = 30, 6  # images per class
SHORTER, LONGEST = (64, 300), 1.7  # pixels of the shorter side; the longer side is up to so many times as long
ODD = ("png", "cmyk", "grey", "progressive", "exif")  # the first training image of each of the first classes
BROKEN_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12"  # five entries announced, none there
KEY = 0x5A9E5


def write_shapes(folder: Path) -> Path:
    """The root of the set below `folder`, written there unless it is."""
    return write_once(folder / f"imagenet-shapes-{EDITION}", _write_all)


def write_once(root: Path, write: Callable[[Path], None]) -> Path:
    """`root`, written by `write` unless it is there; whole or not at all, also by two at a time."""
    if root.is_dir():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=".shapes-") as part:
        write(Path(part) / "set")
        try:
            (Path(part) / "set").rename(root)
        except OSError:
            if not root.is_dir():  # else another process was faster
                raise
    return root


def _write_all(root: Path) -> None:
    for split, (name, count) in enumerate((("train", TRAIN), ("val", VAL))):
        for label, (wnid, form) in enumerate(zip(WNIDS, FORMS.values(), strict=True)):
            (root / name / wnid).mkdir(parents=True)
            for number in range(count):
                index = label + len(WNIDS) * number
                kind = ODD[label] if name == "train" and number == 0 and label < len(ODD) else ""
                stem = f"{wnid}_{number}" if name == "train" else f"shapes_val_{index + 1:08d}"
                (root / name / wnid / f"{stem}.JPEG").write_bytes(encode(draw(form, split, index), kind))


def draw(form: Form, split: int, index: int) -> Tensor:
    """Image `index` of a set (0: training), uint8 [3, h, w], from 20 numbers in [0, 1): the same bits everywhere."""
    u = uniform(KEY, split, index, torch.arange(20))
    shorter = int(SHORTER[0] + (SHORTER[1] - SHORTER[0]) * float(u[0]) * float(u[0]))  # small ones are more
    longer = int(shorter * (1 + (LONGEST - 1) * float(u[1])))
    h, w = (shorter, longer) if u[2] < 0.7 else (longer, shorter)
    x, y = (torch.arange(n) - (n - 1) / 2 for n in (w, h))
    centre = shorter * 0.15 * (2 * u[3:5] - 1)
    tilt, radius = 0.4 * (2 * u[5:6, None, None] - 1), shorter * (0.3 + 0.12 * u[6])
    cover = cover_of(form, x - centre[0], (y - centre[1])[:, None], torch.ones_like(tilt), tilt, radius)
    ground, contrast = 144 * u[7:10].view(1, 3, 1, 1), 48 + 63 * u[10:13].view(1, 3, 1, 1)
    slope = 48 / longer * (2 * u[13:15] - 1)
    image = paint(ground + slope[0] * x + (slope[1] * y)[:, None], ground + contrast, cover)
    noise = 24 * (uniform(KEY, split, index, 1, torch.arange(h * w)).view(h, w) - 0.5)
    return (image[0] + noise).clamp(0, 255).to(torch.uint8)


def encode(image: Tensor, kind: str = "") -> bytes:
    """uint8 [3, h, w] → the bytes of a file of one of the kinds in ODD, or of an ordinary JPEG."""
    picture, file = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()), io.BytesIO()
    if kind == "png":
        picture.save(file, "PNG")
    elif kind == "exif":
        picture.save(file, "JPEG", quality=90, exif=BROKEN_EXIF)
    else:
        modes = {"cmyk": "CMYK", "grey": "L"}
        picture.convert(modes.get(kind, "RGB")).save(file, "JPEG", quality=90, progressive=kind == "progressive")
    return file.getvalue()
