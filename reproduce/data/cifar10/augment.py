"""Sec. 4.2's augmentation for a whole batch at once: pad 4 pixels on each side, 32x32 random crop, horizontal flip."""

import torch
import torch.nn.functional as F
from torch import Tensor

from reproduce.data.sampling import CROP_AND_FLIP, below, hash32

SIDE = 32


def padding(side: int) -> int:
    """Pixels on each side of an image: 4 of 32; in proportion where the images are shrunk."""
    return side // 8


def normalize(images: Tensor, offset: Tensor, divisor: Tensor) -> Tensor:
    """(images - offset) / divisor in float32; images uint8 [b, 3, h, w], offset and divisor [3, h, w] or [3, 1, 1].

    The divisor is a tensor because CUDA replaces a division by a number with a product, which rounds differently.
    """
    return images.float().sub_(offset).div_(divisor)


def draw(seed: int, iterations: Tensor, positions: Tensor, side: int = SIDE) -> tuple[Tensor, Tensor, Tensor]:
    """Row offset (0..8), column offset (0..8) and flip (bool) of the image at each position j of each iteration.

    `iterations` and `positions` broadcast together, for example [k, 1] and [b] to [k, b]. One hash chooses among the
    9 · 9 · 2 cases, of images of 32 pixels a side.
    """
    offsets = 2 * padding(side) + 1
    case = below(offsets * offsets * 2, hash32(seed, iterations, positions, CROP_AND_FLIP))
    return case // (2 * offsets), case // 2 % offsets, (case % 2).bool()


def crop_flip(images: Tensor, row: Tensor, column: Tensor, flip: Tensor) -> Tensor:
    """Pad with zeros, crop at (row, column), then mirror where `flip`; [b, c, h, w] and three [b] → [b, c, h, w].

    One gather: an output pixel's index in the padded image is row' · width + column'.
    """
    b, c, h, w = images.shape
    down, across = torch.arange(h, device=images.device), torch.arange(w, device=images.device)
    rows = down + row[:, None]
    columns = torch.where(flip[:, None], w - 1 - across, across) + column[:, None]
    pad = padding(h)
    index = (rows[:, :, None] * (w + 2 * pad) + columns[:, None, :]).view(b, 1, h * w)
    padded = F.pad(images, (pad,) * 4).flatten(2)
    return padded.gather(2, index.expand(b, c, h * w)).view(b, c, h, w)
