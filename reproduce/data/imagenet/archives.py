"""From ImageNet's official archives to train/<wnid>/* and val/<wnid>/*: every class is there whole or not at all.

Nothing is extracted by the name an archive gives: only regular files with plain names are read, and their bytes written
to files of ours. So no link, absolute path or `..` can reach outside the folder.
"""

import hashlib
import io
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reproduce.data.imagenet.image_folder import OFFICIAL_CLASSES, OFFICIAL_SIZES
from reproduce.utils.console import progress
from reproduce.utils.errors import UserError
from reproduce.utils.files import free_bytes

TRAIN, VAL, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
MD5 = {  # as published with the archives
    TRAIN: "1d675b47d978889d74fa0da5fadfb00e",
    VAL: "29b22e2961454d5413ddabcf34fc5622",
    DEVKIT: "fa75699e90414af021442c21a62c3abf",
}
WNID = re.compile(r"n\d{8}")
BLOCK = 1 << 24
GET = f"it comes from image-net.org (log in, ILSVRC2012): {TRAIN}, {VAL} and {DEVKIT}"


def prepare(root: Path, tars: Path, labels: Path | None = None, verify: bool = False) -> None:
    """Extract what is not there yet. `labels`: a list instead of the development kit; `verify`: check MD5 sums first.

    Raises UserError for a missing, damaged or strange archive or list; started again, it continues.
    """
    wanted = [tars / TRAIN, tars / VAL, *([] if labels else [tars / DEVKIT])]
    for archive in wanted:
        if not archive.is_file():
            raise UserError(f"{archive}: not there; {GET}; a label list (LABELS=file) replaces the development kit")
    for archive in wanted if verify else []:
        check_md5(archive)
    check_space(root, tars)
    wnids = from_list(labels) if labels else from_devkit(tars / DEVKIT)
    if not (root / "val").is_dir():  # the short one first: a wrong list shows in minutes, not after hours
        extract_val(tars / VAL, root, wnids)
    extract_train(tars / TRAIN, root)


def extract_train(archive: Path, root: Path) -> None:
    """A tar of one tar per class → train/<wnid>/*."""
    with progress("training classes", OFFICIAL_CLASSES) as advance, _opened(archive) as outer:
        for member in outer:
            wnid = member.name.removesuffix(".tar")
            if not (member.isreg() and WNID.fullmatch(wnid)):
                raise UserError(f"{archive}: {member.name!r} is no tar of a class; is this {TRAIN}?")
            if not (root / "train" / wnid).is_dir():
                with _whole(root / "train" / wnid) as folder, _inner(archive, outer, member) as inner:
                    _write(inner, f"{archive}: {member.name}", lambda name: folder, lambda n: None)
            advance(1)


def extract_val(archive: Path, root: Path, wnids: dict[str, str]) -> None:
    """A tar of images → val/<wnid>/*, by file name → wnid."""
    with progress("validation images", OFFICIAL_SIZES[1]) as advance, _whole(root / "val") as folder:

        def class_folder(name: str) -> Path:
            if name not in wnids:
                raise UserError(f"{archive}: {name}: no label for it in the list or development kit")
            return folder / wnids[name]

        with _opened(archive) as tar:
            _write(tar, str(archive), class_folder, advance)


def _write(tar: tarfile.TarFile, source: str, folder_of: Callable[[str], Path], advance: Callable[[int], None]) -> None:
    """Each file of the tar into the folder that `folder_of` gives for its name."""
    for member in tar:
        name = member.name.removeprefix("./")
        content = tar.extractfile(member) if member.isreg() else None
        if member.isdir() and not name.strip("."):
            continue
        if content is None or name != Path(name).name or name.startswith(".") or "\\" in name:
            raise UserError(f"{source}: {member.name!r} is not a plain file; get the archive again")
        folder = folder_of(name)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("wb") as file:
            shutil.copyfileobj(content, file, BLOCK)
        advance(1)


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name once it is full; what an interrupted start left of it is removed first."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    part.rename(folder)


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(archive) as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive}: damaged ({error}); get it again, or check it with MD5=1") from error
    except OSError as error:
        raise UserError(f"{error.filename or archive}: {error.strerror or error}") from error


@contextmanager
def _inner(archive: Path, outer: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(fileobj=outer.extractfile(member), mode="r:") as tar:
            yield tar
    except tarfile.TarError as error:
        raise UserError(f"{archive}: {member.name} in it is damaged ({error}); check it with MD5=1") from error


def check_space(root: Path, tars: Path) -> None:
    """Raises UserError when what is still to be extracted is larger than the free space."""
    extracted = len(list((root / "train").glob("n*"))) if (root / "train").is_dir() else 0
    needed = (tars / TRAIN).stat().st_size * max(0, OFFICIAL_CLASSES - extracted) // OFFICIAL_CLASSES
    needed += 0 if (root / "val").is_dir() else (tars / VAL).stat().st_size
    if needed > (free := free_bytes(root)):
        raise UserError(f"{root}: {needed / 1e9:.0f} GB are needed there and {free / 1e9:.0f} GB are free")


def check_md5(archive: Path) -> None:
    """Raises UserError when the archive is not the published one."""
    digest, size = hashlib.md5(usedforsecurity=False), archive.stat().st_size
    with archive.open("rb") as file, progress(f"MD5 of {archive.name} (blocks)", -(-size // BLOCK)) as advance:
        while block := file.read(BLOCK):
            digest.update(block)
            advance(1)
    if digest.hexdigest() != MD5[archive.name]:
        raise UserError(f"{archive}: its MD5 is {digest.hexdigest()}, not {MD5[archive.name]}; get it again")


# Labels of the validation images: file name -> wnid


def image_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def from_list(path: Path) -> dict[str, str]:
    """A line per image: `ILSVRC2012_val_00000001.JPEG n01751748`, or the wnid alone in the order of the images."""
    try:
        lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the label list cannot be read ({error})") from error
    for number, words in enumerate(lines, 1):
        if len(words) not in (1, 2) or len(words) != len(lines[0]) or not WNID.fullmatch(words[-1]):
            raise UserError(f"{path}: line {number} is neither `file-name wnid` nor `wnid`")
    return {words[0] if len(words) == 2 else image_name(n): words[-1] for n, words in enumerate(lines, 1)}


def from_devkit(archive: Path) -> dict[str, str]:
    """By the class numbers of the development kit: its meta.mat says which wnid a number is."""
    with _opened(archive) as tar:
        truth, meta = (_member(tar, archive, name) for name in ("ILSVRC2012_validation_ground_truth.txt", "meta.mat"))
    try:
        wnids = class_numbers(meta)
        return {image_name(n): wnids[int(word)] for n, word in enumerate(truth.split(), 1)}
    except (ValueError, KeyError) as error:
        raise UserError(f"{archive}: not understood ({error}); give a label list instead (LABELS=file)") from error


def _member(tar: tarfile.TarFile, archive: Path, name: str) -> bytes:
    found = [member for member in tar.getmembers() if member.isreg() and Path(member.name).name == name]
    content = tar.extractfile(found[0]) if found else None
    if content is None:
        raise UserError(f"{archive}: {name} is not in it; is this {DEVKIT}?")
    return content.read()


def class_numbers(content: bytes) -> dict[int, str]:
    """ILSVRC2012_ID → WNID of all synsets in meta.mat. Raises ValueError for anything else."""
    from scipy.io import loadmat  # for this file alone

    try:
        synsets = loadmat(io.BytesIO(content), squeeze_me=True, variable_names=["synsets"])["synsets"]
        return {int(entry["ILSVRC2012_ID"]): str(entry["WNID"]) for entry in synsets}
    except Exception as error:  # a damaged file makes the reader raise nearly anything
        raise ValueError(f"not the meta.mat of ILSVRC-2012 ({type(error).__name__}: {error})") from error
