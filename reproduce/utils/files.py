"""What is written down of a run: result files, each whole or not at all, and the provenance of every number."""

import csv
import io
import json
import os
import shutil
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from reproduce.utils.errors import UserError
from reproduce.utils.signals import is_alive


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside its target, flushed to disk, renamed, the folder flushed too.

    Errors: OSError naming the target and the bytes that did not go there (a full disk); what was there before stays.
    """
    beside = path.with_name(f".{path.name}.{_me()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            _flush(path.parent)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} ({len(content):,} bytes to be written)", str(path)) from error


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder, which need not be there yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _me() -> str:
    return f"{os.getpid()}@{socket.gethostname()}"


def sweep(folder: Path) -> None:
    """Remove what writers that were killed left in a folder. Other machines' files are left for an hour."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            if _is_leftover(path):
                path.unlink(missing_ok=True)


def _is_leftover(path: Path) -> bool:
    pid, _, host = path.name.removesuffix(".tmp").rpartition("@")
    number = pid.rpartition(".")[2]
    if host == socket.gethostname() and number.isdigit():
        return int(number) == os.getpid() or not is_alive(int(number))  # a container may deal out the same pid again
    return time.time() - path.stat().st_mtime > 3600


def write_json(path: Path, value: object) -> None:
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n").encode())


def expanded(path: str | Path) -> Path:
    """With ~ and ~user as home folders. Errors: UserError for a user that is not there."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: {error}") from None


def read_json(path: Path) -> dict[str, Any] | None:
    """A result file, or None where there is none yet. Errors: UserError naming a file that is no JSON object."""
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a result file ({error}); move it away and run again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a result file (no JSON object); move it away and run again")
    if not isinstance(value.get("provenance", {}), dict) or not isinstance(value.get("metrics", {}), dict):
        raise UserError(f"{path}: not a result file (provenance or metrics are no objects); move it away and run again")
    return value


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Mapping[str, object]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(header), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())
