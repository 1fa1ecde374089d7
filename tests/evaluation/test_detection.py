"""How a detector is tested on an image: each protocol by what it must be equal to, selection and scales by hand."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from reproduce.evaluation.detection import (
    Detections,
    Look,
    Member,
    Scored,
    Selection,
    View,
    best_scales,
    detect,
    mean_of,
    score_twice,
    select,
)
from reproduce.models.detection_targets import Rpn
from reproduce.models.faster_rcnn import FasterRcnn
from tests.helpers.detectors import small_detector

SIZE = (80, 100)  # of the original image
ALL = Selection(detections=1000)


@pytest.fixture(scope="module")
def net() -> FasterRcnn:
    return tiny()


def tiny(**choices: object) -> FasterRcnn:
    return small_detector(**({"rpn": Rpn(before_nms=(200, 100), proposals=(50, 12))} | choices)).eval()


def view(scale: float) -> View:
    height, width = (round(side * scale) for side in SIZE)
    pixels = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    return View(torch.nn.functional.interpolate(pixels, (height, width), mode="bilinear"), scale, SIZE)


def same(a: Detections, b: Detections) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("boxes", "scores", "classes"))


# Protocols


def test_baseline_is_what_the_net_says_after_suppression(net: FasterRcnn) -> None:
    found = detect([Member(net, [view(1.0)])], "baseline", Selection())
    with torch.no_grad():
        scores, boxes = net(view(1.0).image, 1.0)
    expected = select(scores, boxes, Selection(), voting=False)
    assert same(found, expected)
    assert 0 < len(found.boxes) <= 36
    assert float(found.boxes[:, 2].max()) <= 100
    assert float(found.boxes[:, 3].max()) <= 80


def test_boxes_are_in_pixels_of_the_original_image(net: FasterRcnn) -> None:
    found = detect([Member(net, [view(1.5)])], "baseline", Selection())
    with torch.no_grad():
        scores, boxes = net(view(1.5).image, 1.5)
    expected = select(scores, boxes, Selection(), voting=False)
    assert torch.equal(found.classes, expected.classes)
    torch.testing.assert_close(found.boxes, expected.boxes, rtol=0, atol=1e-3)
    assert float(found.boxes[:, 2].max()) <= 100


def test_refinement_by_a_net_that_moves_nothing_is_the_baseline() -> None:
    still = tiny()
    torch.nn.init.zeros_(still.box.weight)
    rules = Selection(vote_iou=1.0, detections=1000)  # only a box itself votes
    members = [Member(still, [view(1.0)])]
    baseline, refined = (detect(members, name, rules) for name in ("baseline", "refined"))
    assert torch.equal(baseline.classes, refined.classes)
    torch.testing.assert_close(baseline.boxes, refined.boxes, rtol=0, atol=1e-4)
    torch.testing.assert_close(baseline.scores, refined.scores, rtol=0, atol=1e-5)


def test_refinement_scores_the_box_of_the_best_class_once_more(net: FasterRcnn) -> None:
    look, boxes = Look(net, [view(1.0)]), torch.tensor([[10.0, 10, 60, 60], [30, 20, 90, 70]])
    with torch.no_grad():
        scores, moved = score_twice(look.score, boxes)
        first, second = look.score(boxes), (scores[2:], moved[2:])
        best = first[0][:, 1:].argmax(1) + 1
        again = look.score(first[1][range(2), best])
    assert torch.equal(scores[:2], first[0])
    torch.testing.assert_close(second, again)


def test_a_box_moved_out_of_the_image_is_not_scored_again() -> None:
    def score(boxes: Tensor) -> Scored:
        asked.append(len(boxes))
        gone = torch.tensor([[100.0, 0, 100, 50]]).expand(len(boxes), 2, 4)
        return torch.tensor([[0.1, 0.9]]).expand(len(boxes), 2), gone

    asked: list[int] = []
    scores, moved = score_twice(score, torch.tensor([[10.0, 10, 60, 60]]))
    assert asked == [1, 0]
    assert len(select(scores, moved, ALL, voting=True).boxes) == 0


def test_several_scales_of_which_there_is_one_are_refinement(net: FasterRcnn) -> None:
    members = [Member(net, [view(1.0)])]
    assert same(detect(members, "multi-scale", ALL), detect(members, "refined", ALL))


def test_maxout_of_equal_maps_is_the_identity(net: FasterRcnn) -> None:
    once, twice = [Member(net, [view(1.0)])], [Member(net, [view(1.0), view(1.0)])]
    assert same(detect(twice, "multi-scale", ALL), detect(once, "refined", ALL))


@pytest.mark.parametrize("context", [False, True])
def test_maxout_takes_the_larger_of_the_two_best_scales(context: bool) -> None:
    net, views = tiny(context=context), [view(scale) for scale in (1.0, 0.5, 2.0, 4.0)]
    look, boxes = Look(net, views), torch.tensor([[10.0, 10, 60, 60], [0, 0, 100, 80], [30, 20, 90, 70]])
    with torch.no_grad():
        scores, moved = look.score(boxes)
        regions = net.with_context(boxes, SIZE)
        chosen = best_scales(regions, [1.0, 0.5, 2.0, 4.0]).tolist()
        assert chosen[:2] == [[3, 2], [2, 0]]
        seen = [
            [net.describe(look.maps[i], r[None] * views[i].scale) for i in pair]
            for r, pair in zip(regions, chosen, strict=True)
        ]
        expected = net.detect(torch.cat([torch.maximum(*pair) for pair in seen]), boxes, SIZE)
    torch.testing.assert_close((scores, moved), expected)


def test_an_ensemble_of_a_net_with_itself_is_itself(net: FasterRcnn) -> None:
    member = Member(net, [view(1.0)])
    one, two = (detect([member] * n, "baseline", ALL) for n in (1, 2))
    assert torch.equal(one.classes, two.classes)  # the proposals come twice, and the second of two equal boxes goes
    torch.testing.assert_close(one.boxes, two.boxes, rtol=0, atol=1e-3)
    torch.testing.assert_close(one.scores, two.scores, rtol=0, atol=1e-5)


def test_an_ensemble_averages_what_its_nets_say(net: FasterRcnn) -> None:
    looks = [Look(net, [view(1.0)]), Look(tiny(seed=1), [view(1.0)])]
    boxes = torch.tensor([[10.0, 10, 60, 60]])
    with torch.no_grad():
        (a, b), (c, d) = (look.score(boxes) for look in looks)
        scores, moved = mean_of([look.score for look in looks])(boxes)
    torch.testing.assert_close(scores, (a + c) / 2)
    torch.testing.assert_close(moved, (b + d) / 2)
    assert not torch.equal(a, c)


def test_an_image_without_proposals_has_no_detections(net: FasterRcnn) -> None:
    small = View(torch.zeros(1, 3, 8, 8), 1.0, (8, 8))
    for protocol in ("baseline", "refined", "multi-scale"):
        assert len(detect([Member(net, [small])], protocol, Selection()).boxes) == 0


# Scales and selection by hand


@pytest.mark.parametrize(
    ("sides", "expected"),
    [((50, 50), (1000, 800)), ((100, 100), (800, 1000)), ((150, 200), (400, 600)), ((300, 400), (200, 400))],
)
@pytest.mark.parametrize("shorter_sides", [(200, 400, 600, 800, 1000), (600, 1000, 200, 800, 400)])
def test_scales_for_a_region_of_an_image_of_375_by_500(
    sides: tuple[int, int], expected: tuple[int, int], shorter_sides: tuple[int, ...]
) -> None:
    region = torch.tensor([[20.0, 30, 20 + sides[0], 30 + sides[1]]])
    chosen = best_scales(region, [side / 375 for side in shorter_sides])[0]
    assert tuple(shorter_sides[int(index)] for index in chosen) == expected


def candidates() -> Scored:
    """Three regions and two classes, whose boxes overlap (IoU 0.6) but for the last."""
    scores = torch.tensor([[0.1, 0.6, 0.3], [0.1, 0.2, 0.7], [0.1, 0.9, 0.0]])
    boxes = torch.tensor([[0.0, 0, 40, 40], [10, 0, 50, 40], [50, 50, 80, 80]])
    return scores, boxes[:, None].expand(3, 3, 4)


def test_suppression_is_done_class_by_class() -> None:
    found = select(*candidates(), Selection(), voting=False)
    assert found.classes.tolist() == [1, 2, 1]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.7, 0.6]))
    assert found.boxes.tolist() == [[50, 50, 80, 80], [10, 0, 50, 40], [0, 0, 40, 40]]


def test_what_voting_changes_is_the_boxes_alone() -> None:
    plain, voted = (select(*candidates(), Selection(), voting=voting) for voting in (False, True))
    assert torch.equal(plain.scores, voted.scores)
    torch.testing.assert_close(voted.boxes[1], torch.tensor([7.0, 0, 47, 40]))  # (0.7 * 10 + 0.3 * 0) / 1.0
    torch.testing.assert_close(voted.boxes[2], torch.tensor([2.5, 0, 42.5, 40]))  # (0.6 * 0 + 0.2 * 10) / 0.8


def test_a_threshold_and_a_limit() -> None:
    assert select(*candidates(), Selection(score=0.6), voting=False).scores.tolist() == pytest.approx([0.9, 0.7])
    assert select(*candidates(), Selection(detections=1), voting=False).classes.tolist() == [1]
    assert len(select(*candidates(), Selection(nms=0.61), voting=False).scores) == 5
    a, b = candidates()[1][:2, 0]
    assert float(box_iou(a[None], b[None])) == pytest.approx(0.6)
