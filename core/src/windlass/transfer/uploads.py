"""Uploads in parts that survive a kill."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from attrs import frozen

from windlass import wire
from windlass.errors import ConfigError, StorageError

__all__ = ["Journal", "Source", "send_parts", "stale_uploads"]


class Source:
    """The bytes to be stored: a file by path, or bytes in memory. Serves several threads; close it after use.

    Raises:
        StorageError: The file cannot be read.
    """

    def __init__(self, source: str | bytes | memoryview) -> None:
        self.path = source if isinstance(source, str) else ""
        self._data = b"" if isinstance(source, str) else source
        self._fd = -1
        self.size = len(self._data)
        if isinstance(source, str):
            try:
                self._fd = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0))
                self.size = os.fstat(self._fd).st_size
            except OSError as error:
                raise StorageError(f"it cannot be read: {error.strerror}", where=source) from None

    def whole(self) -> bytes | memoryview:
        """Everything, without a copy of what is in memory."""
        return self.read() if self._fd >= 0 else self._data

    def read(self, start: int = 0, length: int = -1) -> bytes:
        """`length` bytes from `start` (-1: to the end). Raises `StorageError` when the file became shorter."""
        length = self.size - start if length < 0 else length
        if self._fd < 0:
            return bytes(self._data if length == self.size else self._data[start : start + length])
        pieces, missing = [], length
        while missing:
            piece = os.pread(self._fd, missing, start + length - missing)
            if not piece:
                raise StorageError("the file became shorter while it was stored", where=self.path)
            pieces.append(piece)
            missing -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@frozen(kw_only=True)
class _Head:
    uri: str
    place: str
    upload: str
    size: int
    part_size: int
    started: float


@frozen(kw_only=True)
class _Line:
    part: int
    crc: int
    facts: dict[str, Any]


class Journal:
    """What a multipart upload has reached, in a file of its own, so that it goes on after a kill.

    One line for the upload and one for each part the store has confirmed, each flushed; a torn last line is ignored.
    A lock on the file keeps a second process from sending the same object twice at once: it waits. Without a
    writable folder the upload works, but starts anew after a kill.

    Args:
        folder: ``<home>/uploads/<scheme>``.
        uri: What is being stored.
        place: What else decides where it goes (the endpoint).
    """

    def __init__(self, folder: Path, uri: str, place: str = "") -> None:
        self._uri, self._place = uri, place
        name = hashlib.blake2b(f"{place}\n{uri}".encode(), digest_size=16).hexdigest()
        self.path = folder / f"{name}.jsonl"
        self._file: io.BufferedRandom | None = None
        self._lock = threading.Lock()
        self._head: _Head | None = None
        self.parts: dict[int, _Line] = {}

    @property
    def upload(self) -> str:
        """Id of the upload that may be continued, or empty."""
        return self._head.upload if self._head else ""

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                file = open(self.path, "a+b", opener=lambda path, flags: os.open(path, flags, 0o600))
                fcntl.flock(file, fcntl.LOCK_EX)
                if self.path.exists() and os.fstat(file.fileno()).st_ino == self.path.stat().st_ino:
                    break
                file.close()  # the holder before us finished and removed it
        except OSError:
            return self
        self._file = file
        self._load()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            if not self._head:
                self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def _load(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        for number, line in enumerate(self._file.read().split(b"\n")[:-1]):
            try:
                if number == 0:
                    self._head = wire.decode(line, _Head)
                else:
                    found = wire.decode(line, _Line)
                    self.parts[found.part] = found
            except ConfigError:
                break

    def fits(self, size: int, part_size: int, max_age: float) -> bool:
        """True when the recorded upload is of a file of this size in such parts, and not older than `max_age` s."""
        head = self._head
        return (
            head is not None
            and (head.uri, head.place, head.size, head.part_size) == (self._uri, self._place, size, part_size)
            and 0 <= time.time() - head.started < max_age
        )

    def begin(self, upload: str, size: int, part_size: int) -> None:
        """Record a new upload; forgets the one before."""
        self._head = _Head(
            uri=self._uri, place=self._place, upload=upload, size=size, part_size=part_size, started=time.time()
        )
        self.parts = {}
        if self._file is not None:
            self._file.truncate(0)
            self._write(self._head)

    def done(self, part: int, crc: int, facts: Mapping[str, Any]) -> None:
        """Record a part that the store has confirmed."""
        line = _Line(part=part, crc=crc, facts=dict(facts))
        with self._lock:
            self.parts[part] = line
            self._write(line)

    def keep(self, confirmed: Callable[[int, Mapping[str, Any]], bool]) -> None:
        """Leave out recorded parts that the store does not confirm (number and facts)."""
        self.parts = {n: line for n, line in self.parts.items() if confirmed(n, line.facts)}

    def forget(self) -> None:
        """The upload is over; nothing is left to continue."""
        self._head, self.parts = None, {}

    def _write(self, line: Any) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk must not stop the upload
                self._file.write(wire.encode(line) + b"\n")
                self._file.flush()


def stale_uploads(folder: Path, max_age: float) -> Iterator[tuple[str, str, str, Path]]:
    """Uploads that were given up more than `max_age` seconds ago: address, place, upload id and their journal."""
    now = time.time()
    for path in sorted(folder.glob("*.jsonl")):
        with contextlib.suppress(OSError, ConfigError):
            if now - path.stat().st_mtime > max_age:
                head = wire.decode(path.read_bytes().split(b"\n", 1)[0], _Head)
                yield head.uri, head.place, head.upload, path


def send_parts(
    source: Source,
    part_size: int,
    send: Callable[[int, bytes, int], Mapping[str, Any]],
    journal: Journal,
    *,
    workers: int = 8,
    memory: int = 256 << 20,
) -> list[Mapping[str, Any]]:
    """Send all parts of a source side by side; those in the journal whose bytes are the same are left out.

    Args:
        source: The bytes.
        part_size: Bytes in each part but the last.
        send: Gets number (from 1), bytes and CRC-32 of a part; returns what completing the upload will
            need. It tries again by itself.
        journal: Gets every confirmed part.
        workers: Most parts at once.
        memory: Most bytes of parts held at once.

    Raises:
        StorageError: A part failed; no further part is begun.
    """
    count = max(1, -(-source.size // part_size))

    def work(number: int) -> Mapping[str, Any]:
        start = (number - 1) * part_size
        data = source.read(start, min(part_size, source.size - start))
        crc = zlib.crc32(data)
        known = journal.parts.get(number)
        if known is not None and known.crc == crc:
            return known.facts
        facts = send(number, data, crc)
        journal.done(number, crc, facts)
        return facts

    width = max(1, min(workers, count, memory // part_size))
    with ThreadPoolExecutor(width, thread_name_prefix="upload") as pool:
        futures = [pool.submit(work, number) for number in range(1, count + 1)]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise
