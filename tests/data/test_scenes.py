"""The drawn scenes: the same in both layouts, the same bits each time, with the odd kinds of official sets."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reproduce.data.detection.annotations import AnnotatedImage
from reproduce.data.detection.coco import read_sets
from reproduce.data.detection.voc import read_devkit
from reproduce.data.synthetic.cifar10 import FORMS
from reproduce.data.synthetic.scenes import CATEGORY_IDS, CROWD_EVERY, draw, write_scenes

TRAIN, TEST = 12, 4
# SHA-256 of the pixels and boxes of the first twelve training scenes.
DRAWN = "06d569f47de0506c3ac085ba09379e4f46d40c811205039f3593b2ed7c762b45"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("cache"), TRAIN, TEST)


@pytest.mark.parametrize(
    ("voc", "coco", "count"), [("2007-trainval", "train2014", TRAIN), ("2007-test", "val2014", TEST)]
)
def test_both_layouts_hold_the_same_images_and_boxes(scenes: Path, voc: str, coco: str, count: int) -> None:
    first = read_devkit(scenes, [voc], list(FORMS))
    second = read_sets(scenes / "coco", [coco], list(FORMS))
    assert second.category_ids == CATEGORY_IDS
    assert len(first.images) == len(second.images) == count
    for one, other in zip(first.images, second.images, strict=True):
        assert one.file.read_bytes() == other.file.read_bytes()
        assert (one.width, one.height) == (other.width, other.height) == Image.open(one.file).size
        assert one.boxes.tolist() == other.boxes.tolist()
        assert one.labels.tolist() == other.labels.tolist()
        assert not (other.ignored & ~one.ignored).any()  # a crowd is difficult in VOC's words


def test_the_odd_kinds_are_there(scenes: Path) -> None:
    empty, border, tiny, grey, four, *_ = images = read_devkit(scenes, ["2007-trainval"], list(FORMS)).images
    assert len(empty.boxes) == 0
    assert border.boxes[0, 0] == 0
    assert _sides(tiny).max() <= 16
    assert Image.open(grey.file).mode == "L"
    assert (len(four.labels), len(set(four.labels))) == (4, 1)
    coco = read_sets(scenes / "coco", ["train2014"]).images
    assert [number for number, image in enumerate(coco) if image.ignored.any()] == [CROWD_EVERY - 1]
    assert all(_sides(image).min() > 3 for image in images if len(image.boxes))


def _sides(image: AnnotatedImage) -> np.ndarray:
    return image.boxes[:, 2:] - image.boxes[:, :2]


def test_a_box_holds_its_form_and_no_more() -> None:
    """A scene with and without its only form differs inside the box alone, and up to each of its sides."""
    scene = draw(0, 1)
    (thing,) = scene.objects
    x1, y1, x2, y2 = thing.box
    brightness = scene.image.float().amax(0)
    assert brightness[y1:y2, x1:x2].max() > brightness[:, x2 + 2 :].max() + 24
    assert thing.area <= (x2 - x1) * (y2 - y1)


def test_written_twice_is_the_same_bytes_and_once_is_enough(scenes: Path, tmp_path: Path) -> None:
    again = write_scenes(tmp_path, TRAIN, TEST)
    assert write_scenes(tmp_path, TRAIN, TEST) == again
    files = sorted(path.relative_to(scenes) for path in scenes.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((scenes / path).read_bytes() == (again / path).read_bytes() for path in files)


@pytest.mark.arithmetic
def test_the_scenes_are_the_same_bits_everywhere() -> None:
    digest = hashlib.sha256()
    for index in range(TRAIN):
        scene = draw(0, index)
        digest.update(scene.image.numpy().tobytes())
        digest.update(str([(thing.label, thing.box, thing.difficult, thing.crowd) for thing in scene.objects]).encode())
    assert digest.hexdigest() == DRAWN
    assert not torch.equal(draw(1, 5).image, draw(0, 5).image)
