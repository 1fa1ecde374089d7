"""Reads back what wandb's offline mode wrote down."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32 * 1024


def chunks(content: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: a log of LevelDB's form, with a header of 7 bytes, in blocks of 32 KiB."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:  # no room for another head in this block
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def records(folder: Path) -> list[Any]:
    """All records of an offline run."""
    from wandb.proto import wandb_internal_pb2

    make: Any = vars(wandb_internal_pb2)["Record"]  # made at import, unknown to type checkers
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    end = time.monotonic() + 60
    while time.monotonic() < end:  # its service may write the last block after `finish` has returned
        found = [make.FromString(chunk) for chunk in chunks(path.read_bytes())]
        if found and found[-1].HasField("exit"):
            return found
        time.sleep(0.2)
    raise AssertionError(f"{path}: not ended")


def history(folder: Path) -> list[dict[str, Any]]:
    rows = [record.history for record in records(folder) if record.HasField("history")]
    return [{item.key or item.nested_key[0]: json.loads(item.value_json) for item in row.item} for row in rows]
