"""PASCAL VOC's layout: Annotations/*.xml, ImageSets/Main/<split>.txt, JPEGImages/*; or a plain folder of such files.

In a plain folder the images lie beside the XML files. An image's id is the name of its XML file without .xml.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from reproduce.data.detection.annotations import (
    IMAGE_SUFFIXES,
    AnnotatedImage,
    Annotations,
    Faults,
    Object,
    annotated,
    complete,
    joined,
    read_bytes,
    read_text,
    unique,
)
from reproduce.utils.errors import UserError

VOC_CLASSES = [
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
]
LAYOUT = "VOC's layout is VOCdevkit/VOC2007/{Annotations,ImageSets/Main,JPEGImages}"


def read_devkit(
    root: Path, sets: Sequence[str], classes: Sequence[str] = VOC_CLASSES, faults: Faults = "error"
) -> Annotations:
    """Sets such as 2007-trainval and 2012-trainval below a folder VOCdevkit, or the folder that holds it, as one."""
    return joined([_read_set(root, name, classes, faults) for name in sets])


def _read_set(root: Path, name: str, classes: Sequence[str], faults: Faults) -> Annotations:
    year, _, split = name.partition("-")
    folders = [root / "VOCdevkit" / f"VOC{year}", root / f"VOC{year}"]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if not split or folder is None:
        raise UserError(f"{root}: no VOCdevkit/VOC{year} for the set {name}; {LAYOUT}, a set is 2007-trainval")
    return read_voc(folder, read_list(folder / "ImageSets" / "Main" / f"{split}.txt"), classes, faults)


def read_list(path: Path) -> list[str]:
    """The images that a list names, one a line. Errors: UserError for no list, an empty one and a name twice."""
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not names:
        raise UserError(f"{path}: no image is listed; a line is the name of an image without its suffix")
    unique(names, "image", path)
    return names


def read_voc(
    folder: Path, names: Sequence[str] | None = None, classes: Sequence[str] | None = None, faults: Faults = "error"
) -> Annotations:
    """The images of a folder: those of these names, in this order, or all by name; and the objects of these classes,
    or of all found, sorted.

    Errors: UserError, naming the file, for all that is amiss; `faults` says what is done about boxes that are.
    """
    inner = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    files = _xml_files(inner)
    names = sorted(files) if names is None else names
    lacking = next((name for name in names if name not in files), None)
    if lacking is not None:
        raise UserError(f"{inner / lacking}.xml: there is no such file for a listed image; add it or correct the list")
    trees = {name: _parse(files[name]) for name in names}
    found = list(classes) if classes is not None else sorted({name for tree in trees.values() for name in _names(tree)})
    reader = _Reader({name: number for number, name in enumerate(found)}, _image_files(inner), faults)
    images = [reader.image(name, files[name], tree) for name, tree in trees.items()]
    return complete(Annotations("voc", found, list(range(1, len(found) + 1)), images), inner)


def _xml_files(folder: Path) -> dict[str, Path]:
    """Name without suffix → file. Errors: UserError for a folder that is not there or has none, and a name twice."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name one with XML files; {LAYOUT}")
    paths = [path for path in folder.iterdir() if path.suffix.lower() == ".xml" and not path.name.startswith(".")]
    if not paths:
        raise UserError(f"{folder}: no XML files; {LAYOUT}")
    unique((path.stem for path in paths), "image", folder)
    return {path.stem: path for path in paths}


def _image_files(inner: Path) -> dict[str, Path]:
    folder = inner.parent / "JPEGImages" if inner.name == "Annotations" else inner
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.stem: path for path in files if path.suffix.lower() in IMAGE_SUFFIXES}


def _parse(path: Path) -> ET.Element:
    """The root of a file. Errors: UserError for one that does not parse or annotates no image."""
    try:
        root = ET.fromstring(read_bytes(path))
    except (ET.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path}: does not parse as XML ({error}); repair or remove it") from None
    if root.tag != "annotation":
        raise UserError(f"{path}: <{root.tag}> where <annotation> is needed; it is no annotation of VOC, remove it")
    return root


def _names(root: ET.Element) -> list[str]:
    return [name for thing in root.findall("object") if (name := (thing.findtext("name") or "").strip())]


class _Reader:
    """Turns XML into images, for given numbers of the classes and files of the images."""

    def __init__(self, labels: dict[str, int], images: dict[str, Path], faults: Faults):
        self.labels, self.images, self.faults = labels, images, faults

    def image(self, name: str, path: Path, root: ET.Element) -> AnnotatedImage:
        if self.faults != "keep" and name not in self.images:
            raise UserError(f"{path}: there is no image of the name {name}; add it (JPEGImages/{name}.jpg)")
        things = [self._object(f"{path}: object {n}", thing) for n, thing in enumerate(root.findall("object"), 1)]
        return annotated(name, self.images.get(name, Path(name)), self._size(path, root), things, self.faults)

    def _size(self, path: Path, root: ET.Element) -> tuple[int, int]:
        if self.faults == "keep" and root.find("size/width") is None:
            return 0, 0
        width, height = (_number(f"{path}: size", root, f"size/{key}") for key in ("width", "height"))
        if self.faults != "keep" and (width < 1 or height < 1):
            raise UserError(f"{path}: size: {width:g}x{height:g} pixels; give the image's width and height")
        return int(width), int(height)

    def _object(self, where: str, thing: ET.Element) -> Object:
        name = (thing.findtext("name") or "").strip()
        if not name:
            raise UserError(f"{where}: <name> is missing or empty; name its class")
        if name not in self.labels:
            known = ", ".join(self.labels)
            raise UserError(f"{where}: unknown class {name!r}; the classes are {known}; correct or remove it")
        corners = [_number(where, thing, f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        difficult = (thing.findtext("difficult") or "0").strip() or "0"
        if difficult not in ("0", "1"):
            raise UserError(f"{where}: <difficult> is {difficult!r}; it has to be 0 or 1")
        return Object(where, self.labels[name], corners, True, difficult == "1")


def _number(where: str, element: ET.Element, path: str) -> float:
    text = element.findtext(path)
    if text is None:
        raise UserError(f"{where}: <{path}> is missing; add it")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: <{path}> is {text.strip()!r}, not a number; correct it")
    return value
