"""The `official` source: the binaries of cs.toronto.edu, every byte MD5-checked before it is unpickled."""

import hashlib
import http.client
import io
import pickle
import socket
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import download_url

from reproduce.data.cifar10.images import Images
from reproduce.utils.errors import UserError

TIMEOUT = 30.0  # seconds without an answer before a download is given up


def download_official(root: str) -> None:
    """Fetch the archive into `root` unless it or the unpacked batches are there; whole or not at all.

    Raises UserError when the server cannot be reached or what it sends has another MD5.
    """
    folder = Path(root).expanduser()
    if _unpacked(folder) or (folder / CIFAR10.filename).exists():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as part, _timeout(TIMEOUT):
            download_url(CIFAR10.url, part, CIFAR10.filename, CIFAR10.tgz_md5)
            (Path(part) / CIFAR10.filename).replace(folder / CIFAR10.filename)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{root}: cannot download {CIFAR10.filename} ({reason}); {_cure()}") from error


def read_official(root: str) -> Images:
    """Read cifar-10-batches-py/ or else the archive. Raises UserError for a missing or damaged file."""
    folder = Path(root).expanduser()
    if not _unpacked(folder) and not (folder / CIFAR10.filename).exists():
        raise UserError(f"{root}: neither {CIFAR10.filename} nor {CIFAR10.base_folder}/ is there; {_cure()}")
    files = _from_folder(folder) if _unpacked(folder) else _from_archive(folder / CIFAR10.filename)
    train = [_batch(files[name]) for name, _ in CIFAR10.train_list]
    test = [_batch(files[name]) for name, _ in CIFAR10.test_list]
    classes = [_text(name) for name in files[CIFAR10.meta["filename"]][CIFAR10.meta["key"]]]
    train_images, train_labels = (torch.cat(parts) for parts in zip(*train, strict=True))
    test_images, test_labels = (torch.cat(parts) for parts in zip(*test, strict=True))
    return Images(train_images, train_labels, test_images, test_labels, classes, "CIFAR-10, official binaries")


def _cure() -> str:
    return (
        f"put {CIFAR10.filename} or the folder {CIFAR10.base_folder} there (data.root), "
        "or use data.source=folder or data.source=synthetic"
    )


def _sums() -> dict[str, str]:
    """File name → MD5, of the five training batches, the test batch and the class names."""
    batches = dict(CIFAR10.train_list + CIFAR10.test_list)
    return batches | {CIFAR10.meta["filename"]: CIFAR10.meta["md5"]}


def _unpacked(folder: Path) -> bool:
    return all((folder / CIFAR10.base_folder / name).is_file() for name in _sums())


def _from_folder(folder: Path) -> dict[str, dict[str, Any]]:
    paths = {name: folder / CIFAR10.base_folder / name for name in _sums()}
    return {name: _load(path, _read(path), _sums()[name]) for name, path in paths.items()}


def _from_archive(archive: Path) -> dict[str, dict[str, Any]]:
    """The unpickled members. Nothing is extracted to disk, so no member can land outside the folder."""
    content = _read(archive)
    _check(archive, content, CIFAR10.tgz_md5)
    files = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for name, md5 in _sums().items():
            member = tar.extractfile(f"{CIFAR10.base_folder}/{name}")
            files[name] = _load(archive / name, member.read() if member else b"", md5)
    return files


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _load(path: Path, content: bytes, md5: str) -> dict[str, Any]:
    """Unpickle the very bytes that were checked: unpickling runs code."""
    _check(path, content, md5)
    return {_text(key): value for key, value in pickle.loads(content, encoding="latin1").items()}


def _text(name: str | bytes) -> str:
    """The keys and class names were Python 2 strings, which may come back as either type."""
    return name.decode() if isinstance(name, bytes) else name


def _check(path: Path, content: bytes, md5: str) -> None:
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise UserError(f"{path}: damaged (its MD5 is not {md5}); delete it and start again, or put a good copy there")


def _batch(entry: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """data [n, 3072] uint8, channel by channel and row by row → images [n, 3, 32, 32], labels [n]."""
    return torch.from_numpy(np.asarray(entry["data"]).reshape(-1, 3, 32, 32)), torch.tensor(entry["labels"])


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """urllib waits forever by default, and torchvision sets no limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
