"""From archives to folders, and what is said of folders: labels, safety, resumption, checks. The command lines too."""

import hashlib
import io
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from reproduce.__main__ import main
from reproduce.data.imagenet import archives as prepare_module
from reproduce.data.imagenet import image_folder
from reproduce.data.imagenet.archives import DEVKIT, TRAIN, VAL, class_numbers, from_list, image_name, prepare
from reproduce.data.imagenet.check import check
from reproduce.data.imagenet.image_folder import read_tree
from reproduce.data.synthetic.imagenet import encode
from reproduce.utils.errors import UserError
from tests.helpers.images import cut_short, small_tree, smooth

NUMBERS = {1: "n00000003", 2: "n00000001", 3: "n00000002", 4: "n00000009"}
WNIDS = ["n00000001", "n00000002", "n00000003"]
TRUTH = [3, 1, 1, 2, 3, 2]  # class numbers of the validation images


def mat_of(name: str = "synsets") -> bytes:
    """A MATLAB file as the development kit's: an array of structures, the last one a parent of others."""
    synsets = [(number, wnid, "words", 0 if number < 4 else 3) for number, wnid in NUMBERS.items()]
    fields = [("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("words", "O"), ("num_children", "f8")]
    file = io.BytesIO()
    savemat(file, {name: np.array(synsets, dtype=fields)[:, None]}, do_compression=True)
    return file.getvalue()


META = mat_of()


def tar_of(files: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def picture(number: int) -> bytes:
    return encode(smooth(30 + number, 40, number))


def class_tar(wnid: str) -> bytes:
    return tar_of({f"{wnid}_{k}.JPEG": picture(k) for k in range(2)})


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """Small archives of the official form: three classes, six validation images, a development kit."""
    folder = tmp_path / "tars"
    folder.mkdir()
    (folder / TRAIN).write_bytes(tar_of({f"{wnid}.tar": class_tar(wnid) for wnid in WNIDS}))
    (folder / VAL).write_bytes(tar_of({image_name(n): picture(n) for n in range(1, 7)}))
    (folder / DEVKIT).write_bytes(devkit(META))
    return folder


def devkit(meta: bytes) -> bytes:
    truth = "".join(f"{number}\n" for number in TRUTH).encode()
    names = [f"ILSVRC2012_devkit_t12/data/{name}" for name in ("ILSVRC2012_validation_ground_truth.txt", "meta.mat")]
    return tar_of(dict(zip(names, (truth, meta), strict=True)), "w:gz")


def places(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


EXPECTED = sorted(
    [f"train/{wnid}/{wnid}_{k}.JPEG" for wnid in WNIDS for k in range(2)]
    + [f"val/{NUMBERS[number]}/{image_name(n)}" for n, number in enumerate(TRUTH, 1)]
)


def test_class_numbers_of_a_matlab_file() -> None:
    assert class_numbers(META) == NUMBERS


@pytest.mark.parametrize(
    "content", [b"", b"x" * 500, META[:300], mat_of("others")], ids=["empty", "no MATLAB file", "cut", "other content"]
)
def test_another_matlab_file_is_refused(content: bytes, tars: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="meta.mat"):
        class_numbers(content)
    (tars / DEVKIT).write_bytes(devkit(content))
    with pytest.raises(UserError, match=rf"^{re.escape(str(tars / DEVKIT))}: not understood .*label list .*LABELS"):
        prepare(tmp_path / "data", tars)


def test_archives_become_folders(tars: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    prepare(root, tars)
    assert places(root) == EXPECTED
    assert (root / "val" / "n00000003" / image_name(2)).read_bytes() == picture(2)
    assert len(read_tree(root).test) == 6


@pytest.mark.parametrize("form", ["{name} {wnid}", "{wnid}"])
def test_a_label_list_replaces_the_development_kit(tars: Path, tmp_path: Path, form: str) -> None:
    (tars / DEVKIT).unlink()
    lines = [form.format(name=image_name(n), wnid=NUMBERS[number]) for n, number in enumerate(TRUTH, 1)]
    (tmp_path / "labels.txt").write_text("\n".join(lines) + "\n")
    prepare(tmp_path / "data", tars, tmp_path / "labels.txt")
    assert places(tmp_path / "data") == EXPECTED


def test_an_interrupted_extraction_continues(tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, content = tmp_path / "data", (tars / TRAIN).read_bytes()
    place = content.index(b"n00000002_1.JPEG")
    (tars / TRAIN).write_bytes(content[: place + 600])
    with pytest.raises(UserError, match=re.escape(str(tars / TRAIN))):
        prepare(root, tars)
    assert [path.name for path in (root / "train").glob("n*")] == ["n00000001"]  # the half class is not there
    mark = root / "train" / "n00000001" / "mark"
    mark.touch()
    (tars / TRAIN).write_bytes(content)
    prepare(root, tars)
    assert mark.exists()  # it was not extracted again
    mark.unlink()
    assert places(root) == EXPECTED


def _link(name: str, target: str, kind: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        tar.addfile(member)
    return file.getvalue()


HOSTILE = {
    "parent": tar_of({"../escaped.JPEG": b"x"}),
    "absolute": tar_of({"/escaped.JPEG": b"x"}),
    "subfolder": tar_of({"a/b.JPEG": b"x"}),
    "hidden": tar_of({".bashrc": b"x"}),
    "symbolic link": _link("n00000001_0.JPEG", "/etc/passwd", tarfile.SYMTYPE),
    "hard link": _link("n00000001_0.JPEG", "../../x", tarfile.LNKTYPE),
    "device": _link("n00000001_0.JPEG", "", tarfile.CHRTYPE),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_class_archive_is_refused(tars: Path, tmp_path: Path, kind: str) -> None:
    (tars / TRAIN).write_bytes(tar_of({"n00000001.tar": HOSTILE[kind]}))
    before = places(tmp_path)
    with pytest.raises(UserError, match="is not a plain file"):
        prepare(tmp_path / "data", tars)
    assert [name for name in places(tmp_path) if name not in before and not name.startswith("data/val/")] == []


@pytest.mark.parametrize("name", ["../n00000001.tar", "n00000001.zip", "/n00000001.tar"])
def test_a_hostile_training_archive_is_refused(tars: Path, tmp_path: Path, name: str) -> None:
    (tars / TRAIN).write_bytes(tar_of({name: class_tar("n00000001")}))
    with pytest.raises(UserError, match="is no tar of a class"):
        prepare(tmp_path / "data", tars)


def test_what_lacks_is_named(tars: Path, tmp_path: Path) -> None:
    (tars / DEVKIT).write_bytes(tar_of({"readme.txt": b""}, "w:gz"))
    with pytest.raises(UserError, match="ground_truth.txt is not in it"):
        prepare(tmp_path / "data", tars)
    (tars / DEVKIT).write_bytes(b"no archive")
    with pytest.raises(UserError, match="damaged"):
        prepare(tmp_path / "data", tars)
    (tars / DEVKIT).unlink()
    with pytest.raises(UserError, match=rf"{re.escape(str(tars / DEVKIT))}: not there; .*image-net.org .*LABELS"):
        prepare(tmp_path / "data", tars)
    (tmp_path / "labels").write_text("n00000001\n" * 5)  # one short
    with pytest.raises(UserError, match=f"{image_name(6)}: no label"):
        prepare(tmp_path / "data", tars, tmp_path / "labels")
    assert not (tmp_path / "data" / "val").exists()
    (tmp_path / "labels").write_text("n00000001\nbird\n")
    with pytest.raises(UserError, match="line 2"):
        from_list(tmp_path / "labels")


def test_md5_and_space_are_checked_first(tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=rf"{TRAIN}: its MD5 is [0-9a-f]+, not 1d675b47"):
        prepare(tmp_path / "data", tars, verify=True)
    sums = {name: hashlib.md5((tars / name).read_bytes()).hexdigest() for name in (TRAIN, VAL, DEVKIT)}
    monkeypatch.setattr(prepare_module, "MD5", sums)
    with monkeypatch.context() as full:
        full.setattr(prepare_module.shutil, "disk_usage", lambda path: type("", (), {"free": 10}))
        with pytest.raises(UserError, match="0 GB are free"):
            prepare(tmp_path / "data", tars, verify=True)
    prepare(tmp_path / "data", tars, verify=True)
    assert places(tmp_path / "data") == EXPECTED


# What is said of a folder


def sets_of(root: Path) -> tuple[image_folder.Files, image_folder.Files]:
    found = image_folder.read_tree(root)
    return found.train, found.test


def said(root: Path, decode: bool = False) -> tuple[int, str]:
    lines: list[str] = []
    code = check(root, decode, 0, lines.append)
    return code, "\n".join(lines)


def test_check_counts_and_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small_tree(tmp_path)
    code, text = said(root, decode=True)
    assert code == 0
    assert "train: 2 of 1,000 classes, 6 of 1,281,167 images (3 to 3 a class)" in text
    assert "val: 2 of 1,000 classes, 4 of 50,000 images (2 to 2 a class)" in text
    assert "Not the whole of ILSVRC-2012 (other classes)" in text
    assert "make imagenet-prepare" in text
    assert "10 images decoded, 0 failed" in text
    bad = [root / "train" / "n00000001" / "n00000001_0.JPEG", root / "val" / "n00000000" / "n00000000_1.JPEG"]
    cut_short(bad[0])
    bad[1].write_bytes(b"")
    assert said(root)[0] == 0  # counting does not look inside
    code, text = said(root, decode=True)
    assert code == 1
    assert [f"{path}: " in text for path in bad] == [True, True]
    assert "10 images decoded, 2 failed" in text
    monkeypatch.setattr(image_folder, "OFFICIAL_SIZES", (6, 4))
    monkeypatch.setattr(image_folder, "OFFICIAL_WNIDS", hashlib.sha256(b"n00000000\nn00000001").hexdigest())
    text = said(root)[1]
    assert "The classes of ILSVRC-2012 and as many images, but not its bytes: the files of train/ make a tar of" in text
    assert "This is the whole" not in text
    sizes = [image_folder.tar_bytes(files.sizes, n)[0] for files, n in zip(sets_of(root), (2, 0), strict=True)]
    monkeypatch.setattr(image_folder, "OFFICIAL_TARS", tuple(sizes))
    text = said(root)[1]
    assert "This is the whole of ILSVRC-2012" in text
    assert "class names, numbers of images, and the bytes of all files against the sizes of the archives" in text


def test_check_says_what_is_missing(tmp_path: Path) -> None:
    code, text = said(tmp_path / "nowhere")
    assert code == 1
    assert f"{tmp_path / 'nowhere' / 'train'}: no such folder" in text
    assert "image-net.org" in text
    assert "check-data" not in text  # it is what just ran


def test_command_lines(tars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / "data")
    assert main(["prepare-imagenet", "--root", root, "--tars", str(tars)]) == 0
    assert "3 of 1,000 classes" in capsys.readouterr().out
    assert main(["check-data", "--root", root, "--decode"]) == 0
    assert "12 images decoded, 0 failed" in capsys.readouterr().out
    cut_short(next((tmp_path / "data" / "train").glob("*/*")))
    assert main(["check-data", "--root", root, "--decode"]) == 1
    assert main(["check-data"]) == 2
    assert "make ... DATA=FOLDER" in capsys.readouterr().err
    assert main(["prepare-imagenet", "--root", root]) == 2
