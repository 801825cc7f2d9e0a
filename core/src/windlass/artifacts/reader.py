"""Content of entries as streams, without downloading more than is asked for."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate
from typing import Any, BinaryIO, cast

from windlass.artifacts.checksums import checker, digest_by, digest_like
from windlass.artifacts.manifest import Entry
from windlass.artifacts.parts import open_blob, open_parts
from windlass.blobs import BlobStore
from windlass.errors import IntegrityError, ObjectChangedError, ObjectNotFoundError, StorageError
from windlass.storage import ObjectRef, Storage

__all__ = ["EntryReader", "entry_ref", "open_entry"]

OVERWRITTEN = "It was overwritten since it was recorded, where no old versions are kept. Record it again."
"""What to do about a reference whose bytes are others."""
GONE = "Put it back, or record it anew. '--allow-missing' (allow_missing_references) downloads without it."
"""What to do about a reference whose bytes are not there."""
DAMAGED = (
    "Try again, as it may have happened on the way. 'windlass artifact verify' names all that is damaged in the store; "
    "'windlass artifact repair' puts it right from files that still have the content."
)
"""What to do about stored bytes that are others."""
_BLOCK = 1 << 20
_STEPS = 4  # reads that each go on where the last one ended; behind them the rest is one stream, not a request for each


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
        return cast(BinaryIO, _Referred(entry, storage_for(entry.ref), start, length))
    if not entry.parts:
        return open_blob(entry, blobs, entry.digest, start, length)
    if len(entry.parts) == 1:
        blob, offset, size = entry.parts[0]
        count = size - start if length < 0 else min(length, size - start)
        return open_blob(entry, blobs, blob, offset + start, max(count, 0))
    return open_parts(entry, blobs, start, length)


class _Referred(io.RawIOBase):
    """The bytes of a reference; of the object that is there now when what was recorded is gone and that is the same.

    A store may let old versions expire, and gives an object another ETag or version when the same bytes are stored
    again.
    """

    def __init__(self, entry: Entry, storage: Storage, start: int, length: int) -> None:
        self._entry, self._storage, self._range = entry, storage, (start, length)
        self._fresh = True
        self._stream: BinaryIO = io.BytesIO()
        try:
            self._stream = storage.open(entry_ref(entry), start, length)
        except (ObjectNotFoundError, ObjectChangedError) as error:
            self._stream = self._now(error)

    def _now(self, error: StorageError) -> BinaryIO:
        """What is there now. Raises `error` when that is something else."""
        self._fresh = False
        other = False
        with suppress(StorageError):
            now = self._storage.stat(self._entry.ref)
            other = self._entry.digest not in (now.checksum, f"etag:{now.etag}")
            if not other:
                there = ObjectRef(uri=self._entry.ref, etag=now.etag, version=now.version, size=now.size)
                return self._storage.open(there, *self._range)
        if isinstance(error, ObjectNotFoundError):
            error.hint = error.hint or GONE
            if other:  # asked for by the version that was recorded
                error.message = "the version that was recorded is gone, and what is there now is something else"
        raise error

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read on. Raises `ObjectNotFoundError`, `ObjectChangedError` as the storage does."""
        try:
            count: int = self._stream.readinto(buffer)  # type: ignore[attr-defined]
        except (ObjectNotFoundError, ObjectChangedError) as error:  # some storages ask only now
            if not self._fresh:
                raise
            self._stream = self._now(error)
            return self.readinto(buffer)
        self._fresh = False
        return count

    def readall(self) -> bytes:
        """All that is left."""
        pieces, buffer = [], memoryview(bytearray(_BLOCK))
        while count := self.readinto(buffer):
            pieces.append(bytes(buffer[:count]))
        return b"".join(pieces)

    def close(self) -> None:
        """Close what is open."""
        self._stream.close()
        super().close()


class EntryReader(io.RawIOBase):
    """A seekable, read-only file over an entry that fetches ranges as they are asked for.

    A reference whose size is not known is one stream: it can be read on, and not be sought in.

    Small entries, and each chunk of a large one, are proven by their digests before a byte is delivered. An entry
    between the two (and a reference whose content digest is recorded) has one digest for the whole: it is proven when
    it was read up to its end, in any steps that leave nothing out; a range out of its middle cannot be. Where every
    byte must be proven first, use a download or `ArtifactEngine.read`.
    """

    def __init__(self, entry: Entry, blobs: BlobStore, storage_for: Callable[[str], Storage]) -> None:
        self.entry = entry
        self.name = entry.path
        self._blobs = blobs
        self._storage_for = storage_for
        self._position = 0
        self._ends = list(accumulate(part[2] for part in entry.parts))
        self._held = (0, b"")  # where the last proven piece begins, and its bytes
        self._running = checker(entry.digest)
        self._hashed = 0  # bytes from the start that went through `_running`
        self._stream: BinaryIO | None = None  # of an entry of unknown size, or of one that is read on and on
        self._steps = 0  # reads in a row
        self._row_end = 0  # where they ended

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True when the size is known."""
        return self.entry.size >= 0

    def tell(self) -> int:
        """Position in the entry."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position. Raises `io.UnsupportedOperation` when the size is not known."""
        if not self.seekable():
            raise io.UnsupportedOperation(f"'{self.entry.path}' has no known size; read it from start to end")
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.entry.size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fetch what is asked for, at most to the end of a piece.

        Raises:
            IntegrityError, ObjectChangedError: The bytes (of a reference) are not those that were recorded.
        """
        if self.closed:
            raise ValueError("the file is closed")
        view = memoryview(buffer)
        if self.entry.size < 0:
            return self._read_on(view)
        wanted = min(len(view), self.entry.size - self._position)
        if wanted <= 0:
            return 0
        start, length, digest = self._piece()
        if digest:
            if self._held[0] != start or not self._held[1]:
                self._held = (start, self._proven(start, length, digest))
            offset = self._position - start
            wanted = min(wanted, length - offset)
            view[:wanted] = memoryview(self._held[1])[offset : offset + wanted]
        else:
            self._advance(view[:wanted])
            self._follow(view[:wanted])
        self._position += wanted
        return wanted

    def readall(self) -> bytes:
        """All that is left, in as few requests as may be."""
        if self.entry.size < 0:
            return super().readall()
        pieces = []
        while self._position < self.entry.size:
            start, length, _ = self._piece()
            pieces.append(bytearray(start + length - self._position))
            self.readinto(pieces[-1])
        return b"".join(pieces)

    def _advance(self, view: memoryview) -> None:
        """Fill the view from the position."""
        if self._position != self._row_end:
            self._steps = 0
            self._drop()
        if self._steps < _STEPS:
            self._fetch(self._position, view)
        else:
            try:
                if self._stream is None:
                    self._stream = open_entry(self.entry, self._blobs, self._storage_for, self._position)
                self._fill(self._stream, view)
            except BaseException:
                self._drop()
                raise
        self._steps += 1
        self._row_end = self._position + len(view)

    def _read_on(self, view: memoryview) -> int:
        if self._stream is None:
            self._stream = open_entry(self.entry, self._blobs, self._storage_for)
        count: int = self._stream.readinto(view)  # type: ignore[attr-defined]
        self._position += count
        if self._running is not None:
            self._running.update(view[:count])
            at_end = not count and len(view)
            found = digest_by(self._running, self.entry.digest) if at_end else self.entry.digest
            if found != self.entry.digest:
                raise self._damaged(f"expected {self.entry.digest}, found {found}", 0)
        return count

    def close(self) -> None:
        """Close what is open."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _piece(self) -> tuple[int, int, str]:
        """Start, length and digest of what can be proven around the position; without digest when nothing can."""
        if len(self.entry.parts) > 1:
            index = bisect_right(self._ends, self._position)
            blob, _, length = self.entry.parts[index]
            return self._ends[index] - length, length, blob
        return 0, self.entry.size, self.entry.digest if self._running is not None and self.entry.size <= _BLOCK else ""

    def _proven(self, start: int, length: int, digest: str) -> bytes:
        data = bytearray(length)
        self._fetch(start, memoryview(data))
        found = digest_like(digest, data)
        if found != digest:
            raise self._damaged(f"expected {digest}, found {found}", start)
        return bytes(data)

    def _fetch(self, start: int, view: memoryview) -> None:
        with open_entry(self.entry, self._blobs, self._storage_for, start, len(view)) as stream:
            self._fill(stream, view)

    def _fill(self, stream: BinaryIO, view: memoryview) -> None:
        done = 0
        while done < len(view):
            got: int = stream.readinto(view[done:])  # type: ignore[attr-defined]
            if not got:
                raise IntegrityError(
                    f"the content ends {len(view) - done} bytes early", where=self.entry.ref or self.entry.path
                )
            done += got

    def _follow(self, view: memoryview) -> None:
        """Hash what goes on from what was hashed, and compare at the end."""
        if self._running is None or not self._position <= self._hashed < self._position + len(view):
            return
        self._running.update(view[self._hashed - self._position :])
        self._hashed = self._position + len(view)
        if self._hashed < self.entry.size:
            return
        found = digest_by(self._running, self.entry.digest)
        if found != self.entry.digest:
            raise self._damaged(f"expected {self.entry.digest}, found {found}", 0)

    def _damaged(self, what: str, start: int) -> StorageError:
        place = f" from byte {start}" if start else ""
        path, where = self.entry.path, self.entry.ref or self.entry.path
        context = {"path": path, "expected": self.entry.digest}
        if self.entry.ref:
            return ObjectChangedError(
                f"'{path}' is not what was recorded{place}: {what}", where=where, hint=OVERWRITTEN, context=context
            )
        return IntegrityError(f"'{path}' is damaged{place}: {what}", where=where, hint=DAMAGED, context=context)


def buffered(reader: EntryReader) -> BinaryIO:
    """The reader with read-ahead of one MiB."""
    return io.BufferedReader(reader, _BLOCK)
