"""What a detector learns from: labels against slow loops, keyed sampling, losses by hand."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from reproduce.data.sampling import choose
from reproduce.models.boxes import all_anchors, base_anchors, encode, inside
from reproduce.models.detection_targets import (
    Regions,
    Rpn,
    label_anchors,
    region_losses,
    rpn_losses,
    sample_anchors,
    sample_regions,
)

SIZE = (150, 200)
ANCHORS = all_anchors(base_anchors((2, 4, 8), (0.5, 1, 2)), 10, 13)
BOXES = torch.tensor([[20.0, 30, 90, 110], [100, 20, 140, 60], [95, 15, 150, 70], [3, 120, 30, 149]])
KEY = (0, 5, 1)


def overlap(a: Tensor, b: Tensor) -> float:
    width = max(0.0, float(min(a[2], b[2]) - max(a[0], b[0])))
    height = max(0.0, float(min(a[3], b[3]) - max(a[1], b[1])))
    areas = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def slow_labels(anchors: Tensor, boxes: Tensor) -> list[int]:
    within = [i for i, a in enumerate(anchors) if a.min() >= 0 and a[2] <= SIZE[1] and a[3] <= SIZE[0]]
    table = {(i, k): overlap(anchors[i], box) for i in within for k, box in enumerate(boxes)}
    highest = [max(table[i, k] for i in within) for k in range(len(boxes))]
    labels = [-1] * len(anchors)
    for i in within:
        values = [table[i, k] for k in range(len(boxes))]
        tied = any(value == top and value > 0 for value, top in zip(values, highest, strict=True))
        labels[i] = 1 if tied or max(values) >= 0.7 else 0 if max(values) < 0.3 else -1
    return labels


def test_labels_against_a_slow_loop() -> None:
    anchors, boxes = ANCHORS.double(), BOXES.double()
    labels, objects = label_anchors(anchors, boxes, SIZE, Rpn())
    assert labels.tolist() == slow_labels(anchors, boxes)
    assert {1, 0, -1} == set(labels.tolist())
    for i in (labels == 1).nonzero()[:, 0]:  # the box of its own highest overlap
        assert torch.equal(objects[i], max(boxes, key=lambda box: overlap(anchors[i], box)))


def test_all_anchors_that_tie_for_the_best_are_foreground() -> None:
    anchors = torch.tensor([[0.0, 0, 40, 40], [20, 0, 60, 40], [100, 100, 140, 140]])
    labels, _ = label_anchors(anchors, torch.tensor([[10.0, 0, 50, 40]]), SIZE, Rpn())
    assert labels.tolist() == [1, 1, 0]


@pytest.mark.parametrize("boxes", [torch.zeros(0, 4), torch.tensor([[0.0, 0, 2, 2]])], ids=["no object", "in a corner"])
def test_an_object_that_no_anchor_overlaps_promotes_none(boxes: Tensor) -> None:
    anchors = ANCHORS[(ANCHORS[:, :2] >= 4).all(1)]
    labels, _ = label_anchors(anchors, boxes, SIZE, Rpn())
    assert torch.equal(labels, torch.where(inside(anchors, SIZE), 0, -1))
    assert (labels == 0).any()


def test_256_anchors_of_which_half_at_most_are_foreground() -> None:
    labels = torch.cat([torch.ones(300), torch.zeros(2000), -torch.ones(500)]).long()
    foreground, background = sample_anchors(labels, KEY, Rpn())
    assert (len(foreground), len(background)) == (128, 128)
    assert bool((labels[foreground] == 1).all())
    assert bool((labels[background] == 0).all())
    foreground, background = sample_anchors(labels[290:], KEY, Rpn())
    assert (len(foreground), len(background)) == (10, 246)


def test_draws_depend_on_the_key_alone() -> None:
    candidates = torch.arange(1000) % 3 > 0
    torch.manual_seed(0)
    drawn = choose(candidates, 50, KEY, 16)
    torch.manual_seed(1)
    assert torch.equal(drawn, choose(candidates, 50, KEY, 16))
    assert len(drawn.unique()) == 50
    assert bool(candidates[drawn].all())
    for other in (choose(candidates, 50, (0, 6, 1), 16), choose(candidates, 50, KEY, 17)):
        assert set(drawn.tolist()) != set(other.tolist())
    assert sorted(choose(candidates, 5000, KEY, 16).tolist()) == candidates.nonzero()[:, 0].tolist()


def test_each_candidate_is_as_likely() -> None:
    counts = torch.zeros(20)
    for iteration in range(2000):
        counts[choose(torch.ones(20, dtype=torch.bool), 5, (0, iteration, 0), 16)] += 1
    assert abs(counts - 500).max() < 5 * math.sqrt(2000 * 0.25 * 0.75)  # five standard deviations


def proposals_around(boxes: Tensor, n: int) -> Tensor:
    moved = boxes.repeat(n, 1) + torch.randn(len(boxes) * n, 4, generator=torch.Generator().manual_seed(3)) * 12
    return torch.cat([moved[:, :2].clamp(min=0), moved[:, 2:].maximum(moved[:, :2].clamp(min=0) + 8)], 1)


@pytest.mark.parametrize("lowest", [0.1, 0.0])
def test_64_regions_of_which_a_quarter_at_most_are_foreground(lowest: float) -> None:
    proposals = torch.cat([proposals_around(BOXES, 100), ANCHORS[::3]])
    classes = torch.tensor([3, 1, 2, 1])
    rules = Regions(iou=(lowest, 0.5))
    regions, labels, objects = sample_regions(proposals, BOXES, classes, KEY, rules)
    assert len(regions) == 64
    assert int((labels > 0).sum()) == 16
    most, nearest = box_iou(regions, BOXES).max(1)
    assert torch.equal(labels, torch.where(most >= 0.5, classes[nearest], 0))
    assert torch.equal(objects[labels > 0], BOXES[nearest][labels > 0])
    assert lowest <= float(most[labels == 0].min()) < 0.1 + lowest
    again = sample_regions(proposals, BOXES, classes, KEY, rules)
    assert torch.equal(regions, again[0])
    assert not torch.equal(regions, sample_regions(proposals, BOXES, classes, (0, 6, 1), rules)[0])


def test_objects_are_regions_themselves() -> None:
    regions, labels, objects = sample_regions(torch.zeros(0, 4), BOXES, torch.tensor([3, 1, 2, 1]), KEY, Regions())
    assert sorted(map(tuple, regions.tolist())) == sorted(map(tuple, BOXES.tolist()))
    assert torch.equal(regions, objects)
    assert sorted(labels.tolist()) == [1, 1, 2, 3]


def test_an_image_without_objects_has_background_alone() -> None:
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    regions, labels, _ = sample_regions(ANCHORS, *nothing, KEY, Regions(iou=(0, 0.5)))
    assert len(regions) == 64
    assert not labels.any()
    assert len(sample_regions(ANCHORS, *nothing, KEY, Regions())[0]) == 0  # none overlaps an object by 0.1


@pytest.mark.parametrize(("sigma", "error", "loss"), [(3, 0.05, 0.01125), (3, 1, 0.944444), (1, 1, 0.5), (1, 2, 1.5)])
def test_smooth_l1_of_a_sigma(sigma: float, error: float, loss: float) -> None:
    region = torch.tensor([[0.0, 0, 10, 10]])
    deltas = torch.zeros(1, 2, 4)
    deltas[0, 1, 0] = error
    rules = Regions(sigma=sigma, stds=(1, 1, 1, 1))
    _, box = region_losses(torch.zeros(1, 2), deltas, region, torch.tensor([1]), region, rules)
    assert round(float(box), 6) == loss


def test_region_losses_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    deltas = torch.randn(5, 4, 4, generator=generator, dtype=torch.float64)
    regions, objects = ANCHORS[200:205].double(), ANCHORS[203:208].double()
    labels = torch.tensor([2, 0, 3, 0, 1])
    scores, boxes = region_losses(logits, deltas, regions, labels, objects, Regions())
    by_hand = [0.0, 0.0]
    for row, label in enumerate(labels.tolist()):
        by_hand[0] -= float(logits[row, label]) - math.log(sum(math.exp(value) for value in logits[row].tolist()))
        target = encode(regions[row], objects[row]).tolist()
        for value, wanted, std in zip(deltas[row, label].tolist(), target, (0.1, 0.1, 0.2, 0.2), strict=True):
            error = abs(value - wanted / std)
            by_hand[1] += (label > 0) * (error**2 / 2 if error < 1 else error - 0.5)
    torch.testing.assert_close([float(scores), float(boxes)], [value / 5 for value in by_hand])


def test_rpn_losses_by_hand() -> None:
    anchors = ANCHORS.double()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(len(anchors), 2, generator=generator, dtype=torch.float64)
    deltas = torch.randn(len(anchors), 4, generator=generator, dtype=torch.float64) / 9
    rules = Rpn(batch=32)
    scores, boxes = rpn_losses(logits, deltas, anchors, BOXES.double(), SIZE, KEY, rules)
    labels, objects = label_anchors(anchors, BOXES.double(), SIZE, rules)
    foreground, background = (drawn.tolist() for drawn in sample_anchors(labels, KEY, rules))
    assert len(foreground + background) == 32
    by_hand = [0.0, 0.0]
    for i in foreground + background:
        right = float(logits[i, int(i in foreground)] - logits[i, int(i not in foreground)])
        by_hand[0] += math.log(1 + math.exp(-right))
    for i in foreground:
        for error in (deltas[i] - encode(anchors[i], objects[i])).abs().tolist():
            by_hand[1] += 9 * error**2 / 2 if error < 1 / 9 else error - 1 / 18
    torch.testing.assert_close([float(scores), float(boxes)], [value / 32 for value in by_hand])


def test_losses_of_nothing_are_zero_and_have_a_gradient() -> None:
    logits, deltas = torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 3, 4, requires_grad=True)
    empty = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4)
    losses = region_losses(logits, deltas, *empty, Regions())
    sum(losses, torch.zeros(())).backward()
    assert [float(loss.detach()) for loss in losses] == [0, 0]
    assert logits.grad is not None
    assert deltas.grad is not None
