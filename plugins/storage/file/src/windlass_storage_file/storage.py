"""Files under ``file://`` URIs: whole or absent, never overwritten by accident."""

from __future__ import annotations

import errno
import io
import os
import stat as modes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO
from urllib.parse import unquote

from windlass.errors import (
    NoSpaceError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageError,
    UsageError,
)
from windlass.storage import ObjectInfo, ObjectRef, Storage, file_uri, give_name, open_nameless, write_all
from windlass_storage_file.config import FileStorageConfig

__all__ = ["FileStorage"]

_TEMPORARY = ".windlass-tmp-"
_BLOCK = 256 << 10


class FileStorage(Storage):
    """Objects are files. Every host that mounts the same directory sees the same objects.

    An object is written to a nameless file and then linked under its name, so that a killed writer leaves nothing and
    of two writers one wins. Where the file system has no nameless files (NFS), a hidden temporary file takes
    their place. Objects put with ``if_absent`` are read-only files.

    Args:
        config: Settings.
    """

    def __init__(self, config: FileStorageConfig | None = None) -> None:
        self._config = config or FileStorageConfig()
        self._nameless = True  # until the file system says that it has none

    def stat(self, uri: str) -> ObjectInfo:
        """Facts of a file."""
        path = path_of(uri)
        with _translated(uri):
            found = os.stat(path)
        if not modes.S_ISREG(found.st_mode):
            raise ObjectNotFoundError(f"{path} is not a file", where=uri)
        return _info(uri, found)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Files below a folder; links are followed, never in a circle."""
        root = path_of(prefix.rstrip("/") or prefix)
        with _translated(prefix):
            try:
                seen = os.stat(root)
            except FileNotFoundError:
                return
        if modes.S_ISDIR(seen.st_mode):
            yield from _walk(root, ((seen.st_dev, seen.st_ino),))

    def open(self, ref: ObjectRef, start: int = 0, length: int = -1) -> BinaryIO:
        """Read a file, checked against what was recorded."""
        path = path_of(ref.uri)
        with _translated(ref.uri):
            file = open(path, "rb", buffering=0)  # noqa: SIM115 - handed to the caller
        try:
            found = os.fstat(file.fileno())
            _check_unchanged(ref, found)
            if start:
                file.seek(start)
        except BaseException:
            file.close()
            raise
        raw: io.RawIOBase = file if length < 0 else _Slice(file, length)
        return io.BufferedReader(raw, 1 << 16)

    def put(self, uri: str, source: str | bytes | memoryview, *, if_absent: bool = True) -> ObjectInfo:
        """Write a file, whole or not at all."""
        path = path_of(uri)
        if if_absent:
            try:
                return _info(uri, os.stat(path))
            except OSError:
                pass
        with _translated(uri):
            try:
                self._write(path, source, if_absent)
            except FileNotFoundError:
                if isinstance(source, str) and not os.path.exists(source):
                    raise StorageError(f"there is no file {source} to store", where=uri) from None
                os.makedirs(os.path.dirname(path), exist_ok=True)
                self._write(path, source, if_absent)
            return _info(uri, os.stat(path))

    def _write(self, path: str, source: str | bytes | memoryview, if_absent: bool) -> None:
        folder = os.path.dirname(path)
        mode = 0o444 if if_absent else 0o644
        if if_absent and self._nameless:
            nameless = open_nameless(folder, mode)
            if nameless is not None:
                try:
                    self._fill(nameless, source)
                    with suppress(FileExistsError):  # somebody else was faster; such objects are equal by contract
                        give_name(nameless, path)
                finally:
                    os.close(nameless)
                self._settle(folder)
                return
            self._nameless = False
        temporary = os.path.join(folder, _TEMPORARY + os.urandom(8).hex())
        target = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            try:
                self._fill(target, source)
            finally:
                os.close(target)
            if if_absent:
                _publish(temporary, path)
            else:
                os.replace(temporary, path)
                temporary = ""
        finally:
            if temporary:
                _unlink(temporary)
        self._settle(folder)

    def _settle(self, folder: str) -> None:
        if self._config.fsync:
            _sync_folder(folder)

    def _fill(self, target: int, source: str | bytes | memoryview) -> None:
        if isinstance(source, str):
            _copy(source, target)
        else:
            write_all(target, memoryview(source))
        if self._config.fsync:
            os.fsync(target)

    def delete(self, uris: Sequence[str]) -> None:
        """Remove files."""
        for uri in uris:
            with _translated(uri):
                _unlink(path_of(uri))

    def local_path(self, uri: str) -> str | None:
        """The path itself."""
        return path_of(uri)

    def check(self) -> None:
        """Nothing to find out: permissions belong to each directory."""


def path_of(uri: str) -> str:
    """The path of a ``file://`` URI. Raises `UsageError` when it is not absolute, or on another host."""
    # '#' and '?' in a file's name stand for themselves: the URI of a file has neither fragment nor query
    host, slash, rest = uri.removeprefix("file://").partition("/")
    if not uri.startswith("file://") or not slash or host not in ("", "localhost"):
        raise UsageError(f"'{uri}' is not the URI of a local file", hint="Write file:///absolute/path.")
    path = "/" + (unquote(rest, errors="surrogateescape") if "%" in rest else rest)
    if "\0" in path:
        raise UsageError(f"{uri!r} holds a NUL")
    return path


def _info(uri: str, found: os.stat_result) -> ObjectInfo:
    return ObjectInfo(uri=uri, size=found.st_size, etag=_etag(found), mtime=found.st_mtime_ns / 1e9)


def _etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_size:x}"


def _check_unchanged(ref: ObjectRef, found: os.stat_result) -> None:
    if not modes.S_ISREG(found.st_mode):
        raise ObjectNotFoundError("it is not a file", where=ref.uri)
    expected, present = (ref.etag, _etag(found)) if ref.etag else (ref.size, found.st_size)
    if expected != present and (ref.etag or ref.size >= 0):
        raise ObjectChangedError(
            f"the file has changed: expected {expected}, found {present}",
            where=ref.uri,
            hint="It was overwritten since it was recorded; a file system keeps no old versions.",
            context={"expected": expected, "found": present},
        )


def _walk(folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[ObjectInfo]:
    """Files below a folder, in the order of their full paths; links are followed, but never in a circle."""
    with _translated(folder), os.scandir(folder) as scan:
        names = sorted((entry.name + "/" if entry.is_dir() else entry.name, entry) for entry in scan)
    for name, entry in names:
        try:
            found = entry.stat()
        except FileNotFoundError:
            if entry.is_symlink():
                raise StorageError(
                    f"{entry.path} is a symbolic link that leads nowhere", hint="Remove it, or mend its target."
                ) from None
            continue  # deleted while we looked
        if name.endswith("/"):
            here = (found.st_dev, found.st_ino)
            if here not in above:
                yield from _walk(entry.path, (*above, here))
        elif modes.S_ISREG(found.st_mode) and not name.startswith(_TEMPORARY):
            yield _info(file_uri(entry.path), found)


class _Slice(io.RawIOBase):
    """The next `length` bytes of a file."""

    def __init__(self, file: io.FileIO, length: int) -> None:
        self._file = file
        self._left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: self._left]
        count = self._file.readinto(view) or 0
        self._left -= count
        return count

    def readall(self) -> bytes:  # the default reads in steps of 8 KiB
        found = b""
        while self._left and (more := self._file.read(self._left)):
            self._left -= len(more)
            found = found + more if found else more
        return found

    def close(self) -> None:
        self._file.close()
        super().close()


def _copy(source: str, target: int) -> None:
    with open(source, "rb", buffering=0) as file:
        if hasattr(os, "copy_file_range"):
            try:  # shares the blocks where the file system can
                while os.copy_file_range(file.fileno(), target, 1 << 30):
                    pass
                return
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM):
                    raise
                file.seek(os.lseek(target, 0, os.SEEK_CUR))
        buffer = memoryview(bytearray(_BLOCK))
        while count := file.readinto(buffer):
            write_all(target, buffer[:count])


def _publish(temporary: str, path: str) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK):
            raise
        # a file system without hard links: the best it can do is look, then rename
        if not os.path.exists(path):
            os.rename(temporary, path)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        pass


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _error(error, where) from error


def _error(error: OSError, where: str) -> StorageError:
    say: Callable[..., StorageError] = StorageError
    hint, retryable = "", False
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        say = ObjectNotFoundError
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        say = NoSpaceError  # it may be told to a client of a server, which is on another machine
        hint = "Make room on the machine that has this disk: 'windlass artifact gc', or there 'artifact cache clean'."
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = "Check the permissions of the file and of its directory."
    elif error.errno == errno.EFBIG:
        hint = "The file system, or a limit of this process (ulimit -f), takes no file so large."
    elif error.errno == errno.ENAMETOOLONG:
        hint = "A part of the name may have 255 bytes at most."
    else:
        retryable = error.errno in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN)
    return say(f"{error.strerror or error}", where=where, hint=hint, retryable=retryable)
