"""Content of entries as streams, without downloading more than is asked for."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable
from typing import Any, BinaryIO

from windlass.artifacts.manifest import Entry, Part
from windlass.blobs import BlobStore
from windlass.errors import IntegrityError
from windlass.storage import ObjectRef, Storage

__all__ = ["EntryReader", "entry_ref", "open_entry"]

_BLOCK = 1 << 20


def entry_ref(entry: Entry) -> ObjectRef:
    """The recorded bytes of a reference entry."""
    extra = entry.extra or {}
    return ObjectRef(
        uri=entry.ref,
        etag=str(extra.get("etag", "")),
        version=str(extra.get("version", "")),
        size=entry.size,
    )


def open_entry(
    entry: Entry, blobs: BlobStore, storage_for: Callable[[str], Storage], start: int = 0, length: int = -1
) -> BinaryIO:
    """A stream over an entry, or over a range of it. The caller verifies what he reads.

    Raises:
        ObjectNotFoundError, ObjectChangedError: A reference's target is gone, or not what was recorded.
    """
    if entry.ref:
        return storage_for(entry.ref).open(entry_ref(entry), start, length)
    if not entry.parts:
        return blobs.open(entry.digest, start, length)
    if len(entry.parts) == 1:
        blob, offset, size = entry.parts[0]
        count = size - start if length < 0 else min(length, size - start)
        return blobs.open(blob, offset + start, max(count, 0))
    return io.BufferedReader(_Parts(entry.parts, blobs, start, length), 1 << 16)


class _Parts(io.RawIOBase):
    """The parts of a large file, one behind the other."""

    def __init__(self, parts: tuple[Part, ...], blobs: BlobStore, start: int, length: int) -> None:
        total = sum(part[2] for part in parts)
        self._left = total - start if length < 0 else min(length, total - start)
        self._skip = start
        self._parts = iter(parts)
        self._blobs = blobs
        self._stream: BinaryIO | None = None

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fetch what is asked for, at most to the end of a part."""
        view = memoryview(buffer)[: max(self._left, 0)]
        while view:
            if self._stream is None:
                part = next(self._parts, None)
                if part is None:
                    return 0
                blob, offset, size = part
                if self._skip >= size:
                    self._skip -= size
                    continue
                self._stream = self._blobs.open(blob, offset + self._skip, size - self._skip)
                self._skip = 0
            count: int = self._stream.readinto(view)  # type: ignore[attr-defined]
            if count:
                self._left -= count
                return count
            self._stream.close()
            self._stream = None
        return 0

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        super().close()


class EntryReader(io.RawIOBase):
    """A seekable, read-only file over a stored entry that fetches ranges as they are asked for.

    Reading it from beginning to end verifies nothing; use `ArtifactEngine.read` or a download where bytes must be
    proven. Whole reads through `readall` are verified.
    """

    def __init__(self, entry: Entry, blobs: BlobStore, storage_for: Callable[[str], Storage]) -> None:
        self.entry = entry
        self.name = entry.path
        self._blobs = blobs
        self._storage_for = storage_for
        self._position = 0
        self._ends = []
        total = 0
        for part in entry.parts:
            total += part[2]
            self._ends.append(total)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Position in the entry."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.entry.size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fetch what is asked for, at most to the end of a part."""
        view = memoryview(buffer)
        count = min(len(view), self.entry.size - self._position)
        if count <= 0:
            return 0
        if len(self.entry.parts) > 1:  # one request is one part
            index = bisect_right(self._ends, self._position)
            count = min(count, self._ends[index] - self._position)
        done = 0
        with open_entry(self.entry, self._blobs, self._storage_for, self._position, count) as stream:
            while done < count:
                got: int = stream.readinto(view[done:count])  # type: ignore[attr-defined]
                if not got:
                    raise IntegrityError(
                        f"the content ends {count - done} bytes early", where=self.entry.ref or self.entry.path
                    )
                done += got
        self._position += done
        return done


def buffered(reader: EntryReader) -> BinaryIO:
    """The reader with read-ahead of one MiB."""
    return io.BufferedReader(reader, _BLOCK)
