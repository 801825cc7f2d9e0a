"""The parts of an entry, which lie in blobs, as streams."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any, BinaryIO, cast

from windlass.artifacts.manifest import Entry, Part
from windlass.blobs import BlobStore
from windlass.errors import IntegrityError, ObjectNotFoundError

__all__ = ["Parts", "PartsReader", "open_blob", "rest_of", "span"]

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


def span(parts: tuple[Part, ...], start: int, length: int) -> list[Part]:
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


class Parts(io.RawIOBase):
    """The parts of a large file, one behind the other; over a network several are fetched at once."""

    def __init__(self, entry: Entry, blobs: BlobStore, parts: list[Part]) -> None:
        self._entry = entry
        self._blobs = blobs
        self._pieces = self._fetch(parts) if blobs.remote and len(parts) > 1 else None
        self._parts = iter(parts)
        self._left = memoryview(b"")
        self._stream: BinaryIO | None = None

    def _fetch(self, parts: list[Part]) -> Generator[memoryview, None, None]:
        from windlass.transfer.streams import in_order

        return in_order((partial(self._get, *part) for part in parts), _AHEAD)

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Give what is asked for, at most to the end of a part."""
        view = memoryview(buffer)
        if self._pieces is None:
            return self._read_on(view)
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = piece
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def views(self) -> Iterator[memoryview]:
        """All that is left, piece by piece; what was fetched is not copied."""
        if self._pieces is not None:
            yield self._left
            yield from self._pieces
            return
        buffer = memoryview(bytearray(_BLOCK))
        while count := self._read_on(buffer):
            yield buffer[:count]

    def _get(self, blob: str, offset: int, size: int) -> memoryview:
        with open_blob(self._entry, self._blobs, blob, offset, size) as stream:
            return rest_of(stream)

    def _read_on(self, view: memoryview) -> int:
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
        """Give back what is open, and fetch no more."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._pieces is not None:
            self._pieces.close()
        super().close()


class PartsReader(io.BufferedReader):
    """The parts of a large file as a buffered stream."""

    raw: Parts

    def views(self) -> Iterator[memoryview]:
        """All of it in pieces, each good until the next one; for streams of which nothing was read yet."""
        return self.raw.views()


def rest_of(stream: BinaryIO) -> memoryview:
    """All that is left of a stream; not copied where the stream can give what it holds."""
    rest = getattr(stream, "rest", None)
    return memoryview(stream.read()) if rest is None else cast(memoryview, rest())
