"""Malformed data: what can be read trains, the rest is one line naming the path, exit code 2, nothing written."""

import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reproduce.training.run  # noqa: F401 - its imports are none of the three seconds
from reproduce.__main__ import main
from tests.helpers.figures import Figure
from tests.helpers.tiny import TINY

pytestmark = pytest.mark.reliability
TWO = ["model.classes=2", "data.subset=0"]
CIFAR = ["train", "cifar10-resnet-20", "--profile", "smoke", *TINY[1:], "model.depth=8", *TWO]
IMAGENET = ["train", "imagenet-resnet-18-A", "--profile", "smoke", *TWO]


def picture(side: int = 32, mode: str = "RGB", kind: str = "PNG", **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, kind, **options)
    return file.getvalue()


def write(root: Path, side: int, test: str) -> None:
    for part in ("train", test):
        for wnid in ("n00000001", "n00000002"):
            (root / part / wnid).mkdir(parents=True)
            for number in range(3):
                (root / part / wnid / f"{number}.JPEG").write_bytes(picture(side, kind="JPEG"))


ONE = "train/n00000001/1.JPEG"


def put(content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / ONE).write_bytes(content)


def instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def act(root: Path) -> None:
        (root / ONE).unlink()
        make(root / ONE)

    return act


def renamed(old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / old).rename(root / new)


def also_train(root: Path) -> None:
    (root / "train/n00000003").mkdir()


def no_classes(root: Path) -> None:
    (root / "train").rename(root / "elsewhere")
    (root / "train").mkdir()


def emptied(root: Path) -> None:
    for path in (root / "train/n00000001").iterdir():
        path.unlink()


def sixteen_bits() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((32, 32), dtype=np.uint16)).save(file, "PNG")
    return file.getvalue()


def a_bomb() -> bytes:
    """A PNG that announces 60,000 x 60,000 pixels."""
    content = bytearray(picture())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    return bytes(content)


REFUSED: dict[str, tuple[str, Callable[[Path], object]]] = {  # name -> what the line must name, what is done
    "0 bytes": ("1.JPEG", put(b"")),
    "cut short": ("1.JPEG", put(picture(kind="JPEG")[:200])),
    "PNG cut short": ("1.JPEG", put(picture()[:900])),
    "text": ("1.JPEG", put(b"not found\n")),
    "zeros": ("1.JPEG", put(bytes(5000))),
    "GIF": ("1.JPEG", put(picture(mode="P", kind="GIF"))),
    "another size": ("1.JPEG", put(picture(40))),
    "16 bits": ("1.JPEG", put(sixteen_bits())),
    "pixels without end": ("1.JPEG", put(a_bomb())),
    "a folder": ("1.JPEG", instead(Path.mkdir)),
    "broken link": ("1.JPEG", instead(lambda path: path.symlink_to("nowhere"))),
    "link to itself": ("1.JPEG", instead(lambda path: path.symlink_to(path.name))),
    "pipe": ("1.JPEG", instead(os.mkfifo)),
    "class missing": ("n00000002", renamed("train/n00000002", "elsewhere")),
    "class more": ("n00000003", also_train),
    "class renamed": ("n00000009", renamed("train/n00000002", "train/n00000009")),
    "no train": ("train", renamed("train", "training")),
    "train is a file": ("train", lambda root: [renamed("train", "t")(root), (root / "train").write_text("")]),
    "no classes": ("train", no_classes),
    "empty class": ("n00000001", emptied),
}
READ: dict[str, Callable[[Path], object]] = {
    "PNG named JPEG": put(picture()),
    "grey": put(picture(mode="L", kind="JPEG")),
    "CMYK": put(picture(mode="CMYK", kind="JPEG")),
    "palette": put(picture(mode="P")),
    "alpha": put(picture(mode="RGBA")),
    "broken EXIF": put(picture(kind="JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12")),
    "Unicode name": renamed(ONE, "train/n00000001/\u00e9\u4e2d\U0001f600.JPEG"),
}
ONLY_CIFAR = ("another size", "16 bits", "GIF")  # ImageNet's pictures have any size; PIL reads the rest of these


@pytest.fixture(params=["cifar10", "imagenet"])
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write(tmp_path / "data", 32 if request.param == "cifar10" else 80, "test" if request.param == "cifar10" else "val")
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "place")
    return str(request.param)


def words(kind: str) -> list[str]:
    return [*(CIFAR if kind == "cifar10" else IMAGENET), "data.source=folder", "data.root=../data"]


@pytest.mark.parametrize("name", REFUSED)
def test_bad_data_is_one_line_with_its_path(
    name: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], figure: Figure
) -> None:
    said_name, harm = REFUSED[name]
    if kind == "imagenet" and name in ONLY_CIFAR:
        pytest.skip("is no fault there")
    harm(tmp_path / "data")
    began = time.process_time()
    assert main(words(kind)) == 2
    seconds = time.process_time() - began
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1, said
    assert said_name in said
    assert "Traceback" not in said
    written = [
        path for path in Path().rglob("*") if path.is_file() and path.name != "lock" and "cache" not in path.parts
    ]
    assert written == []
    assert seconds < 3
    figure(
        "T15", f"{len(REFUSED) + len(READ)} kinds of odd data", reached="read, or 1 line, exit 2", demanded="the same"
    )


@pytest.mark.parametrize("name", READ)
def test_odd_images_are_read(name: str, kind: str, tmp_path: Path) -> None:
    from reproduce.config.load import resolve
    from reproduce.evaluation.classification import open_data

    READ[name](tmp_path / "data")
    line = words(kind)
    data = open_data(resolve(line[1], "smoke", line[4:]))
    assert (data.n_train, data.n_test) == (6, 6)
    x, _ = data.train_batch(0)
    assert x.isfinite().all()
