"""A blob store over any storage scheme: ``<root>/<algorithm>/<first two hex digits>/<digest>``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from windlass.artifacts.digest import ALGORITHMS, algorithm_of, digest_of, hash_file
from windlass.blobs import BlobInfo, BlobStore
from windlass.errors import AccessError, IntegrityError, ObjectNotFoundError, UnsupportedError
from windlass.storage import ObjectRef, SignedPut, Storage

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["StorageBlobStore"]

_LIST_ABOVE = 256  # more questions than this are answered by listing folders
_THREADS = 16
_TRASH = "trash"
_HEX = 64


class StorageBlobStore(BlobStore):
    """Blobs as objects of a storage scheme.

    Args:
        storage: Where they lie.
        root_uri: Folder that holds them; nothing else may write there.
    """

    def __init__(self, storage: Storage, root_uri: str) -> None:
        self._storage = storage
        self.root_uri = root_uri.rstrip("/")

    def uri(self, digest: str) -> str:
        """Address of a blob."""
        algorithm = algorithm_of(digest)
        value = digest[len(algorithm) + 1 :]
        return f"{self.root_uri}/{algorithm}/{value[:2]}/{value}"

    def missing(self, digests: Iterable[str]) -> set[str]:
        """Local stores are looked at, others are asked one by one, or listed when there are many."""
        wanted = set(digests)
        if not wanted:
            return wanted
        local = self._storage.local_path(self.uri(next(iter(wanted))))
        if local is not None:
            return {digest for digest in wanted if not os.path.exists(self.local_path(digest) or "")}
        if len(wanted) == 1:
            return {digest for digest in wanted if not self._storage.exists(self.uri(digest))}
        if len(wanted) > _LIST_ABOVE:
            folders = {self.uri(digest).rpartition("/")[0] for digest in wanted}
            with _pool() as pool:
                there = {name for names in pool.map(self._names, folders) for name in names}
            return {digest for digest in wanted if digest not in there}
        with _pool(len(wanted)) as pool:
            found = pool.map(lambda digest: (digest, self._storage.exists(self.uri(digest))), wanted)
            return {digest for digest, there in found if not there}

    def _names(self, folder: str) -> list[str]:
        algorithm = folder.split("/")[-2]
        return [f"{algorithm}:{info.uri.rpartition('/')[2]}" for info in self._storage.list(folder)]

    def put(self, digest: str, source: str | bytes) -> None:
        """Store and verify."""
        _prove(digest, source)
        self._storage.put(self.uri(digest), source, if_absent=True)

    def replace(self, digest: str, source: str | bytes) -> None:
        """Store, verify and overwrite what is damaged, which no storage scheme leaves half done."""
        _prove(digest, source)
        there = not self.missing((digest,))
        if there and self.is_whole(digest):
            return
        self._storage.put(self.uri(digest), source, if_absent=not there)
        if there and (path := self.local_path(digest)) is not None:
            os.chmod(path, 0o444)  # as all blobs are

    def put_buffer(self, digest: str, data: memoryview) -> None:
        """Store without hashing again, and without a copy."""
        self._storage.put(self.uri(digest), data, if_absent=True)

    @property
    def remote(self) -> bool:
        """False for files of this host."""
        return self._storage.local_path(f"{self.root_uri}/{ALGORITHMS[0]}") is None

    def open(self, digest: str, start: int = 0, length: int = -1) -> BinaryIO:
        """Read a blob or a range of it; a retired one is found too."""
        try:
            return self._storage.open(ObjectRef(uri=self.uri(digest)), start, length)
        except ObjectNotFoundError as error:
            try:
                return self._storage.open(ObjectRef(uri=self._aside(digest)), start, length)
            except ObjectNotFoundError:
                raise error from None

    def delete(self, digests: Iterable[str]) -> None:
        """Remove blobs."""
        self._storage.delete([self.uri(digest) for digest in digests])

    def list(self) -> Iterator[BlobInfo]:
        """All blobs."""
        return self._below(self.root_uri)

    def _below(self, folder: str) -> Iterator[BlobInfo]:
        for algorithm in ALGORITHMS:
            for info in self._storage.list(f"{folder}/{algorithm}"):
                value = info.uri.rpartition("/")[2]
                if len(value) == _HEX:
                    yield BlobInfo(digest=f"{algorithm}:{value}", size=info.size, mtime=info.mtime)

    def _aside(self, digest: str) -> str:
        return f"{self.root_uri}/{_TRASH}{self.uri(digest)[len(self.root_uri) :]}"

    def retire(self, digests: Iterable[str]) -> None:
        """Move blobs below ``trash/``."""
        self._move((self.uri(digest), self._aside(digest)) for digest in digests)

    def retired(self) -> Iterator[BlobInfo]:
        """Blobs below ``trash/``."""
        return self._below(f"{self.root_uri}/{_TRASH}")

    def restore(self, digests: Iterable[str]) -> None:
        """Move blobs back; one that was stored again meanwhile stays as it is."""
        self._move(((self._aside(digest), self.uri(digest)) for digest in digests), keep=True)

    def purge(self, digests: Iterable[str]) -> None:
        """Delete retired blobs."""
        self._storage.delete([self._aside(digest) for digest in digests])

    def _move(self, pairs: Iterable[tuple[str, str]], *, keep: bool = False) -> None:
        """Move objects: files by renaming, others by copies and one deletion; those that are gone are passed over.

        With `keep` a file that is at the target already stays.
        """
        copies = []
        for source, target in pairs:
            path, place = self._storage.local_path(source), self._storage.local_path(target)
            if path is None or place is None:
                copies.append((source, target))
                continue
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                if keep and os.path.exists(place):
                    os.unlink(path)
                else:
                    os.replace(path, place)
        if copies:
            with _pool() as pool:
                copied = [source for source in pool.map(self._copy, *zip(*copies, strict=True)) if source]
            self._storage.delete(copied)

    def _copy(self, source: str, target: str) -> str:
        """The source if it is there."""
        import shutil
        import tempfile

        with tempfile.NamedTemporaryFile(prefix="windlass-") as file:
            try:
                with self._storage.open(ObjectRef(uri=source)) as stream:
                    shutil.copyfileobj(stream, file, 1 << 20)
            except ObjectNotFoundError:
                return ""
            file.flush()
            self._storage.put(target, file.name, if_absent=True)
        return source

    def local_path(self, digest: str) -> str | None:
        """Path of a blob on this host, if it is a file."""
        return self._storage.local_path(self.uri(digest))

    def presign(self, digest: str, expires: float) -> str:
        """A URL of the storage's, if it can make one with its credentials."""
        try:
            return self._storage.presign(self.uri(digest), "GET", expires)
        except (UnsupportedError, AccessError):
            return ""

    def presign_put(self, digest: str, size: int, expires: float) -> SignedPut | None:
        """A request that the storage will verify, if it can."""
        try:
            return self._storage.presign_put(self.uri(digest), digest, size, expires)
        except (UnsupportedError, AccessError):
            return None

    def close(self) -> None:
        """The storage belongs to whoever made it."""


def _prove(digest: str, source: str | bytes) -> None:
    algorithm = algorithm_of(digest)
    found = hash_file(source, algorithm) if isinstance(source, str) else digest_of(source, algorithm)
    if found != digest:
        place = source if isinstance(source, str) else ""
        raise IntegrityError(f"expected {digest}, found {found}; nothing was stored", where=place)


def _pool(most: int = _THREADS) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # stores of this host do without

    return ThreadPoolExecutor(min(_THREADS, most))
