"""COCO's layout: annotations/instances_<set>.json and the images in <set>/; or one JSON file and a folder of images."""

from collections.abc import Sequence
from pathlib import Path

from reproduce.data.detection.annotations import (
    AnnotatedImage,
    Annotations,
    Faults,
    Object,
    Record,
    annotated,
    complete,
    joined,
    read_json,
    unique,
)
from reproduce.utils.errors import UserError

FORM = "COCO's annotations are one object with images, annotations and categories"


def read_sets(
    root: Path, sets: Sequence[str], classes: Sequence[str] | None = None, faults: Faults = "error"
) -> Annotations:
    """Sets such as train2014 and val2014 below a folder, as one."""
    files = [(root / "annotations" / f"instances_{name}.json", root / name) for name in sets]
    return joined([read_coco(path, images, classes, faults) for path, images in files])


def read_coco(
    path: Path, images: Path | None = None, classes: Sequence[str] | None = None, faults: Faults = "error"
) -> Annotations:
    """The images of one file, by id, and all their objects; `images`: their folder (default: the file's own).

    `classes`: the categories that there may be; else those of the file, by their ids. Errors: UserError, naming the
    file and what is amiss; `faults` says what is done about boxes that are. Shapes (segmentation) are not read.
    """
    content = read_json(path)
    if isinstance(content, list):
        raise UserError(f"{path}: a list, as of detections; {FORM}")
    top = Record(content, str(path))
    names = category_names(top)
    ids = sorted(names)
    known = list(classes) if classes is not None else [names[number] for number in ids]
    if strange := [name for name in names.values() if name not in known]:
        raise UserError(
            f"{path}: unknown class {strange[0]!r}; the classes are {', '.join(known)}; correct or remove it"
        )
    labels = {number: known.index(names[number]) for number in ids}
    objects = _objects(top, labels)
    read = [_image(record, images or path.parent, objects, faults) for record in top.records("images")]
    unique((image.id for image in read), "image id", path)
    if objects:
        raise UserError(f"{next(iter(objects.values()))[0].where}: no image has its image_id {next(iter(objects))}; "
                        "correct it or add the image")  # fmt: skip
    of_class = {label: number for number, label in labels.items()}
    category_ids = [of_class.get(label, 0) for label in range(len(known))]
    return complete(Annotations("coco", known, category_ids, sorted(read, key=lambda image: int(image.id))), path)


def category_names(top: Record) -> dict[int, str]:
    """Category id → name. Errors: UserError for a category without a name, and for an id or a name twice."""
    rows = [(record.whole("id"), record.text("name")) for record in top.records("categories")]
    unique((number for number, _ in rows), "category id", top.where)
    unique((name for _, name in rows), "category", top.where)
    return dict(rows)


def _objects(top: Record, labels: dict[int, int]) -> dict[int, list[Object]]:
    """The objects of each image id."""
    found: dict[int, list[Object]] = {}
    records = top.records("annotations")
    unique((record.whole("id") for record in records if "id" in record), "annotation id", top.where)
    for record in records:
        found.setdefault(record.whole("image_id"), []).append(_object(record, labels))
    return found


def _object(record: Record, labels: dict[int, int]) -> Object:
    number = record.whole("category_id")
    if number not in labels:
        raise record.wrong("category_id", "the id of a category")
    crowd = record.whole("iscrowd", 0) if "iscrowd" in record else 0
    if crowd > 1:
        raise record.wrong("iscrowd", "0 or 1")
    area = record.number("area") if "area" in record else None
    if area is not None and area < 0:
        raise record.wrong("area", "0 or more")
    return Object(record.where, labels[number], record.corners("bbox"), False, bool(crowd), area)


def _image(record: Record, folder: Path, objects: dict[int, list[Object]], faults: Faults) -> AnnotatedImage:
    """One image; its objects are taken out of `objects`."""
    number, keep = record.whole("id"), faults == "keep"
    name = record.text("file_name") if "file_name" in record or not keep else str(number)
    sizes = [record.whole(key, 1) if key in record or not keep else 0 for key in ("width", "height")]
    if not keep and not (folder / name).is_file():
        raise UserError(f"{record.where}: there is no image {folder / name}; add it or name its folder")
    return annotated(number, folder / name, (sizes[0], sizes[1]), objects.pop(number, []), faults)
