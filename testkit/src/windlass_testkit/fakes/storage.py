"""Objects in memory: a versioned store with checksums, as the better clouds are."""

from __future__ import annotations

import builtins
import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from attrs import define, frozen

from windlass.config import option
from windlass.errors import ObjectChangedError, ObjectNotFoundError, StorageError
from windlass.storage import ObjectInfo, ObjectRef, Storage
from windlass_testkit.fakes.faults import Faults, faulty

__all__ = ["Bucket", "MemoryStorage", "MemoryStorageConfig", "bucket_named"]


@frozen(kw_only=True)
class MemoryStorageConfig:
    """Settings of the storage in memory."""

    bucket: str = option(default="", help="Name of the store; storages of one name see each other's objects.")


@define(eq=False)
class Bucket:
    """What is stored: all versions of every object, the newest last. A deleted object ends in None."""

    objects: dict[str, list[tuple[ObjectInfo, bytes] | None]]
    lock: threading.Lock
    clock: Callable[[], float] = time.time


_buckets: dict[str, Bucket] = {}


def bucket_named(name: str) -> Bucket:
    """The store of a name, made when it is asked for first."""
    return _buckets.setdefault(name, Bucket({}, threading.Lock()))


@faulty
class MemoryStorage(Storage):
    """Serves ``memory://…``.

    Attributes:
        faults: Calls so far, and what shall go wrong.
    """

    def __init__(self, bucket: Bucket | None = None) -> None:
        self.bucket = bucket or Bucket({}, threading.Lock())
        self.faults = Faults()

    def stat(self, uri: str) -> ObjectInfo:
        with self.bucket.lock:
            return self._newest(uri)[0]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = prefix.rstrip("/") + "/"
        with self.bucket.lock:
            uris = sorted(uri for uri in self.bucket.objects if uri.startswith(folder) and not uri.endswith("/"))
            newest = [versions[-1] for versions in map(self.bucket.objects.__getitem__, uris)]
        return iter([found[0] for found in newest if found is not None])

    def open(self, ref: ObjectRef, start: int = 0, length: int = -1) -> BinaryIO:
        with self.bucket.lock:
            info, data = self._version(ref) if ref.version else self._newest(ref.uri)
        if (ref.etag and ref.etag != info.etag) or ref.size not in (-1, info.size):
            raise ObjectChangedError(
                f"{ref.uri} has changed: expected {ref.etag or ref.size}, found {info.etag or info.size}"
            )
        return io.BytesIO(data[start:] if length < 0 else data[start : start + length])

    def put(self, uri: str, source: str | bytes | memoryview, *, if_absent: bool = True) -> ObjectInfo:
        try:
            data = Path(source).read_bytes() if isinstance(source, str) else bytes(source)
        except OSError as error:
            raise StorageError(f"{source!r} cannot be read: {error.strerror}") from error
        with self.bucket.lock:
            versions = self.bucket.objects.setdefault(uri, [])
            newest = versions[-1] if versions else None
            if newest is not None and if_absent:
                return newest[0]
            version = f"{len(versions) + 1}"
            info = ObjectInfo(
                uri=uri,
                size=len(data),
                etag=f"etag-{version}-{hashlib.sha256(data).hexdigest()[:8]}",
                version=version,
                checksum=f"sha256:{hashlib.sha256(data).hexdigest()}",
                mtime=self.bucket.clock(),
            )
            versions.append((info, data))
            return info

    def delete(self, uris: Sequence[str]) -> None:
        with self.bucket.lock:
            for uri in uris:
                if self.bucket.objects.get(uri, [None])[-1] is not None:
                    self.bucket.objects[uri].append(None)

    def _newest(self, uri: str) -> tuple[ObjectInfo, bytes]:
        versions: builtins.list[tuple[ObjectInfo, bytes] | None] = self.bucket.objects.get(uri, [None])
        if versions[-1] is None:
            raise ObjectNotFoundError(f"there is no object {uri}", where=uri)
        return versions[-1]

    def _version(self, ref: ObjectRef) -> tuple[ObjectInfo, bytes]:
        for found in self.bucket.objects.get(ref.uri, []):
            if found is not None and found[0].version == ref.version:
                return found
        raise ObjectNotFoundError(f"there is no version {ref.version} of {ref.uri}", where=ref.uri)
