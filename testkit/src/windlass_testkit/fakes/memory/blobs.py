"""Blobs in memory."""

from __future__ import annotations

import builtins
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import blake3

from windlass.blobs import BlobInfo, BlobStore
from windlass.errors import IntegrityError, ObjectNotFoundError
from windlass_testkit.fakes.faults import Faults, faulty
from windlass_testkit.fakes.memory.world import World

__all__ = ["MemoryBlobs"]


@faulty
class MemoryBlobs(BlobStore):
    """See `BlobStore`."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self.faults = faults

    def missing(self, digests: Iterable[str]) -> set[str]:
        with self._world.changing():
            return {digest for digest in digests if digest not in self._world.blobs}

    def put(self, digest: str, source: str | bytes) -> None:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        found = _digest(data, digest.partition(":")[0])
        if found != digest:
            raise IntegrityError("the bytes have another digest", context={"expected": digest, "found": found})
        with self._world.changing() as now:
            self._world.blobs.setdefault(digest, (data, now))

    def replace(self, digest: str, source: str | bytes) -> None:
        if not self.is_whole(digest):
            self.delete([digest])
        self.put(digest, source)

    def open(self, digest: str, start: int = 0, length: int = -1) -> BinaryIO:
        with self._world.changing():
            if digest not in self._world.blobs:
                raise ObjectNotFoundError(f"there is no blob {digest}")
            data = self._world.blobs[digest][0]
        return io.BytesIO(data[start:] if length < 0 else data[start : start + length])

    def delete(self, digests: Iterable[str]) -> None:
        with self._world.changing():
            for digest in digests:
                self._world.blobs.pop(digest, None)

    def list(self) -> Iterator[BlobInfo]:
        with self._world.changing():
            known = builtins.list(self._world.blobs.items())
        return iter([BlobInfo(digest=digest, size=len(data), mtime=mtime) for digest, (data, mtime) in known])


def _digest(data: bytes, algorithm: str) -> str:
    if algorithm == "blake3":
        return f"blake3:{blake3.blake3(data).hexdigest()}"
    import hashlib

    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
