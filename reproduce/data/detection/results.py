"""Files of detections: COCO's list of results, or a folder of text files, one an image.

A line of text is `class confidence x1 y1 x2 y2`; a class may have several words. Corners are given as the file has
them: whether they are pixels or edges is for the metric to say.
"""

import math
from collections import Counter
from pathlib import Path

import numpy as np

from reproduce.data.detection.annotations import Annotations, Record, read_json, read_text, stem, unique
from reproduce.data.detection.coco import category_names
from reproduce.data.detection.voc import VOC_CLASSES
from reproduce.metrics.detection import Detections
from reproduce.utils.console import log
from reproduce.utils.errors import UserError

LINE = "a line is `class confidence x1 y1 x2 y2`"
Name = str | int  # of an image or a class, in a file of detections
Row = tuple[int, Name, float, tuple[float, ...]]  # image's place, class, score, corners


def read_detections(path: Path, annotations: Annotations, ids: Path | None = None) -> Detections:
    """The detections of a folder of text files, or of a COCO result file, in the order of the images.

    `ids`: a COCO file that says what the ids in a result file mean. Detections of a class that no annotation has are
    left out, and said to be, as both evaluators leave them out. Errors: UserError, naming file and line or entry, for
    what is amiss, and for a detection in an image that is not annotated.
    """
    if path.is_dir():
        rows, labels = _read_texts(path, annotations), _places(annotations.classes)
    else:
        rows, labels = _read_results(path, annotations, ids)
    strange = Counter(str(name) for _, name, _, _ in rows if name not in labels)
    if strange:
        names = ", ".join(sorted(strange))
        log(f"{path}: {strange.total():,} detections of classes without annotations do not count: {names}")
    rows = sorted((row for row in rows if row[1] in labels), key=lambda row: row[0])
    return Detections(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([labels[row[1]] for row in rows], dtype=np.int64),
        np.array([row[3] for row in rows], dtype=np.float64).reshape(-1, 4),
        np.array([row[2] for row in rows], dtype=np.float64),
    )


def _places(names: list[str]) -> dict[Name, int]:
    return {name: number for number, name in enumerate(names)}


# Text files


def _read_texts(folder: Path, annotations: Annotations) -> list[Row]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".txt" and path.name[0] != ".")
    if not files:
        raise UserError(f"{folder}: no text files; one an image is needed, <image>.txt, and {LINE}")
    names = {stem(path.stem): path for path in files}
    unique((stem(path.stem) for path in files), "image", folder)
    places = _stems(annotations)
    rows: list[Row] = []
    for name, path in names.items():
        lines = [(number, line) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
        if lines and name not in places:
            raise UserError(f"{path}: detections of an image that is not annotated; remove the file, or annotate it")
        rows += [_row(f"{path}: line {number}", line, places[name]) for number, line in lines]
    return rows


def _stems(annotations: Annotations) -> dict[str, int]:
    """Name of an image without folder and suffix → its place. Errors: UserError for a name twice."""
    names = [image.id if isinstance(image.id, str) else stem(image.file.name) for image in annotations.images]
    unique(names, "image", "the annotations", "file names without suffix have to tell images apart")
    return {name: number for number, name in enumerate(names)}


def _row(where: str, line: str, place: int) -> Row:
    words = line.rsplit(maxsplit=5)
    if len(words) < 6:
        raise UserError(f"{where}: {line.strip()!r} has {len(line.split())} words; {LINE}")
    try:
        score, *corners = map(float, words[1:])
    except ValueError:
        raise UserError(f"{where}: {line.strip()!r} has a word where a number is needed; {LINE}") from None
    if not all(map(math.isfinite, (score, *corners))):
        raise UserError(f"{where}: {line.strip()!r} holds what is no finite number; {LINE}")
    x1, y1, x2, y2 = corners
    if x2 < x1 - 1 or y2 < y1 - 1:
        raise UserError(f"{where}: {line.strip()!r} has an inverted box; {LINE}, not x y width height")
    return place, words[0].strip(), score, tuple(corners)


# COCO's results


def _read_results(path: Path, annotations: Annotations, ids: Path | None) -> tuple[list[Row], dict[Name, int]]:
    content = read_json(path)
    if not isinstance(content, list):
        raise UserError(f"{path}: not a list; results are [{{image_id, category_id, bbox, score}}, ...]")
    records = [Record(value, f"{path}: entry {number}") for number, value in enumerate(content)]
    places, labels = _ids(path, records, annotations, ids)
    rows: list[Row] = []
    for record in records:
        x1, y1, x2, y2 = corners = record.corners("bbox")
        if not all(map(math.isfinite, corners)) or x2 < x1 or y2 < y1:
            raise record.wrong("bbox", "finite x, y, width, height, the last two 0 or more")
        if _image_id(record) not in places:
            raise record.wrong("image_id", "the id of an annotated image")
        rows.append((places[_image_id(record)], record.whole("category_id"), record.number("score"), corners))
    return rows, labels


def _image_id(record: Record) -> Name:
    text = isinstance(record.value.get("image_id"), str)
    return stem(record.text("image_id")) if text else record.whole("image_id")


def _ids(
    path: Path, records: list[Record], annotations: Annotations, ids: Path | None
) -> tuple[dict[Name, int], dict[Name, int]]:
    """What the ids of results mean: image id → place of the image, category id → place of the class."""
    if ids is not None:
        return _ids_of_file(ids, annotations)
    if annotations.layout == "coco":
        places = {image.id: number for number, image in enumerate(annotations.images)}
        return places, {number: place for place, number in enumerate(annotations.category_ids)}
    used = {_image_id(record) for record in records}
    categories = {record.whole("category_id") for record in records}
    return _images_by_name(path, used, annotations), _classes_by_name(path, categories, annotations)


def _ids_of_file(ids: Path, annotations: Annotations) -> tuple[dict[Name, int], dict[Name, int]]:
    top = Record(read_json(ids), str(ids))
    places, labels = _stems(annotations), _places(annotations.classes)
    images = [(record.whole("id"), stem(record.text("file_name"))) for record in top.records("images")]
    categories = category_names(top)
    return (
        {number: places[name] for number, name in images if name in places},
        {number: labels[name] for number, name in categories.items() if name in labels},
    )


def _images_by_name(path: Path, used: set[Name], annotations: Annotations) -> dict[Name, int]:
    """VOC's images have names only: an id is the name, the number that its digits spell, or the place from 1 on.

    Errors: UserError where no reading fits all ids, or two do and differ.
    """
    names = _stems(annotations)
    numbers = [int(digits) for name in names if (digits := "".join(filter(str.isdecimal, name)))]
    places = range(len(names))
    spelt: dict[Name, int] = dict(zip(numbers, places, strict=True)) if len(set(numbers)) == len(names) else {}
    readings: list[dict[Name, int]] = [_places(list(names)), spelt, {place + 1: place for place in places}]
    fitting = [reading for reading in readings if used <= reading.keys()]
    if not fitting or any(reading[name] != fitting[0][name] for reading in fitting for name in used):
        what = "are none of" if not fitting else "may be more than one of"
        raise UserError(
            f"{path}: its image ids {what} the annotated images' names, the numbers these spell, and their places "
            "from 1 on; say what they mean: --ids COCO.json"
        )
    return fitting[0]


def _classes_by_name(path: Path, used: set[int], annotations: Annotations) -> dict[Name, int]:
    """VOC's classes have names only: an id is the place, from 1 on, among VOC's twenty where all are of these, else
    among the sorted classes annotated. Errors: UserError for another id."""
    labels, official = _places(annotations.classes), set(annotations.classes) <= set(VOC_CLASSES)
    names = VOC_CLASSES if official else sorted(annotations.classes)
    if strange := sorted(used - set(range(1, len(names) + 1))):
        listed = "VOC's twenty classes" if official else f"the {len(names)} classes annotated"
        raise UserError(
            f"{path}: category_id {strange[0]} is no place from 1 on among {listed}; say what it means: --ids COCO.json"
        )
    return {number: labels[name] for number, name in enumerate(names, 1) if name in labels}
