"""From the bytes of an image file to uint8 RGB [3, H, W], the odd files of ImageNet among them.

JPEGs with 1 or 3 components go straight to a tensor: by simplejpeg where it is installed, else by torchvision. Both are
libjpeg-turbo and give the same pixels; simplejpeg is faster and can stop at the last row that is needed. What is left
goes through PIL, which reads it as most published results did: CMYK and YCCK JPEGs and PNGs named .JPEG. EXIF blocks,
broken or not, are never looked at, so an orientation written there is ignored, as torchvision's ImageFolder does.
"""

import io
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg  # deprecated in 0.29, not replaced there

from reproduce.utils.errors import UserError

try:
    simplejpeg: Any = import_module("simplejpeg")
except ImportError:
    simplejpeg = None

CURE = "replace it by a good copy (`make check-data DATA=... DECODE=1` lists all such files)"
PROGRESSIVE = 0xC2
FRAMES = {0xC0, 0xC1, PROGRESSIVE}  # what libjpeg decodes: baseline, extended sequential, progressive
SCAN = 0xDA  # begins the compressed pixels
END = b"\xff\xd9"
MARGIN = 2  # rows: chroma is interpolated between neighbours, so the last row of a shortened image would differ

Rows = Callable[[int, int], int]  # (height, width) -> how many rows, from the top, are needed


def read_image(path: str | Path, rows: Rows | None = None) -> Tensor:
    """The file as uint8 RGB [3, H, W]; given `rows`, what lies below them is undefined.

    Raises UserError, naming the file, if missing, empty, cut short or no image.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {CURE}") from error
    if not data:
        raise UserError(f"{path}: is empty (0 bytes); {CURE}")
    try:
        return decode(data, rows)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what PIL raises
        raise UserError(f"{path}: not a whole JPEG or PNG ({_reason(error)}); {CURE}") from error


def decode(data: bytes, rows: Rows | None = None) -> Tensor:
    """RGB [3, H, W], uint8. Raises what PIL raises: OSError, SyntaxError, ValueError or DecompressionBombError."""
    frame = Frame.of(data)
    if frame and frame.is_plain:
        try:
            if simplejpeg and data.rfind(END, frame.scan) >= 0:  # simplejpeg would paint what is cut off grey
                return _by_simplejpeg(data, frame, rows)
            return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
        except (RuntimeError, ValueError):  # as a rule cut short; PIL gives the reason
            pass
    return _by_pil(data)


def _by_simplejpeg(data: bytes, frame: "Frame", rows: Rows | None) -> Tensor:
    """The first rows alone where that is enough: the frame header is changed to a lower image, and decoding ends there.

    About half of the time goes into undoing the entropy coding, which can only be done from the top.
    """
    image = torch.empty(frame.height, frame.width, 3, dtype=torch.uint8)
    needed = frame.height if rows is None else rows(frame.height, frame.width) + MARGIN
    if needed < frame.height and frame.marker != PROGRESSIVE:
        shortened = bytearray(data)
        struct.pack_into(">H", shortened, frame.at + 5, needed)
        data = bytes(shortened)
    simplejpeg.decode_jpeg(data, buffer=image.numpy(), strict=False)  # not strict: as lenient as PIL with odd markers
    return image.permute(2, 0, 1)


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


@dataclass(frozen=True)
class Frame:
    """The frame header of a JPEG: where it is, its marker and what it says; `scan` is where the pixels begin."""

    at: int
    marker: int
    height: int
    width: int
    components: int
    scan: int

    @property
    def is_plain(self) -> bool:
        """1 or 3 components and a sane size."""
        pixels = self.height * self.width
        return self.components in (1, 3) and 0 < pixels <= (Image.MAX_IMAGE_PIXELS or pixels)

    @classmethod
    def of(cls, data: bytes) -> "Frame | None":
        """None where the data is no JPEG or there is no frame before the first scan."""
        if data[:2] != b"\xff\xd8":
            return None
        at, frame = 2, None
        while at + 10 <= len(data) and data[at] == 0xFF:
            marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
            if marker in FRAMES:
                height, width, components = struct.unpack_from(">HHB", data, at + 5)
                frame = cls(at, marker, height, width, components, scan=0)
            if marker == SCAN:
                return frame and replace(frame, scan=at)
            at += 1 if marker == 0xFF else 2 + length  # a marker may be preceded by fill bytes
        return None
