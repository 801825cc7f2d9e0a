"""The header of a safetensors file: 8 bytes length (little endian), then JSON with type, shape and place of each array.

Format: https://github.com/huggingface/safetensors#format. The format's own library writes from, and reads into, a
second copy of the data; reading and writing the header here leaves the data where they are.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, BinaryIO

from attrs import frozen

from windlass.errors import SerializationError

LIMIT = 100_000_000
"""Largest header in bytes; the same limit as in the format's own library."""

ITEM_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
"""Bytes per item by the format's name of the type."""


@frozen(kw_only=True)
class Place:
    """Where an array lies: bytes `begin` to `end`, counted from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def encode(places: Mapping[str, Place], metadata: Mapping[str, str]) -> bytes:
    """The header with its length in front, padded with spaces to a multiple of 8 bytes.

    Raises:
        SerializationError: It is larger than readers accept.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    for name, place in places.items():
        header[name] = {"dtype": place.dtype, "shape": place.shape, "data_offsets": [place.begin, place.end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LIMIT:
        raise SerializationError(
            f"the header has {len(text)} bytes, at most {LIMIT} are allowed", hint="Split the dict."
        )
    return struct.pack("<Q", len(text)) + text


def decode(file: BinaryIO) -> tuple[dict[str, Place], int]:
    """Read the header. Returns the places in its order, and the number of bytes that must follow it.

    Raises:
        SerializationError: Not a header, or one that no writer makes (holes, overlaps, wrong sizes, a name twice).
    """
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
    if not 2 <= length <= LIMIT:
        raise _bad("it does not begin with the length of a header")
    text = file.read(length)
    if len(text) != length or text[:1] != b"{":
        raise _bad("the header is cut off, or no JSON object")
    header = json.loads(str(text, "utf-8"), object_pairs_hook=_unique)
    header.pop("__metadata__", None)
    places = {name: _place(name, entry) for name, entry in header.items()}
    ordered = sorted(places.values(), key=lambda place: (place.begin, place.end))
    if any(before.end != after.begin for before, after in pairwise(ordered)) or (ordered and ordered[0].begin):
        raise _bad("arrays overlap, or there are holes between them")
    return places, ordered[-1].end if ordered else 0


def _place(name: str, entry: Any) -> Place:
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [*shape, begin, end]
    except (TypeError, KeyError, ValueError):
        raise _bad(f"the entry of {name!r} is not complete") from None
    if dtype not in ITEM_SIZES:
        raise _bad(f"{name!r} has the type {dtype!r}, which this version does not know")
    if any(type(number) is not int or number < 0 for number in numbers):
        raise _bad(f"{name!r} has a size or place that is no number")
    if end - begin != math.prod(shape) * ITEM_SIZES[dtype]:
        raise _bad(f"{name!r} does not have the size that its shape says")
    return Place(dtype=dtype, shape=tuple(shape), begin=begin, end=end)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _bad("a name is given twice")
    return dict(pairs)


def _bad(reason: str) -> SerializationError:
    return SerializationError(
        f"not readable as safetensors: {reason}",
        hint="The bytes are damaged, cut off or of another format.",
        context={"serializer": "safetensors"},
    )
