"""The blob interface: artifact bytes under their digest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from windlass.errors import StorageError, UnsupportedError

if TYPE_CHECKING:
    from windlass.storage import SignedPut

__all__ = ["BlobInfo", "BlobStore"]


class BlobInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stored blob.

    Attributes:
        digest: ``<algorithm>:<hex>`` of the content, which is also its key.
        size: Bytes.
        mtime: Seconds since the epoch when it was stored, 0.0 if not known.
    """

    digest: str
    size: int
    mtime: float = 0.0


class BlobStore(ABC):
    """Immutable bytes by digest, the flat key space below packs, chunks and manifests. Serves several threads.

    Two implementations: over any storage scheme (`windlass.artifacts.blobstore`), and over a server's HTTP API.
    """

    @abstractmethod
    def missing(self, digests: Iterable[str]) -> set[str]:
        """Those of the digests that are not stored. Batched: cost grows with the pages, not one request each."""

    @abstractmethod
    def put(self, digest: str, source: str | bytes) -> None:
        """Store the file at path `source`, or the bytes, under their digest; whole or not at all; never overwrites.

        Raises:
            IntegrityError: The bytes have another digest; nothing was stored.
            NoSpaceError, StorageError.
        """

    def put_buffer(self, digest: str, data: memoryview) -> None:
        """Store bytes whose digest the caller has just computed. Like `put`, and may skip a second check or copy."""
        self.put(digest, bytes(data))

    def is_whole(self, digest: str, done: Callable[[int], None] = lambda _: None) -> bool:
        """Read a blob and compare it with its digest; `done` is told its bytes. False when it is gone, too."""
        from windlass.artifacts.digest import algorithm_of, hash_stream

        try:
            with self.open(digest) as stream:
                found, size = hash_stream(stream, algorithm_of(digest))
        except StorageError:
            return False
        done(size)
        return found == digest

    def replace(self, digest: str, source: str | bytes) -> None:
        """Like `put`, and also where other bytes are stored under the digest. Called by repair only.

        What is stored and whole stays. May be repeated, and killed: what was damaged is then still damaged, or gone.
        """
        raise UnsupportedError(f"{type(self).__name__} cannot replace what is damaged")

    @abstractmethod
    def open(self, digest: str, start: int = 0, length: int = -1) -> BinaryIO:
        """A readable stream over the blob, or over a range of it. The caller verifies what he reads.

        Raises:
            ObjectNotFoundError: It is not stored.
        """

    @abstractmethod
    def delete(self, digests: Iterable[str]) -> None:
        """Remove blobs; missing ones are fine. Called by garbage collection only."""

    @abstractmethod
    def list(self) -> Iterator[BlobInfo]:
        """All blobs, in no particular order. Called by garbage collection only."""

    def retire(self, digests: Iterable[str]) -> None:
        """Move blobs aside: `missing` does not know them any more, `open` still finds them. Called by collection."""
        raise UnsupportedError(f"{type(self).__name__} cannot collect garbage", hint="Run it where the blobs are kept.")

    def retired(self) -> Iterator[BlobInfo]:
        """Blobs that were moved aside. Called by garbage collection only."""
        return iter(())

    def restore(self, digests: Iterable[str]) -> None:
        """Bring retired blobs back. Called by garbage collection only."""

    def purge(self, digests: Iterable[str]) -> None:
        """Remove retired blobs for good. Called by garbage collection only."""

    @property
    def remote(self) -> bool:
        """True when each call waits for a network: then few large ones, and many side by side, are the fastest."""
        return True

    def local_path(self, digest: str) -> str | None:
        """Path on this host of a blob that may be hard-linked or reflinked, or None."""
        return None

    def presign(self, digest: str, expires: float) -> str:
        """A URL that gives the blob to whoever holds it, for `expires` seconds; empty when the store has none.

        Called by the server, so that bytes need not pass through it. It may lead to nothing (a retired blob): then
        ask `open`.
        """
        return ""

    def presign_put(self, digest: str, size: int, expires: float) -> SignedPut | None:
        """A request by which the blob may be stored past the server; None where that is not safe.

        It is safe where the store itself proves that the bytes have the digest (`Storage.presign_put`).
        """
        return None

    def close(self) -> None:
        """Give back connections. May be repeated."""
