"""A detector that a core trains and tests in seconds."""

from reproduce.models.detection_targets import Regions, Rpn
from reproduce.models.faster_rcnn import FasterRcnn, build


def small_detector(**choices: object) -> FasterRcnn:
    """ResNet-18 with small anchors, regions and budgets."""
    values: dict[str, object] = {
        "backbone": "resnet",
        "depth": 18,
        "shortcut": "A",
        "classes": 3,
        "anchor_scales": (2, 4),
        "roi_size": 3,
        "rpn": Rpn(before_nms=(200, 100), proposals=(50, 20)),
        "regions": Regions(batch=16, iou=(0, 0.5)),
    }
    return build(**(values | choices))  # type: ignore[arg-type]
