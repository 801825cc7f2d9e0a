"""A queue of encoded records that keeps a little in memory and the rest in a file."""

from __future__ import annotations

import logging
from collections import deque
from itertools import islice
from pathlib import Path
from typing import BinaryIO

__all__ = ["Spool"]

_log = logging.getLogger("windlass")


class Spool:
    """First in, first out; records are JSON texts without newlines. Not thread-safe: the owner locks.

    Args:
        path: File for what does not fit into memory; made when needed and removed when empty.
        limit: Bytes held in memory.
    """

    def __init__(self, path: Path, limit: int = 8 << 20) -> None:
        self.path = path
        self._limit = limit
        self._memory: deque[bytes] = deque()
        self._bytes = 0
        self._file: BinaryIO | None = None
        self._read_at = 0
        self._in_file = 0
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._memory) + self._in_file

    def append(self, record: bytes) -> None:
        """Add a record at the end. When even the disk is full it is dropped, with one warning."""
        if not self._in_file and self._bytes + len(record) <= self._limit:
            self._memory.append(record)
            self._bytes += len(record)
            return
        try:
            file = self._open()
            file.seek(0, 2)
            file.write(record + b"\n")
            file.flush()
            self._in_file += 1
        except OSError as error:
            self._dropped += 1
            if self._dropped == 1:
                _log.warning("metrics are being dropped: %s cannot be written: %s", self.path, error.strerror)

    def peek(self, count: int, size: float = float("inf")) -> list[bytes]:
        """The first records, at most `count` and `size` bytes, but one at least; they stay until `drop`."""
        if len(self._memory) < count and self._in_file:
            self._load(count - len(self._memory))
        found: list[bytes] = []
        for record in islice(self._memory, count):
            size -= len(record)
            if found and size < 0:
                break
            found.append(record)
        return found

    def drop(self, count: int) -> None:
        """Forget the first `count` records; they were peeked before."""
        for _ in range(count):
            self._bytes -= len(self._memory.popleft())
        if not len(self):
            self.close(remove=True)

    def save(self, header: bytes) -> None:
        """Put everything into the file, `header` first, for a later process."""
        records = [header, *self.peek(len(self))]
        self.close(remove=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".tmp")
        partial.write_bytes(b"".join(record + b"\n" for record in records))
        partial.replace(self.path.with_suffix(".jsonl"))

    def close(self, remove: bool = True) -> None:
        """Close the file, and remove it."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._read_at = self._in_file = 0
            if remove:
                self.path.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w+b")
        return self._file

    def _load(self, count: int) -> None:
        file = self._open()
        file.seek(self._read_at)
        for _ in range(min(count, self._in_file)):
            line = file.readline()
            self._memory.append(line.rstrip(b"\n"))
            self._bytes += len(line) - 1
            self._in_file -= 1
        self._read_at = file.tell()
        if not self._in_file:
            file.truncate(0)
            self._read_at = 0
