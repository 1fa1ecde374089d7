"""Crops resized on the training device: workers only copy the crop region, a tenth of the work of resizing it.

The same filter as in transforms.py (bilinear with antialiasing, rounded to 0-255), as two products of matrices; the
result differs from a worker's by one grey level at most.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

CHUNK = 32  # images at a time: a quarter of a gigabyte of the device's memory
DTYPES = {"cuda": torch.half}  # by type of device, else float: both hold 0..255 exactly


class CropRegions(NamedTuple):
    """What the crops of b images cover, uint8 RGB: `pixels` [bytes], one after the other, each [h, w, 3]; `sizes`
    int64 [b, 2]; `scale` float64 [b], by which each is resized; `flip` bool [b], whether it is mirrored then."""

    pixels: Tensor
    sizes: Tensor
    scale: Tensor
    flip: Tensor


def pack(regions: Sequence[tuple[Tensor, float]], flip: Tensor, pin: bool = False) -> CropRegions:
    """Regions [3, h, w] with their scales, as `transforms.region` gives them, copied once; `pin`: where a GPU reads.

    Numpy copies without Python's lock and in the thread that asks; of its memory, unlike torch's, the system maps two
    megabytes at a time, without which half of the time would go into that.
    """
    sizes = torch.tensor([part.shape[1:] for part, _ in regions])
    n = 3 * int(sizes.prod(1).sum())
    pixels = torch.empty(n, dtype=torch.uint8, pin_memory=True) if pin else torch.from_numpy(np.empty(n, np.uint8))
    whole, begin = pixels.numpy(), 0
    for part, _ in regions:
        end = begin + part.numel()
        np.copyto(whole[begin:end].reshape(*part.shape[1:], 3), part.numpy().transpose(1, 2, 0))
        begin = end
    return CropRegions(pixels, sizes, torch.tensor([scale for _, scale in regions], dtype=torch.float64), flip)


def resample(regions: CropRegions, crop: int, device: torch.device) -> Tensor:
    """uint8 [b, 3, crop, crop] on `device`, resized and mirrored."""
    pixels, begins = regions.pixels.to(device, non_blocking=True), (3 * regions.sizes.prod(1)).cumsum(0).roll(1)
    begins[:1] = 0
    chunks = [slice(i, i + CHUNK) for i in range(0, len(begins), CHUNK)]
    parts = [_resample(pixels, crop, begins[c], regions.sizes[c], regions.scale[c], regions.flip[c]) for c in chunks]
    return torch.cat(parts)


def _resample(pixels: Tensor, crop: int, begins: Tensor, sizes: Tensor, scale: Tensor, flip: Tensor) -> Tensor:
    device, (height, width) = pixels.device, sizes.amax(0).tolist()
    begins, sizes, scale, flip = (part.to(device, non_blocking=True) for part in (begins, sizes, scale, flip))
    row, column = torch.arange(height, device=device)[:, None], torch.arange(3 * width, device=device)
    index = begins[:, None, None] + 3 * sizes[:, 1, None, None] * row + column  # beyond an edge: weight 0
    dtype = DTYPES.get(device.type, torch.float)
    x = pixels[index.clamp_(max=len(pixels) - 1)].view(-1, height, width, 3).to(dtype)
    down, across = (_weights(sizes[:, axis], scale, n, crop) for axis, n in ((0, height), (1, width)))
    across = torch.where(flip[:, None, None], across.flip(1), across)
    resized = torch.einsum("biy,byxc,bjx->bcij", down.to(dtype), x, across.to(dtype))
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def _weights(length: Tensor, scale: Tensor, n: int, crop: int) -> Tensor:
    """How much each of n pixels, of which an image has `length` [b], counts for each of the crop's: [b, crop, n].

    A hat as wide as a pixel of the crop, or of the image where that is larger; its sum is 1.
    """
    scale = torch.where((length * scale).floor() == length, 1.0, scale)  # as torch, which resizes n pixels to n by not
    step = 1 / scale[:, None, None]
    pixel, centre = (torch.arange(size, device=scale.device) + 0.5 for size in (n, crop))
    hat = (1 - (pixel - centre[:, None] * step).abs() / step.clamp(min=1)).clamp_(min=0)
    hat *= pixel < length[:, None, None]
    return hat / hat.sum(2, keepdim=True)
