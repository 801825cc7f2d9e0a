"""Files on disk: their identity, walking directories, and copying with the least work the file system allows."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator

import msgspec

from windlass.artifacts.digest import hash_file
from windlass.errors import ConflictError, StorageError, UsageError, WindlassError

__all__ = [
    "SIGNATURE",
    "SYMLINKS",
    "UNCHANGED",
    "Signature",
    "Source",
    "below",
    "is_abandoned",
    "is_temporary",
    "signature",
    "size_in",
    "special",
    "sweep",
    "temporary_in",
    "temporary_names",
    "times_in",
    "walk",
]

Signature = bytes
"""Device, inode, size, mtime_ns, ctime_ns in 8 bytes each: when none of them changed, the content has not."""

SYMLINKS = ("error", "follow", "skip")
"""What becomes of symbolic links in a folder: they are refused, taken as what they lead to, or left out."""

_TEMPORARY = ".windlass-"
_IS_TEMPORARY = re.compile(r"\.windlass-[0-9a-f]{12}")
_ABANDONED = 3600.0
SIGNATURE = 40
"""Bytes of a signature."""
_pack = struct.Struct("=QQqqq").pack
_times = struct.Struct("=qq").unpack_from
UNCHANGED = 32
"""So many bytes of a signature tell of the content alone; the rest moves when a link is made or permissions change."""
_FICLONE = 0x40049409
_LINK_HINT = "Take what links lead to with symlinks='follow' (--symlinks follow), or leave them out with 'skip'."


class Source(msgspec.Struct, array_like=True, gc=False):
    """A file that becomes an entry.

    Attributes:
        path: Path in the artifact.
        root: Folder it lies below, under which the stat cache remembers it; empty: it is not remembered.
        signature: As it was when it was added.
        name: Path below `root`, where that is not `path`; without a root the absolute path on disk.
        extra: Facts for the entry.
    """

    path: str
    root: str
    signature: Signature
    name: str = ""
    extra: dict[str, object] | None = None

    @property
    def below(self) -> str:
        """Path below the root."""
        return self.name or self.path

    @property
    def file(self) -> str:
        """Absolute path on disk; empty where there is no file."""
        return f"{self.root}/{self.name or self.path}" if self.root else self.name

    @property
    def size(self) -> int:
        """Bytes, when it was added."""
        return size_in(self.signature)

    def digest(self, algorithm: str = "blake3") -> str:
        """Digest of the content as it is now."""
        return hash_file(self.file, algorithm)


def signature(found: os.stat_result) -> Signature:
    """The signature of a stat result."""
    return _pack(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def size_in(signature: Signature) -> int:
    """Bytes of a file with that signature."""
    return int.from_bytes(signature[16:24], sys.byteorder)


def times_in(signature: Signature) -> tuple[int, int]:
    """Time of the last change of the content, and of anything, that a signature holds, in ns."""
    return _times(signature, 24)


def walk(
    root: str, prefix: str, wanted: Callable[[str, bool], bool] | None = None, *, symlinks: str = "error"
) -> Iterator[Source]:
    """Regular files below a folder as sources; in no particular order. `root` itself may be a link.

    Args:
        root: Absolute path of the folder.
        prefix: Put before the paths in the artifact, empty or ending in ``/``.
        wanted: Says for a path relative to `root` (and whether it is a folder) if it is taken.
        symlinks: One of `SYMLINKS`.

    Raises:
        UsageError: A name that is not UTF-8; a FIFO, socket or device; a link that `symlinks` does not permit, that
            leads nowhere, or back to a folder it lies in.
        StorageError: A folder cannot be read.
    """
    if symlinks not in SYMLINKS:
        raise UsageError(f"'{symlinks}' is no rule for symbolic links", hint=f"Known: {', '.join(SYMLINKS)}.")
    top = os.stat(root)
    stack: list[tuple[str, str, tuple[tuple[int, int], ...]]] = [(root, "", ((top.st_dev, top.st_ino),))]
    while stack:
        folder, below, above = stack.pop()
        try:
            with os.scandir(folder) as scan:
                entries = list(scan)
        except OSError as error:
            raise StorageError(f"the folder cannot be read: {error.strerror}", where=folder) from error
        for entry in entries:
            name = below + entry.name
            if wanted is not None and not wanted(name, entry.is_dir()):
                continue
            if symlinks != "follow" and entry.is_symlink():
                if symlinks == "skip":
                    continue
                raise _refused(entry, "a symbolic link", f" to {os.readlink(entry.path)}", _LINK_HINT)
            try:
                found = entry.stat()
            except OSError as error:
                if not entry.is_symlink():
                    raise _unreadable(entry, error) from error
                what = "that leads nowhere" if isinstance(error, FileNotFoundError) else f"({error.strerror})"
                raise _refused(entry, f"a symbolic link {what}", f": {os.readlink(entry.path)}") from None
            if stat.S_ISREG(found.st_mode):
                if not name.isascii():
                    _check_utf8(name, entry.path)
                # as `signature`, without a call for each file
                facts = _pack(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
                yield Source(prefix + name, root, facts, name if prefix else "")
            elif stat.S_ISDIR(found.st_mode):
                here = (found.st_dev, found.st_ino)
                if here in above:
                    raise _refused(entry, "a symbolic link back to a folder that it lies in")
                stack.append((entry.path, name + "/", (*above, here)))
            else:
                raise _refused(entry, special(found.st_mode))


def below(root: str) -> Iterator[str]:
    """Relative paths of all that is below a folder and is no folder itself, deepest first; no link is followed."""
    for folder, folders, names in os.walk(root, topdown=False):
        above = "" if folder == root else f"{os.path.relpath(folder, root)}/"
        for name in (*names, *(name for name in folders if os.path.islink(f"{folder}/{name}"))):
            yield above + name


def temporary_in(folder: str) -> str:
    """A new path in a folder for content that is not whole yet."""
    return f"{folder}/{next(temporary_names())}"


def temporary_names() -> Iterator[str]:
    """Names for content that is not whole yet, new in any folder. Many cost less than one each by itself."""
    while True:
        prefix = _TEMPORARY + os.urandom(4).hex()
        for number in range(1 << 16):
            yield f"{prefix}{number:04x}"


def is_temporary(path: str) -> bool:
    """True for a path that `temporary_in` gave: a download that is under way, or was killed."""
    return _IS_TEMPORARY.fullmatch(path.rpartition("/")[2]) is not None


def is_abandoned(path: str) -> bool:
    """True for a temporary file that nothing has touched for an hour."""
    try:
        return is_temporary(path) and abs(time.time() - os.lstat(path).st_ctime) > _ABANDONED
    except FileNotFoundError:
        return False


def sweep(folder: str) -> None:
    """Remove what killed downloads have left in a folder."""
    with os.scandir(folder) as scan:
        for path in [entry.path for entry in scan if is_abandoned(entry.path)]:
            with contextlib.suppress(OSError):
                os.unlink(path)


def special(mode: int) -> str:
    """What something is that is neither file, folder nor link: ``a FIFO``, ``a socket`` or ``a device``."""
    return "a FIFO" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


def _refused(entry: os.DirEntry[str], what: str, more: str = "", hint: str = "Exclude it, or remove it.") -> UsageError:
    return UsageError(f"it is {what}{more}", where=entry.path, hint=hint)


def _unreadable(entry: os.DirEntry[str], error: OSError) -> WindlassError:
    if isinstance(error, FileNotFoundError):
        return ConflictError("it vanished while the folder was read", where=entry.path, hint="Try again.")
    return StorageError(f"it cannot be read: {error.strerror}", where=entry.path)


def _check_utf8(name: str, path: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(
            "the file's name is not valid UTF-8", where=repr(path), hint="Rename the file, or exclude it."
        ) from None


def reflink(source: int, target: int) -> bool:
    """Make `target` share the blocks of `source`; False where the file system cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTSUP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM):
            return False
        raise
    return True
