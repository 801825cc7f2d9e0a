"""The storage interface: bytes at URIs, as blob store, as source of references, as build-context store."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import msgspec

from windlass.errors import ObjectNotFoundError, UnsupportedError

__all__ = [
    "ObjectInfo",
    "ObjectRef",
    "SignedPut",
    "Storage",
    "StorageCapabilities",
    "file_uri",
    "give_name",
    "open_nameless",
    "write_all",
]

_WRITE = 256 << 10  # for more at once the kernel looks for large pages, and that can take longer than the writing
_NO_TMPFILE = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.EISDIR, errno.EINVAL, errno.EPERM}
_NAMELESS = hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd")
_PLAIN = "/!$&'()*+,;=:@~-._"  # what need not be escaped in the path of a URI (RFC 3986)


def file_uri(path: str) -> str:
    """The ``file://`` URI of an absolute path."""
    from urllib.parse import quote

    return "file://" + quote(path, safe=_PLAIN, errors="surrogateescape")


def write_all(handle: int, view: memoryview) -> None:
    """Write all of a view to a file descriptor, however little the system takes at once."""
    while view:
        view = view[os.write(handle, view[:_WRITE]) :]


def open_nameless(folder: str, mode: int) -> int | None:
    """A file descriptor for writing to a new file that has no name yet; None where the file system has no such files.

    What becomes of it when its writer is killed: nothing. And it costs less than a name that is changed later.
    """
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY, mode) if _NAMELESS else None
    except OSError as error:
        if error.errno in _NO_TMPFILE:
            return None
        raise


def give_name(handle: int, path: str) -> None:
    """Let a nameless file appear under a path. Raises `FileExistsError` when something is there."""
    # the descriptor only makes Python use linkat(AT_SYMLINK_FOLLOW), which gives a nameless file its name
    os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle, follow_symlinks=True)


class StorageCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a storage scheme can do.

    Attributes:
        listing: `list` works.
        writable: `put` and `delete` work.
        conditional_put: `put` with ``if_absent`` is atomic also between processes.
        versions: Old versions of an object can be read by version id or generation.
        checksums: `ObjectInfo.checksum` comes from the store without reading the bytes.
        presign: `presign` gives URLs that need no credentials.
        links: Objects are files of this host that can be hard-linked or reflinked (`local_path`).
    """

    listing: bool = True
    writable: bool = True
    conditional_put: bool = True
    versions: bool = False
    checksums: bool = False
    presign: bool = False
    links: bool = False


class ObjectRef(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Names exact bytes: an address plus whatever identifies the version that was seen.

    Attributes:
        uri: Address.
        etag: As the store gave it, quotes stripped. Empty: not checked.
        version: Version id or generation. Empty: the present one.
        size: Bytes, -1 if not known.
    """

    uri: str
    etag: str = ""
    version: str = ""
    size: int = -1


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a store says of an object.

    Attributes:
        uri: Full address.
        size: Bytes.
        etag: Quotes stripped. Empty if the store has none.
        version: Version id or generation, empty if the store keeps no versions.
        checksum: A real content checksum ``<algorithm>:<hex>`` (``crc32c``, ``md5``, ``sha256``, ``crc64nvme`` …)
            or empty. Never an ETag.
        mtime: Seconds since the epoch, 0.0 if not known.
    """

    uri: str
    size: int
    etag: str = ""
    version: str = ""
    checksum: str = ""
    mtime: float = 0.0

    @property
    def ref(self) -> ObjectRef:
        """The reference that fetches exactly this version again."""
        return ObjectRef(uri=self.uri, etag=self.etag, version=self.version, size=self.size)


class SignedPut(msgspec.Struct, frozen=True, kw_only=True):
    """A ``PUT`` request that whoever holds it may make once, of exactly the bytes it was made for.

    Attributes:
        url: Where to.
        headers: What must be sent with it, unchanged; the signature covers them.
    """

    url: str
    headers: dict[str, str]


class Storage(ABC):
    """One storage scheme with its credentials. Serves several threads; methods run side by side."""

    @abstractmethod
    def stat(self, uri: str) -> ObjectInfo:
        """Facts about one object, without its bytes.

        Raises:
            ObjectNotFoundError: Nothing is there (a prefix is not an object).
            StorageError: Refused or failed; `retryable` for network faults.
        """

    def exists(self, uri: str) -> bool:
        """True when an object is there; may cost less than `stat`. Raises `StorageError`."""
        try:
            self.stat(uri)
        except ObjectNotFoundError:
            return False
        return True

    @abstractmethod
    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects below a prefix, in path order, with all that a listing tells and no request per object.

        The prefix is a folder: ``s3://b/foo`` gives ``foo/…`` and never ``foobar/…``; an object named exactly
        like the prefix is not part of it. Zero-size objects are given, folder markers (names ending in ``/``)
        are not. Nothing there: an empty iteration. Never truncates.
        """

    @abstractmethod
    def open(self, ref: ObjectRef, start: int = 0, length: int = -1) -> BinaryIO:
        """A readable stream over the recorded version, from byte `start`, `length` bytes (-1: to the end).

        Raises:
            ObjectNotFoundError: Gone.
            ObjectChangedError: Without versions in the store: etag or size differ; names expected and found.
        """

    def put(self, uri: str, source: str | bytes | memoryview, *, if_absent: bool = True) -> ObjectInfo:
        """Store the file at path `source`, or the bytes, under `uri`; whole or not at all.

        With `if_absent` an existing object is left as it is and its info returned. Parents are made as needed.
        Large files go up in parts, resumed when called again after a kill.

        Raises:
            NoSpaceError, StorageError, UnsupportedError.
        """
        raise UnsupportedError(f"{type(self).__name__} cannot do this")

    def delete(self, uris: Sequence[str]) -> None:
        """Remove objects; missing ones are fine."""
        raise UnsupportedError(f"{type(self).__name__} cannot do this")

    def presign(self, uri: str, method: str, expires: float) -> str:
        """A URL with which ``GET`` or ``PUT`` works without credentials for `expires` seconds."""
        raise UnsupportedError(f"{type(self).__name__} cannot do this")

    def presign_put(self, uri: str, digest: str, size: int, expires: float) -> SignedPut:
        """A request with which a client without credentials may store an object, for `expires` seconds.

        Only for stores that compare the bytes with `digest` themselves, refuse all others, and overwrite nothing: who
        holds the request can then store what it was made for or nothing.

        Raises:
            UnsupportedError: The store does not verify digests of this algorithm.
        """
        raise UnsupportedError(f"{type(self).__name__} cannot do this")

    def local_path(self, uri: str) -> str | None:
        """Path on this host of an object, if it is one that may be linked; else None."""
        return None

    def check(self) -> None:
        """Find out whether the credentials hold. Raises `WindlassError` with advice."""

    def close(self) -> None:
        """Give back connections. May be repeated."""
