"""Annotations in VOC's layout and in COCO's: what the readers give, and the one line they say of malformed files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reproduce.data.detection.annotations import Annotations, Faults, joined, stem
from reproduce.data.detection.coco import read_coco, read_sets
from reproduce.data.detection.voc import read_devkit, read_list, read_voc
from reproduce.utils.errors import UserError
from tests.helpers.boxes import CLASSES, OBJECTS, SIZE, archive, coco, write_coco, write_voc, xml


def summary(found: Annotations) -> list[tuple[str, tuple[int, int], list[str], list[list[float]]]]:
    return [
        (image.file.name, (image.width, image.height), [found.classes[n] for n in image.labels], image.boxes.tolist())
        for image in found.images
    ]


def test_both_layouts_read_the_same(tmp_path: Path) -> None:
    from_xml, from_json = read_voc(write_voc(tmp_path / "voc")), read_coco(write_coco(tmp_path / "coco"))
    assert summary(from_xml) == summary(from_json)
    assert from_xml.classes == from_json.classes == CLASSES
    assert from_json.category_ids == [3, 7]
    first = from_xml.images[0]
    assert first.boxes.dtype == np.float64
    assert first.boxes.tolist() == [[0, 0, 40, 40], [50, 10, 90, 50]]
    assert (first.id, first.labels.tolist(), first.area.tolist()) == ("a", [0, 1], [1600, 1600])
    assert from_json.images[0].area.tolist() == [900, 900]
    assert from_xml.images[2].boxes.shape == (0, 4)  # an image without objects stays


def test_a_list_selects_and_orders_images(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    (root / "ImageSets/Main/some.txt").write_text("\ufeffb\r\na\r\n", encoding="utf-8")
    found = read_voc(root, read_list(root / "ImageSets/Main/some.txt"))
    assert [image.id for image in found.images] == ["b", "a"]


def test_several_sets_are_one(tmp_path: Path) -> None:
    """ "07+12"."""
    write_voc(tmp_path / "VOCdevkit/VOC2007")
    other = write_voc(tmp_path / "VOCdevkit/VOC2012")
    for name in OBJECTS:
        (other / f"Annotations/{name}.xml").rename(other / f"Annotations/2012_{name}.xml")
        (other / f"JPEGImages/{name}.jpg").rename(other / f"JPEGImages/2012_{name}.jpg")
    (other / "ImageSets/Main/val.txt").write_text("2012_b\n")
    found = read_devkit(tmp_path, ["2007-val", "2012-val"], CLASSES)
    assert [image.id for image in found.images] == ["a", "b", "c", "2012_b"]
    with pytest.raises(UserError, match="'a' is there twice"):
        read_devkit(tmp_path, ["2007-val", "2007-val"], CLASSES)
    with pytest.raises(UserError, match="VOC2010"):
        read_devkit(tmp_path, ["2010-val"], CLASSES)
    with pytest.raises(UserError, match="different classes"):
        joined([found, read_voc(other, ["2012_b"])])


def test_sets_of_coco_lie_in_their_folders(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "val2014")
    (tmp_path / "annotations").mkdir()
    path.rename(tmp_path / "annotations/instances_val2014.json")
    assert len(read_sets(tmp_path, ["val2014"]).images) == 3


def test_difficult_and_crowd_are_marked(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc")
    (root / "Annotations/a.xml").write_text(xml(OBJECTS["a"], extra="<difficult>1</difficult>"))
    content = coco()
    content["annotations"][0] |= {"iscrowd": 1, "segmentation": {"counts": [1, 2], "size": [3, 3]}}
    assert read_voc(root).images[0].ignored.tolist() == [True, True]
    assert read_coco(write_coco(tmp_path, content)).images[0].ignored.tolist() == [True, False]


def test_parts_are_no_objects_floats_stay_and_suffixes_may_be_large(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    (root / "Annotations/b.xml").write_text(xml([("cat", (45.7, 2, 60.25, 40))], extra=part))
    (root / "Annotations/b.xml").rename(root / "Annotations/b.XML")
    (root / "JPEGImages/b.jpg").rename(root / "JPEGImages/b.JPG")
    found = read_voc(root).images[1]
    assert found.file.name == "b.JPG"
    np.testing.assert_allclose(found.boxes, [[44.7, 1, 60.25, 40]])


# A box that reaches out of the image, and one without area: the image is 100x80.
OUT, FLAT = (91, 71, 120, 100), (30, 30, 30, 50)


@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_boxes_at_fault_are_refused_repaired_or_kept(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_voc(tmp_path / "voc")
    (root / "Annotations/b.xml").write_text(xml([("cat", OUT), ("cat", FLAT)]))
    content = coco()
    content["annotations"][2]["bbox"] = [90, 70, 30, 30]
    content["annotations"].append(content["annotations"][2] | {"id": 9, "bbox": [29, 29, 0, 21]})
    path = write_coco(tmp_path / "coco", content)

    def read(faults: Faults) -> list[list[float]]:
        found = read_voc(root, faults=faults) if layout == "voc" else read_coco(path, faults=faults)
        return found.images[1].boxes.tolist()

    with pytest.raises(UserError, match="outside of the image of 100x80 pixels"):
        read("error")
    assert read("repair") == [[90, 70, *SIZE]]
    assert "1 boxes without area" in capsys.readouterr().err
    assert read("keep") == [[90, 70, 120, 100], [29, 29, 29 + (layout == "voc"), 50]]


def test_files_kept_as_they_stand_need_no_images_nor_sizes(tmp_path: Path) -> None:
    root, content = write_voc(tmp_path / "voc"), coco()
    for name, objects in OBJECTS.items():
        (root / f"JPEGImages/{name}.jpg").unlink()
        (root / f"Annotations/{name}.xml").write_text(xml(objects).replace("<size>", "<s>").replace("</size>", "</s>"))
    content["images"] = [{"id": image["id"]} for image in content["images"]]
    (tmp_path / "a.json").write_text(json.dumps(content))
    kept = read_voc(root, faults="keep"), read_coco(tmp_path / "a.json", faults="keep")
    assert [[image.boxes.tolist() for image in found.images] for found in kept][0] == [
        image.boxes.tolist() for image in kept[1].images
    ]


# ---- Malformed files: one line each ----

Change = Callable[[Path], object]


def in_xml(text: str, name: str = "a") -> Change:
    return lambda root: (root / f"Annotations/{name}.xml").write_text(text)


def replaced(old: str, new: str, name: str = "a") -> Change:
    def act(root: Path) -> None:
        path = root / f"Annotations/{name}.xml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return act


def emptied(root: Path) -> None:
    for path in (root / "Annotations").iterdir():
        path.write_text(xml([]))


def no_files(root: Path) -> None:
    for path in (root / "Annotations").iterdir():
        path.unlink()


def boxed(*corners: object) -> Change:
    return in_xml(xml([("cat", corners)]))


VOC: dict[str, tuple[Change, str]] = {
    "cut off": (in_xml(xml(OBJECTS["a"])[:200]), "a.xml: does not parse as XML"),
    "empty file": (in_xml(""), "a.xml: does not parse as XML"),
    "a picture": (lambda root: (root / "Annotations/a.xml").write_bytes(b"\xff\xd8\xff\0"), "does not parse as XML"),
    "unknown encoding": (in_xml('<?xml version="1.0" encoding="none-such"?><annotation/>'), "does not parse"),
    "another root": (in_xml("<html></html>"), "a.xml: <html> where <annotation> is needed"),
    "missing image": (lambda root: (root / "JPEGImages/b.jpg").unlink(), "b.xml: there is no image of the name b"),
    "missing XML": (lambda root: (root / "Annotations/b.xml").unlink(), "b.xml: there is no such file for a listed"),
    "no XML": (no_files, "no XML files"),
    "no object at all": (emptied, "3 images and no object"),
    "empty list": (lambda root: (root / "ImageSets/Main/val.txt").write_text("\n"), "val.txt: no image is listed"),
    "no list": (lambda root: (root / "ImageSets/Main/val.txt").unlink(), "val.txt: cannot be read"),
    "image listed twice": (lambda root: (root / "ImageSets/Main/val.txt").write_text("a\na\n"), "'a' is there twice"),
    "list in another encoding": (
        lambda root: (root / "ImageSets/Main/val.txt").write_bytes(b"\xe4\n"),
        "val.txt: not a text in UTF-8",
    ),
    "outside": (boxed(1, 1, 101, 40), "object 1: the box 1 1 101 40 (x1 y1 x2 y2) is outside of the image of 100x80"),
    "from zero": (boxed(0, 1, 50, 40), "is outside of the image"),
    "without area": (boxed(5, 5, 5, 40), "has no area"),
    "inverted": (boxed(50, 5, 20, 40), "is inverted"),
    "NaN": (boxed("nan", 5, 20, 40), "<bndbox/xmin> is 'nan', not a number"),
    "a word for a number": (boxed("left", 5, 20, 40), "<bndbox/xmin> is 'left', not a number"),
    "no corner": (replaced("<ymax>40</ymax>", ""), "<bndbox/ymax> is missing"),
    "no name": (replaced("<name>cat</name>", ""), "<name> is missing or empty"),
    "unknown class": (replaced("cat", "zebra"), "unknown class 'zebra'; the classes are cat, dining table"),
    "no size": (replaced("<width>100</width>", ""), "<size/width> is missing"),
    "size of zero": (replaced("<width>100</width>", "<width>0</width>"), "0x80 pixels"),
    "difficult is a word": (replaced("<name>cat</name>", "<name>cat</name><difficult>yes</difficult>"), "'yes'"),
}


@pytest.mark.parametrize("kind", VOC)
def test_malformed_xml_is_one_line(kind: str, tmp_path: Path) -> None:
    change, expected = VOC[kind]
    root = write_voc(tmp_path)
    change(root)
    with pytest.raises(UserError) as caught:
        read_voc(root, read_list(root / "ImageSets/Main/val.txt"), CLASSES)
    assert expected in str(caught.value)
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder"):
        read_voc(tmp_path / "nowhere")


def put(*keys: str | int, value: Any) -> Callable[[dict[str, Any]], Any]:
    """Sets what lies at the keys."""

    def act(content: dict[str, Any]) -> None:
        inner: Any = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return act


def dropped(*keys: str | int) -> Callable[[dict[str, Any]], Any]:
    def act(content: dict[str, Any]) -> None:
        inner: Any = content
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]

    return act


FIRST, BOX = ("annotations", 0), ("annotations", 0, "bbox")
COCO: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no images": (dropped("images"), "images is missing"),
    "no annotations": (dropped("annotations"), "annotations is missing"),
    "no categories": (dropped("categories"), "categories is missing"),
    "images are no list": (put("images", value={}), "images is {}; it has to be a list"),
    "an image is a word": (put("images", 0, value="a.jpg"), "images[0]: 'a.jpg' where an object with keys is needed"),
    "empty images": (lambda content: content.update(images=[], annotations=[]), "no image"),
    "empty annotations": (put("annotations", value=[]), "3 images and no object"),
    "image without id": (dropped("images", 0, "id"), "images[0]: id is missing"),
    "image id is a word": (put("images", 0, "id", value="10"), "images[0]: id is '10'; it has to be a whole number"),
    "image id twice": (put("images", 1, "id", value=10), "image id 10 is there twice"),
    "image without file": (dropped("images", 0, "file_name"), "images[0]: file_name is missing"),
    "missing image": (put("images", 0, "file_name", value="d.jpg"), "there is no image"),
    "no width": (dropped("images", 0, "width"), "images[0]: width is missing"),
    "width of zero": (put("images", 0, "width", value=0), "width is 0; it has to be a whole number from 1 on"),
    "category without name": (dropped("categories", 0, "name"), "categories[0]: name is missing"),
    "category id twice": (put("categories", 1, "id", value=3), "category id 3 is there twice"),
    "category twice": (put("categories", 1, "name", value="cat"), "category 'cat' is there twice"),
    "unknown class": (put("categories", 0, "name", value="zebra"), "unknown class 'zebra'"),
    "unknown category": (put(*FIRST, "category_id", value=4), "annotations[0]: category_id is 4"),
    "unknown image": (put(*FIRST, "image_id", value=99), "no image has its image_id 99"),
    "annotation id twice": (put(*FIRST, "id", value=2), "annotation id 2 is there twice"),
    "no box": (dropped(*BOX), "annotations[0]: bbox is missing"),
    "box of three": (put(*BOX, value=[1, 2, 3]), "bbox is [1, 2, 3]; it has to be a list of four numbers"),
    "box of words": (put(*BOX, value=["1", 2, 3, 4]), "it has to be a list of four numbers"),
    "box of truths": (put(*BOX, value=[True, 2, 3, 4]), "it has to be a list of four numbers"),
    "NaN": (put(*BOX, value=[float("nan"), 2, 3, 4]), "holds what is no number"),
    "huge": (put(*BOX, value=[10**400, 2, 3, 4]), "it has to be a list of four numbers"),
    "inverted": (put(*BOX, value=[10, 2, -3, 4]), "is inverted"),
    "without area": (put(*BOX, value=[10, 2, 0, 4]), "has no area"),
    "outside": (put(*BOX, value=[90, 2, 10.5, 4]), "is outside of the image"),
    "crowd of two": (put(*FIRST, "iscrowd", value=2), "iscrowd is 2; it has to be 0 or 1"),
    "negative area": (put(*FIRST, "area", value=-1), "area is -1"),
}


@pytest.mark.parametrize("kind", COCO)
def test_malformed_json_is_one_line(kind: str, tmp_path: Path) -> None:
    change, expected = COCO[kind]
    content = coco()
    change(content)
    _refused(write_coco(tmp_path, content), expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (json.dumps(coco())[:300].encode(), "not a complete JSON file"),
        (b"", "not a complete JSON file"),
        (b"[" * 100_000, "not a complete JSON file"),
        (b"\xff\xfe{}", "not a text in UTF-8"),
        (b"[]", "a list, as of detections"),
        (b"7", "7 where an object with keys is needed"),
    ],
)
def test_what_is_no_coco_file_is_one_line(content: bytes, expected: str, tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    path.write_bytes(content)
    _refused(path, expected)


def _refused(path: Path, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        read_coco(path, classes=CLASSES)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.official_data
def test_a_hundred_images_of_voc_read_the_same_from_both_layouts(tmp_path: Path) -> None:
    """The corners are the same numbers, which VOC's layout counts from 1: the published converter left them so."""
    root = archive("voc100.tar", tmp_path)
    voc = read_voc(root / "VOCdevkit/VOC2012", read_list(root / "VOCdevkit/VOC2012/ImageSets/Main/val.txt"))
    for name in ("val", "cvat"):
        coco = read_coco(root / f"annotations/instances_{name}.json", faults="keep")
        assert sorted(coco.classes) == voc.classes
        assert _objects(coco) == _objects(voc)
    sizes = {stem(image.file.name): (image.width, image.height) for image in coco.images}
    assert sizes == {image.id: (image.width, image.height) for image in voc.images}


def _objects(found: Annotations) -> dict[str, list[tuple[str, list[float]]]]:
    corners, start = found.corners().tolist(), 0
    result = {}
    for image in found.images:
        rows = zip(image.labels, corners[start : start + len(image.labels)], strict=True)
        result[stem(image.file.name)] = sorted((found.classes[label], row) for label, row in rows)
        start += len(image.labels)
    return result
