"""Average precision of anybody's files: annotations and detections in, VOC's or COCO's numbers out.

A file's corners are taken as they stand, VOC's as COCO's x, y, x + width, y + height, which is how the one layout is
commonly converted to the other. The metric says what they are: inclusive pixels for VOC's, whose development kit adds 1
to every width and height, and edges for COCO's, as in pycocotools.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reproduce.data.detection.annotations import PIXELS, Annotations
from reproduce.data.detection.coco import read_coco
from reproduce.data.detection.results import read_detections
from reproduce.data.detection.voc import read_list, read_voc
from reproduce.metrics.coco import TWELVE, coco_metrics
from reproduce.metrics.detection import Detections, GroundTruth, box_area, voc_average_precision
from reproduce.utils.console import table
from reproduce.utils.errors import UserError

METRICS = "voc-11-point", "voc-area", "coco"
VOC_IOU = 0.5


@dataclass(frozen=True)
class Score:
    """AP in percent: of each class, NaN without an object that counts; of COCO the twelve, -1 where there is none."""

    metric: str
    iou: float | None
    per_class: dict[str, float]
    counts: dict[str, int]  # objects that count, of each class
    coco: list[float] | None
    n_images: int
    n_detections: int

    @property
    def map(self) -> float:
        """Mean over the classes that have objects."""
        return float(np.nanmean(list(self.per_class.values())))

    def json(self) -> dict[str, Any]:
        per_class = {name: None if math.isnan(ap) else ap for name, ap in self.per_class.items()}
        found = {"metric": self.metric, "iou": self.iou, "n": self.n_images, "map": self.map}
        return {**found, "per_class": per_class, "coco": self.coco}

    def text(self) -> str:
        """A line a class and the mean, then COCO's twelve."""
        at = "IoU 0.5 to 0.95" if self.iou is None else f"IoU {self.iou:g}"
        head = f"{self.metric} at {at}: {self.n_images:,} images, {self.n_detections:,} detections"
        rows = [(name, f"{self.counts[name]:,}", _percent(ap)) for name, ap in self.per_class.items()]
        rows.append(("mAP", f"{sum(self.counts.values()):,}", _percent(self.map)))
        parts = [head, table(rows, ("class", "objects", "AP in %"), right=(1, 2))]
        if self.coco:
            twelve = [(name, _percent(value)) for name, value in zip(TWELVE, self.coco, strict=True)]
            parts.append(table(twelve, ("COCO", "%"), right=(1,)))
        return "\n\n".join(parts)


def _percent(value: float) -> str:
    return "no object" if math.isnan(value) or value < 0 else f"{value:.2f}"


def score(
    annotations: Path,
    detections: Path,
    metric: str,
    iou: float | None = None,
    images: Path | None = None,
    ids: Path | None = None,
) -> Score:
    """Score detections; `images` lists the images of VOC's that are looked at, `ids`: see read_detections.

    Errors: UserError for an IoU outside of (0, 1], for files that cannot be used, and for no object that counts.
    """
    if iou is not None and not 0 < iou <= 1:
        raise UserError(f"--iou {iou:g}: a number above 0 and at most 1 is needed")
    truth = _annotations(annotations, images)
    found = read_detections(detections, truth, ids)
    return measure(truth, found, metric, iou)


def _annotations(path: Path, images: Path | None) -> Annotations:
    """Objects count as they stand, also those without area or outside of the image, as in both evaluators."""
    if path.is_dir():
        return read_voc(path, None if images is None else read_list(images), faults="keep")
    if images is not None:
        raise UserError(f"--images {images}: selects from a folder of VOC's XML; {path} is none")
    return read_coco(path, faults="keep")


def measure(annotations: Annotations, found: Detections, metric: str, iou: float | None = None) -> Score:
    """Score detections whose corners are those of a file."""
    truth, classes = ground_truth(annotations, metric), annotations.classes
    if truth.ignored.all():
        raise UserError("every object is difficult or a crowd; annotations with one that counts are needed")
    if metric == "coco":
        twelve, per_class = coco_metrics(truth, found, len(annotations.images), len(classes), iou)
        coco = np.where(twelve > -1, 100 * twelve, twelve).tolist()
    else:
        iou, coco = iou or VOC_IOU, None
        inclusive = Detections(found.image, found.label, found.boxes - PIXELS, found.scores)
        per_class = voc_average_precision(truth, inclusive, len(classes), metric == "voc-11-point", iou)
    counts = np.bincount(truth.label[~truth.ignored], minlength=len(classes)).tolist()
    named = dict(zip(classes, (100 * per_class).tolist(), strict=True))
    return Score(
        metric, iou, named, dict(zip(classes, counts, strict=True)), coco, len(annotations.images), len(found.scores)
    )


def ground_truth(annotations: Annotations, metric: str) -> GroundTruth:
    """All objects, their boxes as the metric understands corners; COCO knows no difficult object, only crowds."""
    images, corners = annotations.images, annotations.corners()
    image = np.repeat(np.arange(len(images)), [len(one.boxes) for one in images])
    label, area, ignored = (
        np.concatenate([getattr(one, key) for one in images]) for key in ("labels", "area", "ignored")
    )
    if metric != "coco":
        return GroundTruth(image, label, corners - PIXELS, area, ignored)
    if annotations.layout == "voc":
        area, ignored = box_area(corners), np.zeros_like(ignored)
    return GroundTruth(image, label, corners, area, ignored)
