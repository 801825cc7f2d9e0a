"""The parts of an entry, which lie in blobs, as streams."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO, cast

from windlass.artifacts.manifest import Entry, Part
from windlass.blobs import BlobStore
from windlass.errors import IntegrityError, ObjectNotFoundError

__all__ = ["open_blob", "open_parts", "rest_of", "views_of"]

_AHEAD = 8  # chunks of a large file that are fetched at once; they have 2 MiB on average
_BLOCK = 1 << 20


def open_blob(entry: Entry, blobs: BlobStore, blob: str, start: int, length: int) -> BinaryIO:
    """A range of a blob that holds bytes of an entry. Raises `IntegrityError` when the blob is gone."""
    try:
        return blobs.open(blob, start, length)
    except ObjectNotFoundError as error:
        raise IntegrityError(
            f"the bytes of '{entry.path}' are not in the blob store any more",
            where=error.where,
            hint="'windlass artifact repair' brings them back from files that still have the content; "
            "'windlass artifact verify' names all that is lost.",
        ) from error


def _span(parts: tuple[Part, ...], start: int, length: int) -> list[Part]:
    """The parts, or pieces of parts, that hold a range of their content."""
    left = sum(part[2] for part in parts) - start
    left = left if length < 0 else min(length, left)
    found = []
    for blob, offset, size in parts:
        if left <= 0:
            break
        count = min(size - start, left)
        if count > 0:
            found.append((blob, offset + start, count))
            left -= count
        start = max(start - size, 0)
    return found


def open_parts(entry: Entry, blobs: BlobStore, start: int, length: int) -> BinaryIO:
    """A range of an entry of several parts (length -1: to its end); over a network several are fetched at once."""
    parts = _span(entry.parts, start, length)
    if not blobs.remote or len(parts) < 2:
        return io.BufferedReader(_Parts(entry, blobs, parts), 1 << 16)
    from windlass.transfer.streams import RangeStream, in_order

    def fetch(position: int) -> Iterator[memoryview]:
        left = _span(entry.parts, position, length if length < 0 else start + length - position)
        return in_order((partial(_fetch, entry, blobs, *part) for part in left), _AHEAD)

    # each part was tried again by its own stream
    return cast(BinaryIO, RangeStream(fetch, start=start, name=entry.path, waits=()))


def _fetch(entry: Entry, blobs: BlobStore, blob: str, offset: int, size: int) -> memoryview:
    with open_blob(entry, blobs, blob, offset, size) as stream:
        return rest_of(stream)


class _Parts(io.RawIOBase):
    """Parts one behind the other."""

    def __init__(self, entry: Entry, blobs: BlobStore, parts: list[Part]) -> None:
        self._entry = entry
        self._blobs = blobs
        self._parts = iter(parts)
        self._stream: BinaryIO | None = None

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Give what is asked for, at most to the end of a part."""
        view = memoryview(buffer)
        while view:
            if self._stream is None:
                part = next(self._parts, None)
                if part is None:
                    return 0
                self._stream = open_blob(self._entry, self._blobs, *part)
            count: int = self._stream.readinto(view)  # type: ignore[attr-defined]
            if count:
                return count
            self._stream.close()
            self._stream = None
        return 0

    def close(self) -> None:
        """Close the part that is open."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        super().close()


def views_of(stream: BinaryIO, size: int) -> Iterator[memoryview]:
    """All that is left of a stream in pieces, each good until the next one.

    What the stream holds already is not copied.

    Args:
        stream: The stream.
        size: Bytes that are expected, -1 if that is not known.
    """
    held = getattr(stream, "views", None)
    if held is not None:
        yield from held()
        return
    buffer = memoryview(bytearray(min(size + 1, _BLOCK) if size >= 0 else _BLOCK))
    while count := stream.readinto(buffer):  # type: ignore[attr-defined]
        yield buffer[:count]


def rest_of(stream: BinaryIO) -> memoryview:
    """All that is left of a stream; not copied where the stream holds it in one piece."""
    held = getattr(stream, "views", None)
    if held is None:
        return memoryview(stream.read())
    pieces = list(held())
    return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))
