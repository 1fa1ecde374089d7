"""From the bytes of an image file to uint8 RGB [3, H, W], the odd files of ImageNet among them.

Baseline and progressive JPEGs with 1 or 3 components go straight to a tensor (torchvision's libjpeg-turbo). What is
left goes through PIL, which reads it as most published results did: CMYK and YCCK JPEGs and PNGs named .JPEG. EXIF
blocks, broken or not, are never looked at, so an orientation written there is ignored, as
torchvision's ImageFolder ignores it.
"""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg  # deprecated in 0.29, not replaced there

from reproduce.errors import UserError

CURE = "replace it by a good copy (`make check-data DATA=... DECODE=1` lists all such files)"
FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended sequential, progressive: what libjpeg decodes
BEFORE_SCAN = 0xDA


def read_image(path: str | Path) -> Tensor:
    """The file as uint8 RGB [3, H, W]. Raises UserError, naming it, if missing, empty, cut short or no image."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {CURE}") from error
    if not data:
        raise UserError(f"{path}: is empty (0 bytes); {CURE}")
    try:
        return decode(data)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what PIL raises
        raise UserError(f"{path}: not a whole JPEG or PNG ({_reason(error)}); {CURE}") from error


def decode(data: bytes) -> Tensor:
    """RGB [3, H, W], uint8. Raises what PIL raises: OSError, SyntaxError, ValueError or DecompressionBombError."""
    if _is_plain(data):
        try:
            return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
        except RuntimeError:  # as a rule cut short; PIL says what it is in words
            pass
    return _by_pil(data)


def _by_pil(data: bytes) -> Tensor:
    with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
        warnings.simplefilter("ignore")  # palettes with transparency
        if image.mode.startswith(("I", "F")):
            raise ValueError("more than 8 bits per channel")
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its message holds an address in memory
        return "its beginning is of neither"
    return " ".join(str(error).split())


def _is_plain(data: bytes) -> bool:
    """A JPEG of 1 or 3 components and a sane size, by its frame header."""
    frame = _frame(data)
    if frame is None:
        return False
    height, width, components = frame
    return components in (1, 3) and 0 < height * width <= (Image.MAX_IMAGE_PIXELS or float("inf"))


def _frame(data: bytes) -> tuple[int, int, int] | None:
    """Height, width and number of components of a JPEG; None where there is no such header before the first scan."""
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF and data[at + 1] != BEFORE_SCAN:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if marker in FRAMES:
            height, width, components = struct.unpack_from(">HHB", data, at + 5)
            return height, width, components
        at += 1 if marker == 0xFF else 2 + length  # a marker may be preceded by fill bytes
    return None
