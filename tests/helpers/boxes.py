"""A small set of annotated images in VOC's layout and in COCO's, to be changed by tests, and published sets."""

import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CLASSES = ["cat", "dining table"]
# Image → its objects: class, inclusive corners as VOC's files have them.
OBJECTS: dict[str, list[tuple[str, tuple[int, int, int, int]]]] = {
    "a": [("cat", (1, 1, 40, 40)), ("dining table", (51, 11, 90, 50))],
    "b": [("dining table", (21, 21, 60, 60))],
    "c": [],
}
SIZE = 100, 80
SAFE: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not in every release of 3.10 and 3.11


def xml(objects: Sequence[tuple[str, Sequence[object]]], size: Sequence[object] = SIZE, extra: str = "") -> str:
    width, height = size
    things = "".join(
        f"<object><name>{name}</name>{extra}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
        f"<ymax>{y2}</ymax></bndbox></object>"
        for name, (x1, y1, x2, y2) in objects
    )
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{things}</annotation>"


def write_voc(root: Path) -> Path:
    """Annotations/, ImageSets/Main/val.txt and JPEGImages/ below the root."""
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    for name, objects in OBJECTS.items():
        (root / "Annotations" / f"{name}.xml").write_text(xml(objects))
        Image.new("RGB", SIZE).save(root / "JPEGImages" / f"{name}.jpg")
    (root / "ImageSets/Main/val.txt").write_text("\n".join(OBJECTS))
    return root


def coco() -> dict[str, Any]:
    """The same boxes, with gaps between the categories' ids."""
    images = [
        {"id": 10 + n, "file_name": f"{name}.jpg", "width": SIZE[0], "height": SIZE[1]}
        for n, name in enumerate(OBJECTS)
    ]
    annotations = [
        {
            "image_id": 10 + n,
            "category_id": 3 if name == "cat" else 7,
            "bbox": [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1],
        }
        for n, objects in enumerate(OBJECTS.values())
        for name, (x1, y1, x2, y2) in objects
    ]
    marks: list[dict[str, Any]] = [
        {"id": n, "area": 900, "iscrowd": 0, "segmentation": [], **row} for n, row in enumerate(annotations, 1)
    ]
    categories = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dining table"}]
    return {"images": images, "annotations": marks, "categories": categories}


def write_coco(root: Path, content: object = None) -> Path:
    """annotations.json, with its images beside it."""
    root.mkdir(parents=True, exist_ok=True)
    for name in OBJECTS:
        Image.new("RGB", SIZE).save(root / f"{name}.jpg")
    path = root / "annotations.json"
    path.write_text(json.dumps(coco() if content is None else content))
    return path


def archive(name: str, folder: Path) -> Path:
    """Unpacked from below DETECTION_CASES (default: data/); else the test is skipped."""
    root = Path(os.environ.get("DETECTION_CASES", "data"))
    found = next(iter(root.rglob(name)), None)
    if found is None:
        pytest.skip(f"{root} has no {name}; DETECTION_CASES names the folder that has it")
    with tarfile.open(found) as tar:
        tar.extractall(folder, **SAFE)
    return folder
