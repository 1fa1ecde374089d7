"""The class numbers of ImageNet's development kit, from its meta.mat: as much of MATLAB's file format (5) as it takes.

A file is a header of 128 bytes and data elements: a type, a number of bytes, the bytes, padding to 8. Arrays are
elements whose parts are elements.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

HEADER = 128
MATRIX, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}
CELL, STRUCT, OBJECT, CHAR = 1, 2, 3, 4  # kinds of arrays; the others are numbers


def class_numbers(content: bytes) -> dict[int, str]:
    """ILSVRC2012_ID → WNID of all synsets in meta.mat. Raises ValueError for anything else."""
    try:
        found = dict(item for element in _elements(content[HEADER:]) for item in _variables(*element))
        return {int(entry["ILSVRC2012_ID"][0]): entry["WNID"] for entry in found["synsets"]}
    except (KeyError, IndexError, TypeError, ValueError, struct.error, zlib.error) as error:
        raise ValueError(f"not the meta.mat of ILSVRC-2012 ({type(error).__name__}: {error})") from error


def _variables(kind: int, content: bytes) -> Iterator[tuple[str, Any]]:
    if kind == COMPRESSED:
        for element in _elements(zlib.decompress(content)):
            yield from _variables(*element)
    elif kind == MATRIX:
        yield _array(content)


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, bytes) one after the other. Up to four bytes may stand in the tag; compressed ones are not padded."""
    at = 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from("<II", content, at)
        if kind >> 16:
            yield kind & 0xFFFF, content[at + 4 : at + 4 + (kind >> 16)]
            at += 8
        else:
            yield kind, content[at + 8 : at + 8 + size]
            at += 8 + (size if kind == COMPRESSED else -(-size // 8) * 8)


def _array(content: bytes) -> tuple[str, Any]:
    """Name and value of an array: text, a flat array of numbers, or a list of what is in its cells or of structures."""
    (_, flags), (_, _), (_, name), *parts = list(_elements(content)) or [(0, b"\0"), (0, b""), (0, b"")]
    kind = flags[0]
    if kind == STRUCT:
        return name.decode(), _structures(parts)
    if kind in (CELL, OBJECT):
        return name.decode(), [_array(part)[1] for _, part in parts]
    (form, data), *_ = parts or [(2, b"")]
    return name.decode(), data.decode(TEXTS[form]) if kind == CHAR else np.frombuffer(data, NUMBERS[form])


def _structures(parts: list[tuple[int, bytes]]) -> list[dict[str, Any]]:
    """The width of a field's name, all names, then every field of one structure after the other."""
    width = struct.unpack("<i", parts[0][1])[0]
    text = parts[1][1]
    names = [text[i : i + width].split(b"\0")[0].decode() for i in range(0, len(text), width)]
    values = [_array(part)[1] for _, part in parts[2:]]
    return [dict(zip(names, values[i : i + len(names)], strict=True)) for i in range(0, len(values), len(names))]
