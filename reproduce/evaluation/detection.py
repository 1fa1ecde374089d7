"""How a trained detector is tested: baseline, box refinement, several scales, ensemble (Appendix B, Table 9).

Here boxes are in pixels of the original image, and class 0 is the background.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

from reproduce.models.boxes import Size, sides_reach, suppress, vote
from reproduce.models.faster_rcnn import FasterRcnn, size_of

REGION_AREA = 224**2  # pixels that a region should have at the scale where it is looked at [12]
SMALLEST = 1.0  # pixel: what clipping leaves of a box beside the image is neither a region nor a detection
Scored = tuple[Tensor, Tensor]  # of R boxes: probabilities [R, K + 1], and each class's box [R, K + 1, 4]
Scorer = Callable[[Tensor], Scored]  # of boxes [R, 4]


@dataclass(frozen=True)
class View:
    """An image for a net: [1, 3, H, W], normalised, resized by `scale`; `size`: height and width of the original."""

    image: Tensor
    scale: float
    size: Size


@dataclass(frozen=True)
class Member:
    """A net and an image's views for it; on the first, of the shorter side of its training, it proposes regions."""

    net: FasterRcnn
    views: Sequence[View]


@dataclass(frozen=True)
class Selection:
    """Which detections of an image are kept. `score`: their probability is above it; `detections`: of all classes."""

    nms: float = 0.3
    score: float = 0.0
    detections: int = 100
    vote_iou: float = 0.5


@dataclass(frozen=True)
class Detections:
    """What is found in one image, best first: boxes [n, 4], scores [n], classes [n] from 1 on."""

    boxes: Tensor
    scores: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Protocol:
    """`refined`: regressed boxes are regions once more, and vote; `all_views`: regions are seen at several scales."""

    refined: bool
    all_views: bool


PROTOCOLS = {
    "baseline": Protocol(refined=False, all_views=False),
    "refined": Protocol(refined=True, all_views=False),
    "multi-scale": Protocol(refined=True, all_views=True),
}


@torch.no_grad()
def detect(members: Sequence[Member], protocol: str, selection: Selection) -> Detections:
    """One image tested by a net, or by an ensemble: all score the union of their proposals, and the mean counts.

    The nets are in evaluation mode. `protocol`: a key of PROTOCOLS.
    """
    rules = PROTOCOLS[protocol]
    looks = [Look(member.net, member.views if rules.all_views else member.views[:1]) for member in members]
    regions, score = torch.cat([look.proposals() for look in looks]), mean_of([look.score for look in looks])
    scored = score_twice(score, regions) if rules.refined else score(regions)
    return select(*scored, selection, voting=rules.refined)


class Look:
    """A net's feature maps of an image's views."""

    def __init__(self, net: FasterRcnn, views: Sequence[View]) -> None:
        self.net, self.views, self.size = net, views, views[0].size
        self.maps: list[Tensor] = [net.trunk(view.image) for view in views]

    def proposals(self) -> Tensor:
        """At most 300 regions [R, 4], likeliest first, from the first view."""
        net, features, view = self.net, self.maps[0], self.views[0]
        anchors, outputs = net.anchors_of(features), net.rpn(features)
        boxes = net.propose(outputs, anchors, size_of(view.image), view.scale, training=False)
        return clip_boxes_to_image(boxes / view.scale, self.size)

    def score(self, boxes: Tensor) -> Scored:
        """Of R boxes [R, 4]."""
        return self.net.detect(self._describe(self.net.with_context(boxes, self.size)), boxes, self.size)

    def _describe(self, regions: Tensor) -> Tensor:
        """Regions [R, 4] -> [R, width]: the maximum over the two views that suit each best (maxout, [33])."""
        merged = regions.new_full((len(regions), self.net.width), -torch.inf)
        chosen = best_scales(regions, [view.scale for view in self.views])
        for index, (features, view) in enumerate(zip(self.maps, self.views, strict=True)):
            rows = (chosen == index).any(1)
            merged[rows] = torch.maximum(
                merged[rows], self.net.describe(features, regions[rows] * view.scale).to(merged)
            )
        return merged


def best_scales(regions: Tensor, scales: Sequence[float]) -> Tensor:
    """For regions [R, 4] two of the scales [s], as indices [R, 2]; a single scale counts twice.

    The first brings a region's area nearest to 224 x 224 [12], the second is its neighbour that comes next ("adjacent",
    Appendix B).
    """
    ascending = torch.tensor(scales, device=regions.device).argsort()
    area = (regions[:, 2:] - regions[:, :2]).prod(1)
    distances = (area[:, None] * regions.new_tensor(scales)[ascending] ** 2 - REGION_AREA).abs()
    best = distances.argmin(1, keepdim=True)
    beside = F.pad(distances, (1, 1), value=torch.inf)  # one further to the right than in `distances`
    smaller_is_next = beside.gather(1, best) <= beside.gather(1, best + 2)
    second = torch.where(smaller_is_next, best - 1, best + 1).clamp(min=0)
    return ascending[torch.cat([best, second], 1)]


def mean_of(scorers: Sequence[Scorer]) -> Scorer:
    """An ensemble: probabilities and boxes are averaged."""

    def score(boxes: Tensor) -> Scored:
        scores, moved = zip(*(scorer(boxes) for scorer in scorers), strict=True)
        return torch.stack(scores).mean(0), torch.stack(moved).mean(0)

    return score


def score_twice(score: Scorer, boxes: Tensor) -> Scored:
    """Box refinement: each region's regressed box, that of its best class, is scored as a region, too, [2 R] in all."""
    scores, moved = score(boxes)
    best = scores[:, 1:].argmax(1) + 1
    regions = moved[torch.arange(len(best), device=best.device), best]
    more_scores, more_moved = score(regions[sides_reach(regions, SMALLEST)])
    return torch.cat([scores, more_scores]), torch.cat([moved, more_moved])


def select(scores: Tensor, boxes: Tensor, rules: Selection, *, voting: bool) -> Detections:
    """What is left of scored boxes after non-maximum suppression, class by class, and with it box voting [6]."""
    found = [_of_class(scores[:, label], boxes[:, label], rules, voting) for label in range(1, scores.shape[1])]
    all_scores = torch.cat([kept for _, kept in found])
    classes = torch.cat([torch.full_like(kept, label, dtype=torch.int64) for label, (_, kept) in enumerate(found, 1)])
    best = all_scores.argsort(descending=True, stable=True)[: rules.detections]
    return Detections(torch.cat([kept for kept, _ in found])[best], all_scores[best], classes[best])


def _of_class(scores: Tensor, boxes: Tensor, rules: Selection, voting: bool) -> tuple[Tensor, Tensor]:
    """One class's boxes [n, 4] and scores [n] from candidates [R]."""
    likely = (scores > rules.score) & sides_reach(boxes, SMALLEST)
    scores, boxes = scores[likely], boxes[likely]
    kept = suppress(boxes, scores, rules.nms)
    return vote(boxes[kept], boxes, scores, rules.vote_iou) if voting else boxes[kept], scores[kept]
