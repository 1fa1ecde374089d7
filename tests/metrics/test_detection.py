"""Average precision on cases worked by hand, and against a loop that follows the development kit line by line."""

import numpy as np
import pytest

from reproduce.metrics.coco import coco_metrics
from reproduce.metrics.detection import (
    Detections,
    GroundTruth,
    area_under,
    box_iou,
    eleven_point_precision,
    voc_average_precision,
)

Rows = list[tuple[int, int, list[float], float]]  # image, class, box, score (or ignored)


def truth(rows: Rows) -> GroundTruth:
    image, label, boxes, ignored = _columns(rows)
    sides = boxes[:, 2:] - boxes[:, :2]
    return GroundTruth(image, label, boxes, sides.prod(1), ignored.astype(bool))


def found(rows: Rows) -> Detections:
    return Detections(*_columns(rows))


def _columns(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    image, label, boxes, last = zip(*rows, strict=True) if rows else ((), (), (), ())
    return np.array(image, int), np.array(label, int), np.array(boxes, float).reshape(-1, 4), np.array(last, float)


def at(x: float) -> list[float]:
    """A box of 10x10 that overlaps none of another place."""
    return [x * 20, 0, x * 20 + 10, 10]


def voc(objects: Rows, detections: Rows, iou: float = 0.5) -> list[float]:
    """Of class 0: 11-point and area."""
    return [
        float(voc_average_precision(truth(objects), found(detections), 2, points, iou)[0]) for points in (True, False)
    ]


FOUR: Rows = [(0, 0, at(x), 0) for x in range(4)]


def test_right_wrong_right_right_of_four() -> None:
    """Precision 1, 1/2, 2/3, 3/4 at recall 1/4, 1/4, 1/2, 3/4."""
    places = [(0, 0.9), (9, 0.8), (1, 0.7), (2, 0.6)]
    assert voc(FOUR, [(0, 0, at(x), s) for x, s in places]) == pytest.approx([27 / 44, 0.625], abs=1e-12)


def test_recall_of_three_tenths_misses_the_fourth_point_as_in_all_published_code() -> None:
    objects: Rows = [(0, 0, at(x), 0) for x in range(10)]
    assert voc(objects, [(0, 0, at(x), 0.9) for x in range(3)]) == pytest.approx([3 / 11, 0.3], abs=1e-12)


def test_a_difficult_object_is_neither_to_be_found_nor_a_mistake_however_often_it_is_found() -> None:
    objects = [*FOUR[:3], (0, 0, at(3), 1.0)]
    right: Rows = [(0, 0, at(x), 0.5) for x in range(3)]
    twice: Rows = [(0, 0, at(3), 0.9), (0, 0, at(3), 0.8)]
    assert voc(objects, right + twice) == voc(FOUR[:3], right) == pytest.approx([1.0, 1.0])
    assert np.isnan(voc([(0, 0, at(3), 1.0)], twice)).all()


def test_a_second_detection_of_an_object_is_wrong_also_if_another_object_is_near() -> None:
    """The kit looks for the best object of all, not of those that are left."""
    near: Rows = [(0, 0, [0, 0, 10, 10], 0), (0, 0, [2, 0, 12, 10], 0)]
    twice: Rows = [(0, 0, [0, 0, 10, 10], 0.9), (0, 0, [0, 0, 10, 10], 0.8)]
    assert voc(near, twice)[1] == 0.5
    assert voc(near, [twice[0], (0, 0, [2, 0, 12, 10], 0.8)])[1] == 1.0


@pytest.mark.parametrize(("width", "expected"), [(5.0, 1.0), (4.999, 0.0)])
def test_an_overlap_of_exactly_the_threshold_is_enough(width: float, expected: float) -> None:
    assert voc([(0, 0, [0, 0, 10, 10], 0)], [(0, 0, [0, 0, width, 10], 0.9)])[1] == expected


def test_equal_scores_keep_the_order_of_images_then_of_detections() -> None:
    objects: Rows = [(0, 0, at(0), 0), (1, 0, at(0), 0)]
    wrong_first: Rows = [(1, 0, at(0), 0.5), (0, 0, at(5), 0.5), (0, 0, at(0), 0.5)]
    assert voc(objects, wrong_first)[1] == pytest.approx(2 / 3)  # wrong, right, right
    right_first: Rows = [(1, 0, at(0), 0.5), (0, 0, at(0), 0.5), (0, 0, at(5), 0.5)]
    assert voc(objects, right_first)[1] == pytest.approx(0.5 + 0.5 * 2 / 3)  # right, wrong, right


def test_another_image_or_class_is_no_object_and_a_class_without_objects_has_no_precision() -> None:
    objects, detections = truth(FOUR[:1]), found([(1, 0, at(0), 0.9), (0, 1, at(0), 0.9)])
    both = voc_average_precision(objects, detections, 2, False)
    assert both[0] == 0
    assert np.isnan(both[1])


def test_nothing_found_is_zero() -> None:
    assert voc(FOUR, []) == [0.0, 0.0]


def test_boxes_without_area_overlap_nothing() -> None:
    point = np.array([[3.0, 3, 3, 3]])
    assert box_iou(point, np.vstack([point, [[0, 0, 10, 10]]])).tolist() == [[0, 0]]


def by_the_kit(objects: Rows, detections: Rows, iou: float) -> tuple[list[float], list[float]]:
    """Recall and precision of class 0 as VOCevaldet.m goes about it: one detection after the other."""
    taken, hits, misses = set(), [], []
    for image, _, box, _ in sorted((row for row in detections if row[1] == 0), key=lambda row: (-row[3], row[0])):
        best, where = -1.0, -1
        for number, (other, label, target, _) in enumerate(objects):
            if (other, label) == (image, 0):
                overlap = float(box_iou(np.array([box]), np.array([target]))[0, 0])
                if overlap > best:
                    best, where = overlap, number
        if best >= iou and objects[where][3]:
            continue
        right = best >= iou and where not in taken
        taken |= {where} if right else set()
        hits.append(float(right))
        misses.append(float(not right))
    n = sum(1 - row[3] for row in objects if row[1] == 0)
    tp, fp = np.cumsum(hits), np.cumsum(misses)
    return (tp / n).tolist(), (tp / (tp + fp)).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_random_sets_agree_with_the_kits_loop(seed: int) -> None:
    draw = np.random.default_rng(seed)

    def rows(n: int, last: np.ndarray) -> Rows:
        corners = draw.integers(0, 12, (n, 2))
        boxes = np.hstack([corners, corners + draw.integers(3, 9, (n, 2))]).astype(float)
        return [
            (int(draw.integers(4)), int(draw.integers(2)), box.tolist(), float(x))
            for box, x in zip(boxes, last, strict=True)
        ]

    objects = [*rows(25, draw.random(25) < 0.2), (0, 0, at(0), 0.0)]
    detections = rows(80, draw.integers(0, 15, 80) / 15)  # many equal scores
    for iou in (0.3, 0.5):
        recall, precision = map(np.array, by_the_kit(objects, detections, iou))
        expected = [eleven_point_precision(recall, precision), area_under(recall, precision)]
        assert voc(objects, detections, iou) == pytest.approx(expected, abs=1e-12)


def test_the_area_is_that_under_the_highest_precision_from_each_recall_on() -> None:
    recall, precision = np.array([0.2, 0.2, 0.4, 0.4, 0.6]), np.array([1, 0.5, 2 / 3, 0.5, 0.6])
    steps = [(0.2, 1.0), (0.2, 2 / 3), (0.2, 0.6)]
    assert area_under(recall, precision) == pytest.approx(sum(width * height for width, height in steps))


# COCO


def test_coco_by_hand() -> None:
    """Six boxes: one found at IoU 0.8, one not, a crowd that takes up two, and one wrong detection last."""
    objects = truth([(0, 0, [0, 0, 40, 40], 0), (0, 0, [100, 0, 140, 40], 0), (0, 0, [0, 100, 200, 200], 1)])
    crowded: Rows = [(0, 0, [10, 110, 50, 150], 0.95), (0, 0, [60, 110, 90, 150], 0.94)]
    detections = found([(0, 0, [0, 0, 40, 32], 0.9), *crowded, (0, 0, [300, 0, 340, 40], 0.1)])
    twelve, per_class = coco_metrics(objects, detections, 1, 2)
    half = 51 / 101  # recall 1/2 is reached at precision 1: 51 of the 101 points
    assert twelve[:3] == pytest.approx([half * 0.7, half, half])  # found at 7 of the 10 thresholds
    assert twelve[3] == -1  # no small object
    assert twelve[8] == pytest.approx(0.5 * 0.7)
    assert per_class[0] == pytest.approx(twelve[0])
    assert np.isnan(per_class[1])
    for iou, expected in ((0.75, half), (0.85, 0.0)):
        assert coco_metrics(objects, detections, 1, 2, iou)[1][0] == pytest.approx(expected)


def test_coco_of_no_detection_is_zero() -> None:
    twelve, _ = coco_metrics(truth(FOUR), found([]), 1, 1)
    assert twelve[:2].tolist() == [0, 0]


def test_coco_at_half_and_the_area_differ_little() -> None:
    """101 points of recall against the area itself."""
    draw = np.random.default_rng(3)
    objects: Rows = [(int(image), 0, at(x), 0) for image in range(40) for x in range(5)]
    shift = draw.normal(0, 1.2, (200, 1)) * np.ones((1, 4))
    detections: Rows = [
        (row[0], 0, (np.array(row[2]) + move).tolist(), float(score))
        for row, move, score in zip(objects, shift, draw.random(200), strict=True)
    ]
    twelve, _ = coco_metrics(truth(objects), found(detections), 40, 1)
    area = voc(objects, detections)[1]
    assert 0.3 < area < 0.999
    assert abs(twelve[1] - area) < 0.01


def test_coco_says_nothing_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    coco_metrics(truth(FOUR), found([]), 1, 1)
    assert capsys.readouterr().out == ""
