"""Sec. 3.4's views of a decoded image: scale, crop, flip and colour for training, resize and centre crop for testing.

All resampling is bilinear with antialiasing on uint8, which rounds as PIL's does.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from reproduce.data.sampling import ACROSS, COLOUR, DOWN, FLIP, SIDE, below, hash32

# Eigenvalues and eigenvectors (columns) of the covariance of ImageNet's RGB values in [0, 1], as fb.resnet.torch
# published them (datasets/imagenet.lua). AlexNet's formula, sum of p_i · alpha_i · lambda_i with alpha_i of N(0, 0.1),
# depends on the scale of the pixels: of 0-255 pixels the noise would be larger than the image. In [0, 1] it has a
# standard deviation of 5.5 grey levels along the first axis.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


@dataclass(frozen=True)
class CropParams:
    """What is drawn for each image of a batch [b]: shorter side in pixels, 32-bit hashes of the crop's corner, mirrored
    or not, and the colour added to all its pixels [b, 3] in steps of 0-255."""

    side: Tensor
    down: Tensor
    across: Tensor
    flip: Tensor
    colour: Tensor


def draw(
    seed: int, iteration: int | Tensor, positions: Tensor, shorter_side: tuple[int, int], colour_noise: float
) -> CropParams:
    """The draws for positions j [b] of one iteration. On the CPU, whatever the device of the batch: the same bits."""
    smallest, largest = shorter_side
    of = partial(hash32, seed, iteration, positions[:, None])  # all purposes in one go: [b, purposes]
    size, down, across, flip = of(torch.tensor([SIDE, DOWN, ACROSS, FLIP])).unbind(1)
    normal = _normal(of(COLOUR, torch.arange(3)))  # [b, 3]
    side = smallest + below(largest - smallest + 1, size)
    return CropParams(side, down, across, below(2, flip).bool(), _colour(colour_noise * normal))


def _normal(h: Tensor) -> Tensor:
    """32-bit hashes → N(0, 1) in float64, by the inverse of its distribution function."""
    return math.sqrt(2) * torch.erfinv((2 * h.double() + 1) / 2**32 - 1)


def _colour(alpha: Tensor) -> Tensor:
    """AlexNet's colour noise: alpha [b, 3] → float32 [b, 3] in steps of 0-255."""
    weights = torch.tensor(EIGENVECTORS, dtype=torch.float64) * torch.tensor(EIGENVALUES, dtype=torch.float64)
    return (255 * (alpha[:, None, :] * weights).sum(2)).float()


def training_crop(image: Tensor, side: int, down: int, across: int, crop: int) -> Tensor:
    """A crop x crop part of the image [3, H, W] with a shorter side of `side` >= crop; only that part is resampled.

    `down` and `across`, 32-bit hashes, choose the corner among the pixels of the file. Where the corner is a pixel of
    the resized image too, this is resizing everything and cropping then, but for the taps that would lie beyond the
    crop's edge; elsewhere the resized image's grid is shifted by part of a pixel. The scale is exact.
    """
    part, scale = region(image, side, down, across, crop)
    resized = F.interpolate(_batch_of_one(part), scale_factor=(scale, scale), mode="bilinear", antialias=True)
    return resized[0, :, :crop, :crop]


def region(image: Tensor, side: int, down: int, across: int, crop: int) -> tuple[Tensor, float]:
    """What a training crop covers of the image [3, H, W], as a view [3, h, w], and the scale it is resized by."""
    height, width = image.shape[1:]
    length, scale = _covered(min(height, width), side, crop)
    (top, bottom), (left, right) = _span(height, length, down), _span(width, length, across)
    return image[:, top:bottom, left:right], scale


def _covered(shorter: int, side: int, crop: int) -> tuple[int, float]:
    """How many pixels of an image a crop covers in each direction, begun ones included, and the scale."""
    length, scale = -(-crop * shorter // side), side / shorter
    if length * scale < crop:  # by the rounding of the quotient: as many whole pixels make a crop
        scale = math.nextafter(scale, math.inf)
    return length, scale


def _span(n: int, length: int, hash: int) -> tuple[int, int]:
    """Begin and end, in n pixels, of `length` of them, chosen by a 32-bit hash."""
    start = hash * (n - length + 1) >> 32
    return start, start + length


def rows_needed(height: int, width: int, side: int, down: int, crop: int) -> int:
    """How many rows of the image, from the top, `training_crop` looks at."""
    return _span(height, _covered(min(height, width), side, crop)[0], down)[1]


def resize_shorter(image: Tensor, side: int) -> Tensor:
    """uint8 [3, H, W] → the shorter side `side`, the longer one in proportion (rounded down, as torchvision does)."""
    height, width = image.shape[1:]
    shorter = min(height, width)
    if shorter == side:
        return image
    size = side * height // shorter, side * width // shorter
    return (resized_as_floats if image.is_cuda else resized)(image, size)


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 [3, H, W] → uint8 [3, *size], by a kernel that CPUs have."""
    return F.interpolate(_batch_of_one(image), size=size, mode="bilinear", antialias=True)[0]


def resized_as_floats(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The same to within one grey level; CUDA's kernel with antialiasing takes no uint8."""
    return resized(image.float(), size).round_().to(torch.uint8)


def centre_crop(image: Tensor, crop: int) -> Tensor:
    """The middle crop x crop of [3, H, W]; both sides at least `crop`."""
    top, left = ((n - crop) // 2 for n in image.shape[1:])
    return image[:, top : top + crop, left : left + crop]


def _batch_of_one(image: Tensor) -> Tensor:
    """[3, h, w] → [1, 3, h, w], pixel by pixel in memory, as decoders write it: what fast uint8 kernels want."""
    return image[None].contiguous(memory_format=torch.channels_last)
