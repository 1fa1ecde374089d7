"""PASCAL VOC's average precision, 11-point and area, as its development kit (VOCevaldet.m) computes it.

Boxes are half-open, [x1, y1, x2, y2] with width x2 - x1. Of inclusive pixels, given as [x1 - 1, y1 - 1, x2, y2], the
overlap is the kit's own, which adds 1 to every width and height.
"""

from dataclasses import dataclass

import numpy as np

# As floats: the fourth is 0.30000000000000004, so a recall of exactly 3/10 misses it, here as in all published code.
ELEVEN_POINTS = np.linspace(0, 1, 11)


@dataclass(frozen=True)
class GroundTruth:
    """The objects of all images: number of the image [n], class [n], box [n, 4], area [n], ignored [n].

    `ignored`: VOC's difficult or COCO's crowd; it is not to be found, and finding it is no mistake.
    """

    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    area: np.ndarray
    ignored: np.ndarray


@dataclass(frozen=True)
class Detections:
    """What was found in all images: number of the image [m], class [m], box [m, 4], score [m]."""

    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray


def voc_average_precision(
    truth: GroundTruth, found: Detections, classes: int, eleven_point: bool, iou: float = 0.5
) -> np.ndarray:
    """AP of each class [classes] in [0, 1]; NaN for a class without an object to be found."""
    measure = eleven_point_precision if eleven_point else area_under
    present = np.unique(truth.label[~truth.ignored])
    result = np.full(classes, np.nan)
    for label in present:
        result[label] = measure(*recall_and_precision(truth, found, label, iou))
    return result


def recall_and_precision(
    truth: GroundTruth, found: Detections, label: int, iou: float
) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision of a class after each detection that counts, by descending score.

    Equal scores keep the order of the images, and of an image's detections. A detection is right if its best object
    overlaps by `iou` or more and no earlier detection was right by it, and does not count if that object is ignored.
    """
    objects, detected = np.flatnonzero(truth.label == label), np.flatnonzero(found.label == label)
    detected = detected[np.lexsort((found.image[detected], -found.scores[detected]))]
    best, overlap = best_objects(truth, objects, found, detected)
    hit = np.flatnonzero(overlap >= iou)
    right, counts = np.zeros(len(detected), dtype=bool), np.ones(len(detected), dtype=bool)
    right[hit[np.unique(best[hit], return_index=True)[1]]] = True
    counts[hit] = ~truth.ignored[best[hit]]
    n_right = np.cumsum(right[counts])
    return n_right / np.sum(~truth.ignored[objects]), n_right / np.arange(1, len(n_right) + 1)


def best_objects(
    truth: GroundTruth, objects: np.ndarray, found: Detections, detected: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The object of largest overlap in each detection's image, the first of equals, and that overlap (0: none)."""
    best, overlap = np.zeros(len(detected), dtype=np.int64), np.zeros(len(detected))
    images, groups = by_image(truth.image[objects])
    theirs = dict(zip(*by_image(found.image[detected]), strict=True))
    for image, group in zip(images, groups, strict=True):
        if image in theirs:
            mine = theirs[image]
            overlaps = box_iou(found.boxes[detected[mine]], truth.boxes[objects[group]])
            best[mine], overlap[mine] = objects[group[overlaps.argmax(1)]], overlaps.max(1)
    return best, overlap


def by_image(image: np.ndarray) -> tuple[list[int], list[np.ndarray]]:
    """The images that occur, and for each the places where it does, in their order."""
    order = np.argsort(image, kind="stable")
    names, start = np.unique(image[order], return_index=True)
    return names.tolist(), np.split(order, start[1:]) if len(names) else []


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union [n, m] of half-open boxes [n, 4] and [m, 4]; 0 where both are without area."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = sides.clip(0).prod(2)
    union = box_area(a)[:, None] + box_area(b)[None, :] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Area [n] of half-open boxes [n, 4]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def eleven_point_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    """VOC 2007: mean over recalls 0, 0.1, ..., 1 of the highest precision at that recall or beyond."""
    return float(np.mean([precision[recall >= point].max(initial=0) for point in ELEVEN_POINTS]))


def area_under(recall: np.ndarray, precision: np.ndarray) -> float:
    """VOC 2010 to 2012: the area under the precision, made monotone from the right."""
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * monotone))
