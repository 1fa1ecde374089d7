"""COCO's twelve numbers, by pycocotools."""

import contextlib
import io
from typing import Any

import numpy as np

from reproduce.metrics.detection import Detections, GroundTruth, box_area

TWELVE = [
    *("AP", "AP50", "AP75", "AP-small", "AP-medium", "AP-large"),
    *("AR-1", "AR-10", "AR-100", "AR-small", "AR-medium", "AR-large"),
]


def coco_metrics(
    truth: GroundTruth, found: Detections, images: int, classes: int, iou: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The twelve [12] in [0, 1], -1 where there is nothing to be found, and each class's AP [classes], else NaN.

    A class's AP is the mean over IoU 0.5 to 0.95, or the AP at `iou`. Ignored objects are crowds. Images and
    detections of equal score keep their order.
    """
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        objects = _index(truth.image, truth.label, truth.boxes, images, classes, area=truth.area, iscrowd=truth.ignored)
        detected = _index(
            found.image, found.label, found.boxes, images, classes, area=box_area(found.boxes), score=found.scores
        )
        judge = COCOeval(objects, detected, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
        twelve = np.array(judge.stats)
        if iou is not None:
            judge.params.iouThrs = np.array([iou])
            judge.evaluate()
            judge.accumulate()
    return twelve, _per_class(judge.eval["precision"])


def _per_class(precision: np.ndarray) -> np.ndarray:
    """[thresholds, recalls, classes, areas, numbers of detections], -1: no object → the mean of each class [classes].

    Of all areas and at most 100 detections, as AP is.
    """
    whole = precision[:, :, :, 0, -1]
    return np.where((whole > -1).all((0, 1)), whole.mean((0, 1)), np.nan)


def _index(
    image: np.ndarray, label: np.ndarray, boxes: np.ndarray, images: int, classes: int, **more: np.ndarray
) -> Any:
    """pycocotools' index of boxes; every number counts from 1, for it takes an object of id 0 for none."""
    from pycocotools.coco import COCO

    corners, sides = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    columns: dict[str, list[Any]] = {
        "id": list(range(1, len(boxes) + 1)),
        "image_id": (image + 1).tolist(),
        "category_id": (label + 1).tolist(),
        "bbox": np.hstack([corners, sides]).tolist(),
        "iscrowd": [0] * len(boxes),
        **{name: values.tolist() for name, values in more.items()},
    }
    index = COCO()
    index.dataset = {
        "images": [{"id": number + 1} for number in range(images)],
        "categories": [{"id": number + 1} for number in range(classes)],
        "annotations": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
    }
    index.createIndex()
    return index
