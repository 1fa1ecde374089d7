"""Boxes: the anchors that are published, the coder, suppression and voting by hand and against slow loops."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from reproduce.models.boxes import all_anchors, base_anchors, decode, encode, inside, suppress, vote

RATIOS = (0.5, 1, 2)
# Printed in generate_anchors.py of py-faster-rcnn as inclusive pixels counted from 1: x1 and y1 are 1 more than here.
PUBLISHED = [
    (-83, -39, 100, 56),
    (-175, -87, 192, 104),
    (-359, -183, 376, 200),
    (-55, -55, 72, 72),
    (-119, -119, 136, 136),
    (-247, -247, 264, 264),
    (-35, -79, 52, 96),
    (-79, -167, 96, 184),
    (-167, -343, 184, 360),
]


def random_boxes(n: int, seed: int = 0, side: float = 60) -> Tensor:
    corners = torch.rand(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * side
    return torch.cat([corners[:, :2], corners[:, :2] + 4 + corners[:, 2:]], 1)


def test_the_nine_anchors_are_the_published_ones() -> None:
    assert torch.equal(base_anchors((8, 16, 32), RATIOS), torch.tensor(PUBLISHED) - torch.tensor([1.0, 1, 0, 0]))


def test_cocos_fourth_scale() -> None:
    smallest = base_anchors((4, 8, 16, 32), RATIOS)[::4]
    assert smallest.tolist() == [[-38, -16, 54, 32], [-24, -24, 40, 40], [-14, -36, 30, 52]]


@pytest.mark.parametrize(
    ("scales", "size", "count", "within"),
    [
        ((8, 16, 32), (600, 1000), 21_546, 8_151),
        ((8, 16, 32), (600, 800), 17_100, 5_944),  # "about 6000" in [32]
        ((4, 8, 16, 32), (600, 1000), 28_728, 14_072),
        ((4, 8, 16, 32), (600, 800), 22_800, 10_584),
    ],
)
def test_anchors_of_an_image(scales: tuple[int, ...], size: tuple[int, int], count: int, within: int) -> None:
    anchors = all_anchors(base_anchors(scales, RATIOS), *(math.ceil(side / 16) for side in size))
    assert len(anchors) == count
    assert int(inside(anchors, size).sum()) == within


def test_anchors_come_row_by_row_and_position_by_position() -> None:
    base = base_anchors((8, 16), (1,))
    anchors = all_anchors(base, 3, 5).reshape(3, 5, 2, 4)
    for row, column in ((0, 0), (2, 1), (1, 4)):
        assert torch.equal(anchors[row, column], base + 16 * torch.tensor([column, row, column, row]))


def test_inside_takes_the_border_and_nothing_beyond() -> None:
    boxes = torch.tensor([[0, 0, 20, 10], [-1, 0, 5, 5], [0, -1, 5, 5], [0, 0, 21, 5], [0, 0, 5, 11]])
    assert inside(boxes, (10, 20)).tolist() == [True, False, False, False, False]


def test_the_coder_by_hand() -> None:
    source, target = torch.tensor([[0.0, 0, 100, 50]]), torch.tensor([[10.0, 5, 110, 105]])
    torch.testing.assert_close(encode(source, target), torch.tensor([[0.1, 0.6, 0, math.log(2)]]))
    torch.testing.assert_close(
        encode(source, target) / torch.tensor([0.1, 0.1, 0.2, 0.2]), torch.tensor([[1, 6, 0, 3.465736]])
    )
    assert round(float(box_iou(source, target)), 6) == 0.369863


def test_decoding_is_the_way_back() -> None:
    sources, targets = random_boxes(50), random_boxes(50, seed=1)
    torch.testing.assert_close(decode(sources, encode(sources, targets)), targets)
    by_class = torch.stack([encode(sources, targets), torch.zeros_like(sources)], 1)
    torch.testing.assert_close(decode(sources[:, None], by_class), torch.stack([targets, sources], 1))


def test_a_side_grows_62_fold_at_most() -> None:
    grown = decode(torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([[0.0, 0, 1e9, -1e9]]))
    torch.testing.assert_close(grown, torch.tensor([[-492.0, 8, 508, 8]]))


def slow_suppression(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    left = sorted(range(len(boxes)), key=lambda i: -float(scores[i]))
    kept = []
    while left:
        best, *left = left
        kept.append(best)
        left = [i for i in left if float(box_iou(boxes[best : best + 1], boxes[i : i + 1])) <= threshold]
    return kept


def test_suppression_against_a_slow_loop_with_ties() -> None:
    boxes = random_boxes(80)
    scores = (torch.rand(80, generator=torch.Generator().manual_seed(2)) * 5).round()  # six values: many are equal
    assert suppress(boxes, scores, 0.3).tolist() == slow_suppression(boxes, scores, 0.3)
    assert suppress(boxes[:0], scores[:0], 0.3).tolist() == []


def test_an_overlap_of_just_the_threshold_stays() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 1], [1, 0, 2, 1]])  # IoU 1/2
    scores = torch.tensor([0.5, 0.9])
    assert suppress(boxes, scores, 0.5).tolist() == [1, 0]
    assert suppress(boxes, scores, 0.49).tolist() == [1]


def test_voting_by_hand() -> None:
    boxes = torch.tensor([[10.0, 10, 50, 50], [14, 10, 54, 50], [10, 14, 50, 54], [40, 40, 80, 80]])
    voted = vote(boxes[:1], boxes, torch.tensor([0.9, 0.6, 0.3, 0.8]))
    torch.testing.assert_close(voted, torch.tensor([[11.3333, 10.6667, 51.3333, 50.6667]]), rtol=0, atol=5e-5)
    assert torch.equal(vote(boxes[3:], boxes, torch.ones(4)), boxes[3:])
