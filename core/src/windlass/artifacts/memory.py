"""Content between objects and the blob store without a file: buffers that are stored, memory to read into."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from collections.abc import Sequence
from typing import BinaryIO, Self

from windlass.artifacts.checksums import checker, digest_by
from windlass.artifacts.digest import hasher
from windlass.artifacts.files import Source
from windlass.artifacts.manifest import Entry

__all__ = ["Pieces", "PiecesReader", "fits_in_memory", "fresh_memory", "read_into_memory"]

_BLOCK = 4 << 20
_SHARE_OF_MEMORY = 4
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Pieces(Source):
    """A source whose bytes lie in memory. The buffers must stay as they are until the artifact is logged.

    Attributes:
        pieces: Buffers of bytes, one behind the other.
    """

    pieces: Sequence[memoryview] = ()

    @classmethod
    def of(cls, path: str, buffers: Sequence[memoryview | bytes], extra: dict[str, object] | None) -> Self:
        """A source for an entry.

        Args:
            path: Path in the artifact.
            buffers: Contiguous buffers.
            extra: Facts for the entry.
        """
        views = [memoryview(buffer).cast("B") for buffer in buffers if memoryview(buffer).nbytes]
        size = sum(view.nbytes for view in views)
        signature = bytes(16) + size.to_bytes(8, sys.byteorder) + bytes(16)
        return cls(path=path, root="", signature=signature, extra=extra, pieces=views)

    def digest(self, algorithm: str = "blake3") -> str:
        """Digest of the content."""
        made = hasher(algorithm)
        for piece in self.pieces:
            made.update(piece)
        return f"{algorithm}:{made.hexdigest()}"

    def open(self) -> PiecesReader:
        """Read the content from its beginning."""
        return PiecesReader(self.pieces)


class PiecesReader:
    """Copies pieces one behind the other, as the uploader reads files."""

    def __init__(self, pieces: Sequence[memoryview]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def fill(self, view: memoryview) -> None:
        """Read all into a view that is one byte longer."""
        self.read_exactly(view[:-1])

    def read_exactly(self, view: memoryview) -> None:
        """Fill the view."""
        while view:
            if not self._rest:
                self._rest = next(self._pieces)
            count = min(len(view), len(self._rest))
            view[:count] = self._rest[:count]
            view, self._rest = view[count:], self._rest[count:]

    def at_end(self) -> None:
        """Pieces cannot grow."""


def fits_in_memory(size: int) -> bool:
    """Whether so many bytes may be held at once; more are better mapped from a file."""
    return size <= _memory_there_is() // _SHARE_OF_MEMORY


def _memory_there_is() -> int:
    """Bytes of the machine, or as many as a container may use."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name in _LIMITS:
        with contextlib.suppress(OSError, ValueError), open(name, encoding="ascii") as file:  # "max" is no number
            found = min(found, int(file.read()))
    return found


def read_into_memory(stream: BinaryIO, entry: Entry) -> tuple[memoryview, int, str]:
    """Read a stream into memory of its own, and hash behind the reading.

    Args:
        stream: The entry's content.
        entry: Its size must be known.

    Returns:
        A writable view of what was read, at most the entry's size; the number of bytes that the stream holds, counted
        to one beyond that size; and their digest, which is the recorded one where none can be computed.
    """
    from concurrent.futures import ThreadPoolExecutor

    view = _memory(entry.size)
    made = checker(entry.digest)
    done = 0
    with ThreadPoolExecutor(1, thread_name_prefix="windlass-hash") as pool:
        futures = []
        while done < entry.size:
            got: int = stream.readinto(view[done : done + _BLOCK])  # type: ignore[attr-defined]
            if not got:
                break
            block = view[done : done + got]
            done += got
            if made is None:
                continue
            if entry.size <= _BLOCK:
                made.update(block)
            else:
                futures.append(pool.submit(made.update, block))
        for future in futures:
            future.result()
    return view[:done], done + len(stream.read(1)), digest_by(made, entry.digest)


def _memory(size: int) -> memoryview:
    return memoryview(bytearray(size)) if size < _BLOCK else fresh_memory(size)


def fresh_memory(size: int) -> memoryview:
    """Memory of this process that is made when it is touched, in large pages where the system has them.

    A bytearray is written twice, first with zeros; the first touch of small pages costs as much as copying into them.
    """
    made = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            made.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(made)
