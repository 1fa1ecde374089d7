"""Annotated images in one form, whatever the layout they are read from, and what both readers demand of a file."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from reproduce.utils.console import log
from reproduce.utils.errors import UserError

# What is done about a box outside of the image or without area. error: nothing is read (the default). repair: boxes
# are clipped to the image, and those without area left out, as the authors' code does with COCO. keep: they count as
# they stand, as in VOC's development kit and in pycocotools; neither images nor their sizes are needed.
Faults = Literal["error", "repair", "keep"]
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
# A VOC file counts pixels from 1, and the last one is inside: minus this, its corners are the edges of pixels.
PIXELS = np.array([1.0, 1.0, 0.0, 0.0])


@dataclass(frozen=True)
class AnnotatedImage:
    """An image and its n objects.

    `boxes`: float64 [n, 4], half-open x1, y1, x2, y2 in pixels from 0, so that the width is x2 - x1. `labels`: int64
    [n], places in the list of classes. `ignored`: bool [n], VOC's difficult or COCO's crowd. `area`: float64 [n], of
    the object's shape where the file gives it, else of its box. Width and height are 0 where a file kept as it stands
    does not say them.
    """

    id: int | str
    file: Path
    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    area: np.ndarray


@dataclass(frozen=True)
class Annotations:
    """The images of a set, its classes, and the number of each class in result files (COCO's have gaps)."""

    layout: Literal["voc", "coco"]
    classes: list[str]
    category_ids: list[int]
    images: list[AnnotatedImage]

    def corners(self) -> np.ndarray:
        """The corners [n, 4] of all objects as their file has them: of VOC inclusive pixels, of COCO edges."""
        boxes = np.concatenate([image.boxes for image in self.images])
        return boxes + PIXELS if self.layout == "voc" else boxes


@dataclass(frozen=True)
class Object:
    """One object as a file has it; `inclusive`: its corners are pixels counted from 1, as VOC's."""

    where: str
    label: int
    corners: Sequence[float]
    inclusive: bool
    ignored: bool
    area: float | None = None

    def box(self) -> np.ndarray:
        """Half-open [4]."""
        return np.array(self.corners, dtype=np.float64) - (PIXELS if self.inclusive else 0)


def annotated(
    name: int | str, file: Path, size: tuple[int, int], objects: Sequence[Object], faults: Faults
) -> AnnotatedImage:
    """An image of the objects that stay under `faults`. Errors: UserError, naming the object, for a box that does not
    hold corners, and under "error" for one without area or outside of the image."""
    for thing in objects:
        _check(thing, size, faults)
    kept = [(thing, box) for thing in objects if (box := _repaired(thing, size, faults)) is not None]
    if len(kept) < len(objects):
        log(f"{objects[0].where}: {len(objects) - len(kept)} boxes without area in the image are left out")
    boxes = np.array([box for _, box in kept]).reshape(-1, 4)
    of_boxes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    area = [own if thing.area is None else thing.area for (thing, _), own in zip(kept, of_boxes, strict=True)]
    labels, ignored = [thing.label for thing, _ in kept], [thing.ignored for thing, _ in kept]
    return AnnotatedImage(
        name, file, *size, boxes, np.array(labels, np.int64), np.array(ignored, bool), np.array(area, np.float64)
    )


def _check(thing: Object, size: tuple[int, int], faults: Faults) -> None:
    x1, y1, x2, y2 = thing.corners
    text = f"the box {x1:g} {y1:g} {x2:g} {y2:g} (x1 y1 x2 y2)"
    if not all(map(math.isfinite, thing.corners)):
        raise UserError(f"{thing.where}: {text} holds what is no number; correct it or remove the object")
    if x2 < x1 or y2 < y1:
        raise UserError(f"{thing.where}: {text} is inverted; exchange its corners")
    if faults != "error":
        return
    if x2 == x1 or y2 == y1:
        raise UserError(f"{thing.where}: {text} has no area; correct it or remove the object")
    box, (width, height) = thing.box(), size
    if (box < 0).any() or box[2] > width or box[3] > height:
        raise UserError(f"{thing.where}: {text} is outside of the image of {width}x{height} pixels; correct it")


def _repaired(thing: Object, size: tuple[int, int], faults: Faults) -> np.ndarray | None:
    """The box [4], half-open; clipped under "repair", and None there where no area is left."""
    box = thing.box()
    if faults != "repair":
        return box
    x1, y1, x2, y2 = thing.corners
    clipped = box.clip(0, [*size, *size])
    return clipped if x2 > x1 and y2 > y1 and (clipped[2:] > clipped[:2]).all() else None


def joined(parts: Sequence[Annotations]) -> Annotations:
    """Several sets as one ("07+12"). Errors: UserError for an image in two of them or for different classes."""
    first = parts[0]
    if any(part.classes != first.classes for part in parts):
        raise UserError(f"sets of different classes ({_classes(parts)}) cannot be joined; name the classes of both")
    images = [image for part in parts for image in part.images]
    unique((image.id for image in images), "image", "the sets to be joined", "name each set once")
    return replace(first, images=images)


def _classes(parts: Sequence[Annotations]) -> str:
    return ", ".join(sorted(set.union(*(set(part.classes) for part in parts))))


def complete(found: Annotations, where: Path) -> Annotations:
    """The same. Errors: UserError for a set without images or objects."""
    if not found.images:
        raise UserError(f"{where}: no image; name a file or folder that has annotated images")
    if not any(len(image.boxes) for image in found.images):
        raise UserError(f"{where}: {len(found.images):,} images and no object; name annotations that have some")
    return found


def unique(names: Iterable[Any], kind: str, where: object, cure: str = "remove one of the two") -> None:
    """Errors: UserError for a name that comes twice."""
    seen = set()
    for name in names:
        if name in seen:
            raise UserError(f"{where}: {kind} {name!r} is there twice; {cure}")
        seen.add(name)


def stem(name: str) -> str:
    """val2014/COCO_val2014_000000000042.jpg -> COCO_val2014_000000000042; only the suffix of an image is cut off."""
    path = Path(name.replace("\\", "/"))
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name


# What files hold, with its type checked


def read_bytes(path: Path) -> bytes:
    """Errors: UserError for what cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a file that can") from None


def read_text(path: Path) -> str:
    """UTF-8, with or without its mark. Errors: UserError for what cannot be read or is no text."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text in UTF-8 (byte {error.start}); save it as UTF-8") from None


def read_json(path: Path) -> Any:
    """Errors: UserError for what cannot be read or is not JSON, for example because it was cut off."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a complete JSON file ({error}); write or download it again") from None


class Record:
    """A JSON object whose values are asked for by key and type; `where` names it in errors."""

    def __init__(self, value: Any, where: str):
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: {_short(value)} where an object with keys is needed; correct it")
        self.value, self.where = value, where

    def __contains__(self, key: str) -> bool:
        return self.value.get(key) is not None

    def _get(self, key: str, kinds: type | tuple[type, ...], wanted: str) -> Any:
        if key not in self.value:
            raise UserError(f"{self.where}: {key} is missing; it has to be {wanted}")
        value = self.value[key]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise self.wrong(key, wanted)
        return value

    def wrong(self, key: str, wanted: str) -> UserError:
        return UserError(f"{self.where}: {key} is {_short(self.value[key])}; it has to be {wanted}")

    def number(self, key: str) -> float:
        value = self._get(key, (int, float), "a number")
        if not abs(value) < 1e300:
            raise self.wrong(key, "a finite number")
        return float(value)

    def whole(self, key: str, least: int | None = None) -> int:
        """Written as 3 or 3.0."""
        wanted = "a whole number" + ("" if least is None else f" from {least} on")
        value = self._get(key, (int, float), wanted)
        if not abs(value) < 1e300 or value != int(value) or (least is not None and value < least):
            raise self.wrong(key, wanted)
        return int(value)

    def text(self, key: str) -> str:
        value = self._get(key, str, "a name")
        if not value.strip():
            raise self.wrong(key, "a name")
        return str(value).strip()

    def records(self, key: str) -> list["Record"]:
        values = self._get(key, list, "a list")
        return [Record(value, f"{self.where}: {key}[{number}]") for number, value in enumerate(values)]

    def corners(self, key: str) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 of a list x, y, width, height."""
        wanted = "a list of four numbers: x, y, width, height"
        values = self._get(key, list, wanted)
        if len(values) != 4 or {type(value) for value in values} - {int, float}:
            raise self.wrong(key, wanted)
        try:
            x, y, width, height = map(float, values)
        except OverflowError:
            raise self.wrong(key, wanted) from None
        return x, y, x + width, y + height


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
