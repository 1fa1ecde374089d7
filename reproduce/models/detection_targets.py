"""What a detector learns: which anchors and regions of an image it is shown, what they should say, and the losses."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from reproduce.data.sampling import ANCHOR_BACKGROUND, ANCHOR_FOREGROUND, REGION_BACKGROUND, REGION_FOREGROUND, choose
from reproduce.models.boxes import Size, encode, inside


@dataclass(frozen=True)
class Rpn:
    """How the region proposal network learns and proposes; the defaults are those of [32] and its Python code.

    batch: anchors sampled of an image, of which `positives` at most are foreground. iou: background below the first,
    foreground from the second on. sigma: of smooth L1. nms: IoU above which the worse of two proposals goes.
    before_nms, proposals: proposals before and after it, in training and in testing. min_size: their shortest side in
    pixels of the original image.
    """

    batch: int = 256
    positives: float = 0.5
    iou: tuple[float, float] = (0.3, 0.7)
    sigma: float = 3.0
    nms: float = 0.7
    before_nms: tuple[int, int] = (12_000, 6_000)
    proposals: tuple[int, int] = (2_000, 300)
    min_size: float = 16.0


@dataclass(frozen=True)
class Regions:
    """How the per-region layers learn (Fast R-CNN); the defaults are those of [32] on PASCAL VOC.

    batch: regions sampled of an image, of which `positives` at most are foreground. iou: a region is foreground from
    the second on, background from the first on. sigma: of smooth L1. stds: divisors of the four box targets.
    """

    batch: int = 64
    positives: float = 0.25
    iou: tuple[float, float] = (0.1, 0.5)
    sigma: float = 1.0
    stds: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)


def label_anchors(anchors: Tensor, boxes: Tensor, size: Size, rules: Rpn) -> tuple[Tensor, Tensor]:
    """Labels [n] of anchors [n, 4] by the objects' boxes [g, 4], and for each the box that it overlaps most [n, 4].

    1: foreground, of sufficient IoU or of the highest for some object, ties included; 0: background; -1: neither, or
    not wholly inside the image (Sec. 3.1.2, 3.3 of [32]). An object that no anchor inside overlaps has no best anchor.
    """
    background_below, foreground_from = rules.iou
    within = inside(anchors, size)
    overlaps = _overlaps(anchors, boxes).masked_fill(~within[:, None], -1)  # [n, g + 1]
    most, nearest = overlaps.max(1)
    best = ((overlaps == overlaps.max(0).values) & (overlaps > 0)).any(1)
    labels = torch.full_like(nearest, -1)
    labels[within & (most < background_below)] = 0
    labels[best | (most >= foreground_from)] = 1
    return labels, _with_none(boxes)[nearest]


def sample_anchors(labels: Tensor, key: Sequence[int], rules: Rpn) -> tuple[Tensor, Tensor]:
    """Indices of the foreground and of the background anchors to learn from, drawn by the key."""
    foreground = choose(labels == 1, round(rules.positives * rules.batch), key, ANCHOR_FOREGROUND)
    return foreground, choose(labels == 0, rules.batch - len(foreground), key, ANCHOR_BACKGROUND)


def sample_regions(
    proposals: Tensor, boxes: Tensor, classes: Tensor, key: Sequence[int], rules: Regions
) -> tuple[Tensor, Tensor, Tensor]:
    """Regions to learn from [r, 4], their classes [r] (0: background) and the objects' boxes for them [r, 4].

    Drawn by the key among the proposals [p, 4] and the objects' boxes [g, 4] themselves, of classes [g] from 1 on.
    """
    background_from, foreground_from = rules.iou
    regions = torch.cat([proposals, boxes])
    most, nearest = _overlaps(regions, boxes).max(1)
    foreground = choose(most >= foreground_from, round(rules.positives * rules.batch), key, REGION_FOREGROUND)
    between = (most >= background_from) & (most < foreground_from)
    background = choose(between, rules.batch - len(foreground), key, REGION_BACKGROUND)
    labels = torch.cat([classes[nearest[foreground]], torch.zeros_like(background)])
    sampled = torch.cat([foreground, background])
    return regions[sampled], labels, _with_none(boxes)[nearest[sampled]]


def _with_none(boxes: Tensor) -> Tensor:
    """[g, 4] -> [g + 1, 4]: one without area as the last, so that an image without objects has a box, too."""
    return F.pad(boxes, (0, 0, 0, 1))


def _overlaps(candidates: Tensor, boxes: Tensor) -> Tensor:
    """IoU of candidates [n, 4] with the boxes [g, 4], and 0 with none of them: [n, g + 1]."""
    return box_iou(candidates, _with_none(boxes))


def rpn_losses(
    logits: Tensor, deltas: Tensor, anchors: Tensor, boxes: Tensor, size: Size, key: Sequence[int], rules: Rpn
) -> tuple[Tensor, Tensor]:
    """Losses of the region proposal network on one image, of its two classes and of its boxes.

    logits [n, 2] and deltas [n, 4] of anchors [n, 4]; objects' boxes [g, 4]. Both are means over the sampled anchors.
    """
    labels, objects = label_anchors(anchors, boxes, size, rules)
    foreground, background = sample_anchors(labels, key, rules)
    sampled = torch.cat([foreground, background])
    targets = encode(anchors[foreground], objects[foreground])
    return _losses(logits[sampled], labels[sampled], deltas[foreground], targets, rules.sigma)


def region_losses(
    logits: Tensor, deltas: Tensor, regions: Tensor, labels: Tensor, objects: Tensor, rules: Regions
) -> tuple[Tensor, Tensor]:
    """Losses of the per-region layers on one image, of the classes and of the boxes, as means over its regions.

    logits [r, K + 1] and deltas [r, K + 1, 4] of what `sample_regions` gives; only the box of the own class learns.
    """
    foreground = labels.nonzero()[:, 0]
    targets = encode(regions[foreground], objects[foreground]) / regions.new_tensor(rules.stds)
    return _losses(logits, labels, deltas[foreground, labels[foreground]], targets, rules.sigma)


def _losses(logits: Tensor, labels: Tensor, deltas: Tensor, targets: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Softmax loss, and smooth L1 of the foreground's boxes, both divided by the number of labels; 0 where none is."""
    n = max(1, len(labels))
    classification = F.cross_entropy(logits, labels, reduction="sum") / n
    return classification, F.smooth_l1_loss(deltas, targets, beta=1 / sigma**2, reduction="sum") / n
