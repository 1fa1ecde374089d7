"""The synthetic detection set: drawn scenes with boxes, written in VOC's layout and in COCO's, made on first use.

The ten forms of cifar10.py beside this file, one to four in a scene: what a net learns of the synthetic ImageNet set is
of use here. Among the training images are the odd kinds of the official sets: one without objects, one whose object is
cut by the border, one with a tiny object, a grey one, one with four objects of a class; and every tenth scene has a
crowd of small forms under one box, which is `iscrowd` in COCO's files and `difficult` in VOC's.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reproduce.data.synthetic.cifar10 import FORMS, cover_of, paint, uniform
from reproduce.data.synthetic.imagenet import encode, write_once

EDITION = 1  # a new number whenever other scenes are drawn: the folder's name holds it
TRAIN, TEST = 240, 60  # images
SHORTER = 120, 200  # pixels; the longer side is 4/3 of it
RADIUS = 0.12, 0.35  # of the shorter side
HIDDEN = 0.3  # more of an object hidden by later ones: it is difficult
ATTEMPTS = 4  # places that are tried for an object
ODD = ("empty", "border", "tiny", "grey", "four")  # the first training images
CROWD_EVERY, CROWD, CROWD_RADIUS = 10, 6, 0.06
CATEGORY_IDS = [1, 2, 3, 5, 8, 13, 21, 34, 55, 90]  # with gaps, as COCO's
KEY = 0x5CE4E

Circle = tuple[float, float, float, float]  # x, y, radius, tilt of a form


@dataclass(frozen=True)
class Drawn:
    """An object: its form's number, half-open box in whole pixels, pixels that are its own, and how it is marked."""

    label: int
    box: tuple[int, int, int, int]
    area: int
    difficult: bool
    crowd: bool


@dataclass(frozen=True)
class Scene:
    """uint8 [3, h, w], its objects, and the kind of file it is written as (see `encode`)."""

    image: Tensor
    objects: list[Drawn]
    kind: str


def write_scenes(folder: Path, train: int = TRAIN, test: int = TEST) -> Path:
    """The root of the set below `folder`, written there unless it is: VOCdevkit/VOC2007 and coco/."""
    size = "" if (train, test) == (TRAIN, TEST) else f"-{train}-{test}"
    return write_once(folder / f"scenes-{EDITION}{size}", partial(_write_all, train=train, test=test))


def draw(split: int, index: int) -> Scene:
    """Scene `index` of a set (0: training): the same bits everywhere."""
    u = uniform(KEY, split, index, torch.arange(16)).tolist()
    odd = ODD[index] if split == 0 and index < len(ODD) else ""
    shorter = SHORTER[0] + int((SHORTER[1] - SHORTER[0] + 1) * u[0])
    h, w = (shorter, shorter * 4 // 3) if u[1] < 0.7 else (shorter * 4 // 3, shorter)
    x, y = (torch.arange(n) - (n - 1) / 2 for n in (w, h))
    ground, slope = 144 * torch.tensor(u[2:5]).view(1, 3, 1, 1), 48 / max(h, w) * (2 * torch.tensor(u[5:7]) - 1)
    image, count = ground + slope[0] * x + (slope[1] * y)[:, None], 1 + int(4 * u[7])
    count = {"empty": 0, "border": 1, "tiny": 1, "four": 4}.get(odd, count)
    crowd_last = index % CROWD_EVERY == CROWD_EVERY - 1
    masks: list[Tensor] = []
    labels = []
    for number in range(count + crowd_last):
        crowd = number == count
        labels.append(int(len(FORMS) * (u[8] if odd == "four" else u[8 + number])))
        cover = _placed((split, index, number), labels[-1], (h, w), "crowd" if crowd else odd, masks)
        masks.append(cover > 0.5)
        colour = uniform(KEY, split, index, number, 0, torch.arange(3)).view(1, 3, 1, 1)
        image = paint(image, ground + 48 + 63 * colour, cover[None])
    noise = 24 * (uniform(KEY, split, index, -1, torch.arange(h * w)).view(h, w) - 0.5)
    objects = _objects(labels, masks, crowd_last)
    return Scene((image[0] + noise).clamp(0, 255).to(torch.uint8), objects, "grey" if odd == "grey" else "")


def _placed(key: tuple[int, ...], label: int, size: tuple[int, int], kind: str, earlier: list[Tensor]) -> Tensor:
    """Share of each pixel [h, w] that an object covers, where it hides little of the earlier ones [h, w], or least."""
    tried = []
    for attempt in range(1, ATTEMPTS + 1):
        v = uniform(KEY, *key, attempt, torch.arange(4)).tolist()
        cover = _cover(label, size, _crowd(v, size) if kind == "crowd" else [_place(v, size, kind)])
        hidden = max((_hidden([*earlier, cover > 0.5], number) for number in range(len(earlier))), default=0.0)
        tried.append((hidden, attempt, cover))
        if hidden <= HIDDEN:
            break
    return min(tried)[2]


def _place(v: list[float], size: tuple[int, int], kind: str) -> Circle:
    """Inside the image, but for the one that its left border cuts."""
    (h, w), shorter = size, min(size)
    radius = 6.0 if kind == "tiny" else shorter * (RADIUS[0] + (RADIUS[1] - RADIUS[0]) * v[0])
    x = 0.2 * radius if kind == "border" else radius + (w - 2 * radius) * v[1]
    return x, radius + (h - 2 * radius) * v[2], radius, 0.4 * (2 * v[3] - 1)


def _crowd(v: list[float], size: tuple[int, int]) -> list[Circle]:
    """Small forms in two rows."""
    (h, w), radius = size, CROWD_RADIUS * min(size)
    step, columns = 2.2 * radius, CROWD // 2
    left, top = radius + (w - step * columns) * v[1], radius + (h - step * 2) * v[2]
    return [(left + step * (n % columns), top + step * (n // columns), radius, 0.4 * v[3]) for n in range(CROWD)]


def _cover(label: int, size: tuple[int, int], circles: list[Circle]) -> Tensor:
    form, (h, w) = list(FORMS.values())[label], size
    across, down = torch.arange(w) + 0.5, (torch.arange(h) + 0.5)[:, None]
    one = torch.ones(1, 1, 1)
    parts = [cover_of(form, across - x, down - y, one, one * tilt, radius) for x, y, radius, tilt in circles]
    return torch.cat(parts).amax(0)


def _hidden(masks: list[Tensor], number: int) -> float:
    """Share of an object that later ones hide."""
    return 1 - float(_visible(masks, number).sum() / masks[number].sum())


def _visible(masks: list[Tensor], number: int) -> Tensor:
    later = masks[number + 1 :]
    return masks[number] & ~torch.stack(later).any(0) if later else masks[number]


def _objects(labels: list[int], masks: list[Tensor], crowd_last: bool) -> list[Drawn]:
    """The boxes hold each object whole, hidden parts too."""
    found = []
    for number, (label, mask) in enumerate(zip(labels, masks, strict=True)):
        (top, *_, bottom), (left, *_, right) = (mask.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
        crowd = crowd_last and number == len(masks) - 1
        area = int(_visible(masks, number).sum())
        difficult = crowd or _hidden(masks, number) > HIDDEN
        found.append(Drawn(label, (left, top, right + 1, bottom + 1), area, difficult, crowd))
    return found


# Files


def _write_all(root: Path, train: int, test: int) -> None:
    scenes = [draw(0, index) for index in range(train)], [draw(1, index) for index in range(test)]
    numbers = range(1, train + 1), range(train + 1, train + test + 1)
    for name, year_set, ids, drawn in zip(("trainval", "test"), ("train2014", "val2014"), numbers, scenes, strict=True):
        files = [encode(scene.image, scene.kind) for scene in drawn]
        _write_voc(root / "VOCdevkit" / "VOC2007", name, ids, drawn, files)
        _write_coco(root / "coco", year_set, ids, drawn, files)


def _write_voc(root: Path, split: str, ids: Iterable[int], scenes: list[Scene], files: list[bytes]) -> None:
    annotations, lists, images = root / "Annotations", root / "ImageSets" / "Main", root / "JPEGImages"
    for folder in (annotations, lists, images):
        folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:06d}" for number in ids]
    for name, scene, content in zip(names, scenes, files, strict=True):
        (annotations / f"{name}.xml").write_text(_xml(name, scene))
        (images / f"{name}.jpg").write_bytes(content)
    (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


def _xml(name: str, scene: Scene) -> str:
    depth, h, w = scene.image.shape
    size = f"<size><width>{w}</width><height>{h}</height><depth>{depth}</depth></size>"
    objects = "".join(map(_xml_object, scene.objects))
    return f"<annotation>\n<filename>{name}.jpg</filename>\n{size}\n{objects}</annotation>\n"


def _xml_object(thing: Drawn) -> str:
    """Corners as pixels counted from 1, the last one inside."""
    x1, y1, x2, y2 = thing.box
    box = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    marks = f"<name>{list(FORMS)[thing.label]}</name><difficult>{int(thing.difficult)}</difficult>"
    return f"<object>{marks}<bndbox>{box}</bndbox></object>\n"


def _write_coco(root: Path, name: str, ids: Iterable[int], scenes: list[Scene], files: list[bytes]) -> None:
    for folder in (root / name, root / "annotations"):
        folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, scene, content in zip(ids, scenes, files, strict=True):
        file, (_, h, w) = f"COCO_{name}_{number:012d}.jpg", scene.image.shape
        (root / name / file).write_bytes(content)
        images.append({"id": number, "file_name": file, "width": w, "height": h})
        for thing in scene.objects:
            annotations.append({"id": len(annotations) + 1, "image_id": number, **_coco_object(thing)})
    categories = [{"id": number, "name": form} for number, form in zip(CATEGORY_IDS, FORMS, strict=True)]
    file_content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(file_content))


def _coco_object(thing: Drawn) -> dict[str, Any]:
    x1, y1, x2, y2 = thing.box
    numbers = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": thing.area, "iscrowd": int(thing.crowd)}
    return {"category_id": CATEGORY_IDS[thing.label], **numbers}
