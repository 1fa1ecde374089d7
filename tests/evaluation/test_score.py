"""`python -m reproduce score`: every pair of layouts, what ids mean, bad input, and published values."""

import json
from pathlib import Path
from typing import Any

import pytest

from reproduce.__main__ import main
from tests.helpers.boxes import OBJECTS, archive, coco, write_coco, write_voc, xml

Say = pytest.CaptureFixture[str]
# Corners as text files have them. The cat and the first table are found, the latter after a wrong detection.
LINES = {
    "a": "cat 0.9 1 1 40 40\ndining table 0.6 51 11 90 50\ndining table 0.8 1 51 30 70\n",
    "b": "dining table 0.3 41 61 80 80\n",
}
TABLE = {
    "voc-area": 25.0,
    "voc-11-point": 100 * 0.5 * 6 / 11,
    "coco": 100 * 0.5 * 51 / 101,
}  # precision 1/2, recall 1/2


def run(say: Say, *words: object) -> dict[str, Any]:
    assert main(["score", *map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(say.readouterr().out.splitlines()[-1])
    return found


def refused(say: Say, *words: object) -> str:
    assert main(["score", *map(str, words)]) == 2
    (line,) = say.readouterr().err.splitlines()
    return line


def texts(folder: Path, lines: dict[str, str] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in (LINES if lines is None else lines).items():
        (folder / f"{name}.txt").write_bytes(text.encode())
    return folder


def results(path: Path, images: dict[str, Any], categories: dict[str, int]) -> Path:
    """The same detections as a result file whose corners are those of the text files."""
    rows = []
    for image, text in LINES.items():
        for line in text.splitlines():
            name, score, *corners = line.rsplit(maxsplit=5)
            x1, y1, x2, y2 = map(float, corners)
            box = [x1, y1, x2 - x1, y2 - y1]
            rows.append(
                {"image_id": images[image], "category_id": categories[name], "bbox": box, "score": float(score)}
            )
    path.write_text(json.dumps(rows))
    return path


def as_converted(root: Path) -> Path:
    """A COCO file whose corners are those of the VOC files, as converters write it."""
    content = coco()
    corners = [box for objects in OBJECTS.values() for _, box in objects]
    for row, (x1, y1, x2, y2) in zip(content["annotations"], corners, strict=True):
        row |= {"bbox": [x1, y1, x2 - x1, y2 - y1]}
    return write_coco(root, content)


BY_NAME, BY_ID = {"cat": 1, "dining table": 2}, {"cat": 3, "dining table": 7}


@pytest.mark.parametrize("metric", TABLE)
def test_all_four_pairs_of_layouts_agree(metric: str, tmp_path: Path, capsys: Say) -> None:
    from_xml, from_json = write_voc(tmp_path / "voc"), as_converted(tmp_path / "coco")
    as_text = texts(tmp_path / "text")
    by_place = results(tmp_path / "place.json", {"a": 1, "b": 2}, BY_NAME)
    by_id = results(tmp_path / "id.json", {"a": 10, "b": 11}, BY_ID)
    pairs = [
        (from_xml, as_text),
        (from_xml / "Annotations", by_place),
        (from_json, as_text),
        (from_json, by_id),
    ]
    found = [run(capsys, "--annotations", a, "--detections", d, "--metric", metric) for a, d in pairs]
    for one in found:
        assert one["per_class"] == pytest.approx({"cat": 100.0, "dining table": TABLE[metric]}, abs=1e-9)
        assert one["map"] == pytest.approx((100 + TABLE[metric]) / 2, abs=1e-9)
        assert one["n"] == 3
    coco_found = [one["coco"] for one in found]
    if metric == "coco":
        assert all(len(one) == 12 for one in coco_found)
        assert coco_found[0][:3] == pytest.approx([found[0]["map"]] * 3)
    else:
        assert coco_found == [None] * 4


def test_the_table_is_for_people(tmp_path: Path, capsys: Say) -> None:
    words = ["--annotations", write_voc(tmp_path / "voc"), "--detections", texts(tmp_path / "text")]
    assert main(["score", *map(str, words), "--metric", "coco"]) == 0
    out = capsys.readouterr().out
    for line in (r"cat 1 100.00", "dining table 2 25.25", "mAP 3 62.62", "AP50 62.62", "AP-small no object"):
        assert line in [" ".join(row.split()) for row in out.splitlines()]


def test_the_threshold_is_chosen(tmp_path: Path, capsys: Say) -> None:
    """Half of the cat is found."""
    words = [
        "--annotations",
        write_voc(tmp_path / "voc"),
        "--detections",
        texts(tmp_path / "t", {"a": "cat 1 1 1 20 40"}),
    ]
    for metric in TABLE:
        cats = [run(capsys, *words, "--metric", metric, "--iou", iou)["per_class"]["cat"] for iou in (0.45, 0.55)]
        assert cats == pytest.approx([100, 0], abs=1e-9), metric
    assert run(capsys, *words, "--metric", "voc-area")["per_class"]["cat"] == 100  # exactly one half, in pixels
    assert "--iou 1.5" in refused(capsys, *words, "--metric", "coco", "--iou", "1.5")
    assert "--iou nan" in refused(capsys, *words, "--metric", "coco", "--iou", "nan")


def test_text_as_others_write_it(tmp_path: Path, capsys: Say) -> None:
    """Windows line ends, a byte order mark, empty lines, floats, exponents, large suffixes, an image without lines."""
    lines = {"a": "\ufeffcat 9e-1 1.0 1.0 40.0 40.0\r\n\r\n  dining table\t.6 51 11 90 50 \r\n", "c": ""}
    folder = texts(tmp_path / "text", lines)
    (folder / "a.txt").rename(folder / "a.TXT")
    (folder / "._a.txt").write_bytes(b"\0\1")
    (folder / "README.md").write_text("not a detection")
    found = run(capsys, "--annotations", write_voc(tmp_path / "v"), "--detections", folder, "--metric", "voc-area")
    assert found["per_class"] == {"cat": 100.0, "dining table": 50.0}


def test_classes_without_annotations_do_not_count_and_are_named(tmp_path: Path, capsys: Say) -> None:
    words = ["--annotations", write_voc(tmp_path / "voc"), "--metric", "voc-area", "--detections"]
    zebras = texts(tmp_path / "text", {"a": LINES["a"] + "zebra 0.99 1 1 40 40\n", "b": LINES["b"]})
    assert main(["score", *map(str, words), str(zebras), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["map"] == 62.5
    assert "1 detections of classes without annotations do not count: zebra" in err
    content = coco()
    content["categories"].append({"id": 9, "name": "zebra"})
    words[1] = write_coco(tmp_path / "coco", content)
    found = run(capsys, *words, zebras)
    assert (found["map"], found["per_class"]["zebra"]) == (62.5, None)


def test_difficult_objects_and_crowds(tmp_path: Path, capsys: Say) -> None:
    """Neither count for VOC's metric; COCO's knows no difficult object."""
    root, content = write_voc(tmp_path / "voc"), coco()
    (root / "Annotations/b.xml").write_text(xml(OBJECTS["b"], extra="<difficult>1</difficult>"))
    content["annotations"][2]["iscrowd"] = 1
    path, folder = write_coco(tmp_path / "coco", content), texts(tmp_path / "text")
    found = {
        (a, metric): run(capsys, "--annotations", a, "--detections", folder, "--metric", metric)["per_class"][
            "dining table"
        ]
        for a in (root, path)
        for metric in ("voc-area", "coco")
    }
    assert found[root, "voc-area"] == found[path, "voc-area"] == pytest.approx(50)
    assert found[root, "coco"] == pytest.approx(TABLE["coco"])
    (root / "Annotations/a.xml").write_text(xml(OBJECTS["a"], extra="<difficult>1</difficult>"))
    assert "every object is difficult" in refused(
        capsys, "--annotations", root, "--detections", folder, "--metric", "voc-area"
    )


def test_no_detection_is_zero(tmp_path: Path, capsys: Say) -> None:
    (tmp_path / "none.json").write_text("[]")
    for metric in TABLE:
        for detections in (tmp_path / "none.json", texts(tmp_path / "text", {"a": "", "b": "\n"})):
            words = ["--annotations", tmp_path / "voc", "--detections", detections, "--metric", metric]
            (tmp_path / "voc").exists() or write_voc(tmp_path / "voc")
            assert run(capsys, *words)["map"] == 0


def test_a_list_of_images(tmp_path: Path, capsys: Say) -> None:
    root = write_voc(tmp_path / "voc")
    (tmp_path / "some.txt").write_text("b\n")
    (tmp_path / "text").mkdir()
    words = ["--annotations", root, "--images", tmp_path / "some.txt", "--metric", "voc-area", "--detections"]
    found = run(capsys, *words, texts(tmp_path / "text", {"b": "dining table 0.3 21 21 60 60\n"}))
    assert (found["n"], found["per_class"]) == (1, {"dining table": 100.0})
    assert "a.txt: detections of an image that is not annotated" in refused(capsys, *words, texts(tmp_path / "text"))
    words[1] = write_coco(tmp_path / "coco")
    assert "selects from a folder of VOC's XML" in refused(capsys, *words, tmp_path / "text")


# ---- What ids of a result file mean beside XML ----


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        ({"a": "a", "b": "b"}, {"a": "a", "b": "b.jpg"}),  # the name itself
        ({"a": "a", "b": "b"}, {"a": 1, "b": 2}),  # the place
        ({"a": "000007", "b": "000012"}, {"a": 7, "b": 12}),  # the number that the name spells
        ({"a": "2007_000027", "b": "2008_000001"}, {"a": 2007000027, "b": 2008000001}),
        ({"a": "2007_000027", "b": "2008_000001"}, {"a": 1, "b": 2}),
    ],
)
def test_image_ids(names: dict[str, str], ids: dict[str, Any], tmp_path: Path, capsys: Say) -> None:
    for old, new in names.items():
        (tmp_path / f"{new}.xml").write_text(xml(OBJECTS[old]))
    path = results(tmp_path / "d.json", ids, BY_NAME)
    found = run(capsys, "--annotations", tmp_path, "--detections", path, "--metric", "voc-area")
    assert found["per_class"] == {"cat": 100.0, "dining table": 25.0}


def test_classes_of_voc_have_their_places_among_the_twenty(tmp_path: Path, capsys: Say) -> None:
    (tmp_path / "a.xml").write_text(xml([("cat", (1, 1, 40, 40))]))
    rows = [{"image_id": 1, "category_id": n, "bbox": [1, 1, 39, 39], "score": 0.9 - n / 100} for n in (1, 8, 20)]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    found = run(capsys, "--annotations", tmp_path, "--detections", tmp_path / "d.json", "--metric", "voc-area")
    assert found["per_class"] == {"cat": 100.0}


def test_a_coco_file_says_what_ids_mean(tmp_path: Path, capsys: Say) -> None:
    root, ids = write_voc(tmp_path / "voc"), write_coco(tmp_path / "coco")
    path = results(tmp_path / "d.json", {"a": 10, "b": 11}, BY_ID)
    words = ["--annotations", root, "--detections", path, "--metric", "voc-area"]
    assert "--ids COCO.json" in refused(capsys, *words)
    assert run(capsys, *words, "--ids", ids)["per_class"] == {"cat": 100.0, "dining table": 25.0}


def test_ids_that_may_mean_two_things_are_refused(tmp_path: Path, capsys: Say) -> None:
    for old, new in {"a": "2", "b": "1"}.items():
        (tmp_path / f"image-{new}.xml").write_text(xml(OBJECTS[old]))
    (tmp_path / "image-0.xml").write_text(xml([]))
    words = ["--annotations", tmp_path, "--metric", "voc-area", "--detections"]
    path = results(tmp_path / "d.json", {"a": 2, "b": 1}, BY_NAME)
    assert "may be more than one of" in refused(capsys, *words, path)
    path = results(tmp_path / "d.json", {"a": 2, "b": 1}, {"cat": 0, "dining table": 1})
    (tmp_path / "image-0.xml").unlink()
    assert "category_id 0 is no place from 1 on among the 2 classes annotated" in refused(capsys, *words, path)


# ---- Bad input ----

GOOD = {"image_id": 10, "category_id": 3, "bbox": [0, 0, 40, 40], "score": 0.5}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[{", "not a complete JSON file"),
        ("{}", "not a list; results are"),
        ("[3]", "entry 0: 3 where an object"),
        *(
            (json.dumps([{key: value for key, value in GOOD.items() if key != name}]), f"entry 0: {name} is missing")
            for name in GOOD
        ),
        (json.dumps([GOOD, GOOD | {"image_id": 99}]), "entry 1: image_id is 99; it has to be the id of an annotated"),
        (json.dumps([GOOD | {"image_id": 10.5}]), "image_id is 10.5; it has to be a whole number"),
        (json.dumps([GOOD | {"image_id": "a"}]), "image_id is 'a'"),
        (json.dumps([GOOD | {"score": float("nan")}]), "score is nan; it has to be a finite number"),
        (json.dumps([GOOD | {"score": "0.5"}]), "score is '0.5'; it has to be a number"),
        (json.dumps([GOOD | {"bbox": [0, 0, -4, 4]}]), "the last two 0 or more"),
        (json.dumps([GOOD | {"bbox": [0, 0, float("inf"), 4]}]), "finite x, y, width, height"),
        (json.dumps([GOOD | {"bbox": None}]), "a list of four numbers"),
    ],
)
def test_malformed_results_are_one_line(content: str, expected: str, tmp_path: Path, capsys: Say) -> None:
    path = tmp_path / "d.json"
    path.write_text(content)
    words = ["--annotations", write_coco(tmp_path / "coco"), "--detections", path, "--metric", "coco"]
    line = refused(capsys, *words)
    assert expected in line
    assert str(path) in line


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a", "cat 0.5 1 1 40\n", "line 1: 'cat 0.5 1 1 40' has 5 words; a line is `class confidence x1 y1 x2 y2`"),
        ("a", "\ncat 0.5 1 1 40 x\n", "line 2: 'cat 0.5 1 1 40 x' has a word where a number is needed"),
        ("a", "cat high 1 1 40 40\n", "a word where a number is needed"),
        ("a", "cat nan 1 1 40 40\n", "no finite number"),
        ("a", "cat 0.5 1 1 inf 40\n", "no finite number"),
        ("a", "cat 0.5 50 60 20 20\n", "an inverted box; a line is `class confidence x1 y1 x2 y2`, not x y width"),
        ("z", "cat 0.5 1 1 40 40\n", "z.txt: detections of an image that is not annotated"),
        ("a", "cat 0.5 1 1 40 \xe4\n", "a word where a number is needed"),
    ],
)
def test_malformed_text_is_one_line(name: str, text: str, expected: str, tmp_path: Path, capsys: Say) -> None:
    folder = texts(tmp_path / "text", {name: text})
    words = ["--annotations", write_voc(tmp_path / "voc"), "--detections", folder, "--metric", "voc-area"]
    assert expected in refused(capsys, *words)


def test_missing_files_and_options_are_one_line(tmp_path: Path, capsys: Say) -> None:
    root, folder = write_voc(tmp_path / "voc"), texts(tmp_path / "text")
    (tmp_path / "empty").mkdir()
    rest = ["--metric", "voc-area"]
    assert "nowhere: cannot be read" in refused(capsys, "--annotations", root, "--detections", "nowhere", *rest)
    assert "nowhere: cannot be read" in refused(capsys, "--annotations", "nowhere", "--detections", folder, *rest)
    assert "no text files" in refused(capsys, "--annotations", root, "--detections", tmp_path / "empty", *rest)
    assert "--detections" in refused(capsys, "--annotations", root, *rest)
    assert "invalid choice" in refused(capsys, "--annotations", root, "--detections", folder, "--metric", "voc")
    content = coco()
    content["images"][1]["file_name"] = "other/a.png"
    path = write_coco(tmp_path / "coco", content)
    assert "'a' is there twice" in refused(capsys, "--annotations", path, "--detections", folder, *rest)
    (folder / "a.txt").write_bytes(b"\xe4")
    assert "not a text in UTF-8" in refused(capsys, "--annotations", root, "--detections", folder, *rest)


# ---- Published values ----


@pytest.mark.official_data
def test_the_published_precision_of_cats(tmp_path: Path, capsys: Say) -> None:
    root = archive("toy_cats.tar", tmp_path)
    expected = json.loads((root / "expected.json").read_text())
    for iou in ("0.5", "0.75"):
        for metric, name in (("voc-11-point", "11-point"), ("voc-area", "area")):
            words = ["--annotations", root / "Annotations", "--detections", root / "detections", "--metric", metric]
            found = run(capsys, *words, "--iou", iou)["map"]
            assert round(found, 2) == expected[f"AP at IoU {iou}"][name]


@pytest.mark.official_data
def test_a_hundred_images_of_voc_in_both_layouts_and_metrics(tmp_path: Path, capsys: Say) -> None:
    root = archive("voc100.tar", tmp_path)
    expected = list(json.loads((root / "expected.json").read_text()).values())
    as_xml, as_json, found = "VOCdevkit/VOC2012", "annotations/instances_val.json", root / "detections_coco.json"
    for name, values in expected[0].items():
        kind, iou = name.split("@")
        metric = {"11pt": "voc-11-point", "area": "voc-area"}[kind]
        words = ["--annotations", root / as_xml, "--detections", found, "--metric", metric, "--iou", iou]
        ours = run(capsys, *words)
        assert {**ours["per_class"], "mAP": ours["map"]} == pytest.approx({k: 100 * v for k, v in values.items()})
    for annotations in (as_xml, as_json):
        twelve = run(capsys, "--annotations", root / annotations, "--detections", found, "--metric", "coco")["coco"]
        assert [round(value / 100, 6) for value in twelve] == expected[1]
    words = ["--annotations", root / as_json, "--detections", found, "--metric", "voc-11-point"]
    assert round(run(capsys, *words)["map"] / 100, 6) == expected[2]
