"""Reading from any protocol that an installed fsspec filesystem serves, without a plugin of ours."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, BinaryIO, cast

from windlass.errors import ObjectChangedError, ObjectNotFoundError, StorageError, UnsupportedError
from windlass.plugins.lookup import official_storage
from windlass.storage import ObjectInfo, ObjectRef, Storage

__all__ = ["FsspecStorage", "folder_of", "split_chain"]

_ETAGS = ("ETag", "etag", "e_tag")
_VERSIONS = ("VersionId", "version_id", "generation")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class FsspecStorage(Storage):
    """A read-only storage over an fsspec filesystem.

    Chained URLs (``zip://member::s3://bucket/a.zip``) are fsspec's own; their options are read from its configuration,
    as those of all its filesystems are (``FSSPEC_SFTP_USERNAME``, ``~/.config/fsspec``).

    Args:
        protocol: Name of the protocol (``sftp``, ``hdfs``, ``memory`` …).
        options: Options of the filesystem.
    """

    def __init__(self, protocol: str, options: Mapping[str, Any] | None = None) -> None:
        self._protocol = protocol
        self._options = dict(options or {})
        self._made: dict[str, Any] = {}
        self._lock = threading.Lock()

    def _open_at(self, uri: str) -> tuple[Any, str]:
        """The filesystem for a URI (its host, or what it is chained to, is part of the options) and the path in it."""
        head, chained = split_chain(uri)
        key = chained or uri.partition("://")[2].partition("/")[0]
        with self._lock:
            found = self._made.get(key)
            if found is None:
                found = self._made[key] = self._ask(uri, lambda: self._make(uri, chained))
        return found, cast("str", found._strip_protocol(head))

    def _make(self, uri: str, chained: str) -> Any:
        from fsspec import get_filesystem_class
        from fsspec.core import url_to_fs

        if chained:
            return url_to_fs(uri, **self._options)[0]  # type: ignore[no-untyped-call]
        system: Any = get_filesystem_class(self._protocol)  # type: ignore[no-untyped-call]
        return system(**{**system._get_kwargs_from_urls(uri), **self._options})

    def stat(self, uri: str) -> ObjectInfo:
        """Facts of one object, as far as the filesystem tells them."""
        system, path = self._open_at(uri)
        facts = self._ask(uri, lambda: system.info(path, **_refresh(system)))
        if facts.get("type") == "directory":
            raise ObjectNotFoundError("it is a folder, not an object", where=uri)
        return self._info(uri, facts)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects below a folder, by the filesystem's own deep listing."""
        head, chained = split_chain(prefix)
        base = folder_of(head)
        system, path = self._open_at(prefix if chained else prefix.rstrip("/"))
        try:
            found = self._ask(prefix, lambda: system.find(path, detail=True, **_refresh(system)))
        except ObjectNotFoundError:
            return
        below = path.rstrip("/") + "/" if path else ""
        for name in sorted(found):
            if name.startswith(below) and not name.endswith("/"):
                yield self._info(f"{base}{name[len(below) :]}{chained}", found[name])

    def open(self, ref: ObjectRef, start: int = 0, length: int = -1) -> BinaryIO:
        """A stream; what was recorded is compared with what is there now."""
        system, path = self._open_at(ref.uri)
        if ref.etag or ref.size >= 0:
            self._unchanged(ref)
        stream = self._ask(ref.uri, lambda: system.open(path, "rb"))
        if start:
            stream.seek(start)
        return stream if length < 0 else cast("BinaryIO", io.BufferedReader(_Limited(stream, length)))

    def put(self, uri: str, source: str | bytes | memoryview, *, if_absent: bool = True) -> ObjectInfo:
        """Refused: what fsspec has for writing overwrites, and is not whole or absent."""
        raise self._read_only(uri)

    def delete(self, uris: Sequence[str]) -> None:
        """Refused, as `put` is."""
        raise self._read_only(uris[0] if uris else "")

    def _read_only(self, uri: str) -> UnsupportedError:
        ours = official_storage(self._protocol)
        hint = f"pip install windlass-storage-{ours}" if ours else "Use a scheme that a storage plugin serves."
        return UnsupportedError(f"{self._protocol}:// can only be read through fsspec", where=uri, hint=hint)

    def _unchanged(self, ref: ObjectRef) -> None:
        now = self.stat(ref.uri)
        pairs = ((ref.version, now.version), (ref.etag, now.etag)) if ref.etag else ((ref.size, now.size),)
        for expected, found in pairs:
            if expected not in ("", -1) and expected != found:
                raise ObjectChangedError(
                    f"the object has changed: expected {expected}, found {found}",
                    where=ref.uri,
                    hint="It was overwritten since it was recorded.",
                    context={"expected": expected, "found": found},
                )

    def _info(self, uri: str, facts: Mapping[str, Any]) -> ObjectInfo:
        size = facts.get("size")
        etag = next((str(facts[key]) for key in _ETAGS if facts.get(key)), "")
        version = next((str(facts[key]) for key in _VERSIONS if facts.get(key)), "")
        mtime = _seconds(next((facts[key] for key in _TIMES if facts.get(key)), 0.0))
        if not etag and mtime:
            etag = f"{mtime:.6f}-{size}"
        return ObjectInfo(
            uri=uri, size=-1 if size is None else int(size), etag=etag.strip('"'), version=version, mtime=mtime
        )

    def _ask(self, uri: str, call: Any) -> Any:
        try:
            return call()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise ObjectNotFoundError("there is no such object", where=uri) from error
        except PermissionError as error:
            raise StorageError(f"refused: {error}", where=uri, hint="Check the credentials.") from error
        except (OSError, TimeoutError) as error:
            raise StorageError(str(error) or type(error).__name__, where=uri, retryable=True) from error
        except ImportError as error:
            ours = official_storage(self._protocol)
            needed = f"windlass-storage-{ours}" if ours else f"what '{self._protocol}' needs"
            raise StorageError(str(error), where=uri, hint=f"pip install {needed}.") from error
        except Exception as error:
            raise StorageError(f"{type(error).__name__}: {error}", where=uri) from error


def split_chain(uri: str) -> tuple[str, str]:
    """The first address of a chained URL and the rest with its ``::``; the rest is empty where nothing is chained."""
    head, mark, rest = uri.partition("::")
    return (head, mark + rest) if mark and "://" in head else (uri, "")


def folder_of(head: str) -> str:
    """The address of a folder with its ``/``."""
    return head if head.endswith("://") else head.rstrip("/") + "/"


def _refresh(system: Any) -> dict[str, bool]:
    system.invalidate_cache()  # listings are cached by fsspec; what we record must be what is there
    return {}


def _seconds(value: Any) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            return 0.0
    return float(value) if isinstance(value, (int, float)) else 0.0


class _Limited(io.RawIOBase):
    """The next `length` bytes of a stream."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream = stream
        self._left = length

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read on."""
        data = self._stream.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()
        super().close()
