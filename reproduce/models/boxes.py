"""Boxes of objects: anchors, the coder, non-maximum suppression, voting.

A box is half-open, [x1, y1, x2, y2] in pixel edges: its width is x2 - x1, and no formula here needs a "+ 1".
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou, nms

STRIDE = (
    16  # image pixels per cell of the map on which regions are proposed and pooled: VGG's conv5_3, ResNet's conv4_x
)
BASE = 16  # side in pixels of the square that scales and ratios start from [32]
LARGEST_LOG_SCALE = math.log(1000 / 16)  # of a decoded side, as in Detectron, so that exp cannot overflow
Size = tuple[int, int]  # height, width of an image in pixels


def base_anchors(scales: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """The anchors of the first position, [scales * ratios, 4]: ratio by ratio (height / width), each in all scales.

    As [32], which rounds the sides of a ratio to whole pixels before it scales them: 23x12, 16x16, 11x22.
    """
    widths = [round(math.sqrt(BASE * BASE / ratio)) for ratio in ratios]
    sides = [(w * s, round(w * r) * s) for w, r in zip(widths, ratios, strict=True) for s in scales]
    return torch.tensor([[BASE - w, BASE - h, BASE + w, BASE + h] for w, h in sides]) / 2


def all_anchors(base: Tensor, height: int, width: int) -> Tensor:
    """The anchors [A, 4] at each position of a map, row by row, a position's together: [height * width * A, 4]."""
    rows, columns = (STRIDE * torch.arange(n, device=base.device) for n in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return (torch.stack([x, y, x, y], -1)[:, :, None] + base).flatten(0, 2)


def inside(boxes: Tensor, size: Size) -> Tensor:
    """Which boxes [n, 4] lie wholly within the image, [n] bool."""
    height, width = size
    return (boxes[:, 0] >= 0) & (boxes[:, 1] >= 0) & (boxes[:, 2] <= width) & (boxes[:, 3] <= height)


def sides_reach(boxes: Tensor, shortest: float) -> Tensor:
    """Whether both sides of boxes [n, 4] are of `shortest` pixels or more, [n] bool."""
    return ((boxes[:, 2:] - boxes[:, :2]) >= shortest).all(1)


def encode(sources: Tensor, targets: Tensor) -> Tensor:
    """(tx, ty, tw, th) that move each source to its target, all [..., 4]: Eq. 2 of [32]."""
    centre, side = _centre_and_side(sources)
    target_centre, target_side = _centre_and_side(targets)
    return torch.cat([(target_centre - centre) / side, (target_side / side).log()], -1)


def decode(sources: Tensor, deltas: Tensor) -> Tensor:
    """The way back: sources and deltas, both [..., 4], to boxes."""
    centre, side = _centre_and_side(sources)
    centre = centre + deltas[..., :2] * side
    half = deltas[..., 2:].clamp(max=LARGEST_LOG_SCALE).exp() * side / 2
    return torch.cat([centre - half, centre + half], -1)


def _centre_and_side(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes [..., 4] -> (x, y) and (width, height), both [..., 2]."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


def suppress(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Indices of the boxes [n, 4] that non-maximum suppression keeps, best score first; equal scores keep their order.

    A box goes where its IoU with a better one that stays is above the threshold. torchvision breaks ties as it likes,
    so it is given ranks instead of scores.
    """
    order = scores.argsort(descending=True, stable=True)
    ranks = torch.arange(len(order), 0, -1, device=boxes.device, dtype=boxes.dtype)
    return order[nms(boxes[order], ranks, threshold)]


def vote(kept: Tensor, boxes: Tensor, scores: Tensor, threshold: float = 0.5) -> Tensor:
    """Box voting of [6]: kept boxes [n, 4] become means of the boxes [m, 4] that overlap them, weighted by scores [m].

    Those whose IoU is at least the threshold vote; the kept boxes are among them.
    """
    weights = (box_iou(kept, boxes) >= threshold) * scores
    return weights @ boxes / weights.sum(1, keepdim=True)
