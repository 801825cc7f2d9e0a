"""Files on disk: their identity, walking directories, and copying with the least work the file system allows."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator

import msgspec

from windlass.errors import StorageError, UsageError

__all__ = ["Signature", "Source", "signature", "walk"]

Signature = tuple[int, int, int, int, int]
"""Device, inode, size, mtime_ns, ctime_ns: when none of them changed, the content has not."""

_FICLONE = 0x40049409


class Source(msgspec.Struct, gc=False):
    """A file that becomes an entry.

    Attributes:
        path: Path in the artifact.
        file: Absolute path on disk.
        signature: As it was when it was added.
        root: Folder under which the stat cache remembers it; empty: not at all.
        extra: Facts for the entry.
    """

    path: str
    file: str
    signature: Signature
    root: str
    extra: dict[str, object] | None = None

    @property
    def size(self) -> int:
        """Bytes, when it was added."""
        return self.signature[2]


def signature(found: os.stat_result) -> Signature:
    """The signature of a stat result."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def walk(
    root: str, prefix: str, wanted: Callable[[str, bool], bool] | None = None, *, follow: bool = True
) -> Iterator[Source]:
    """Regular files below a folder as sources; in no particular order.

    Args:
        root: Absolute path of the folder.
        prefix: Put before the paths in the artifact, empty or ending in ``/``.
        wanted: Says for a path relative to `root` (and whether it is a folder) if it is taken.
        follow: Follow symbolic links to files and folders; without, a link is an error.

    Raises:
        UsageError: A name that is not UTF-8, a link that leads nowhere or (without `follow`) any link.
        StorageError: A folder cannot be read.
    """
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
            if not follow and entry.is_symlink():
                raise UsageError(
                    "it is a symbolic link", where=entry.path, hint="Pass follow_symlinks=True, or exclude it."
                )
            try:
                found = entry.stat()
            except FileNotFoundError:
                why = "is a symbolic link that leads nowhere" if entry.is_symlink() else "vanished while it was read"
                raise UsageError(f"it {why}", where=entry.path, hint="Exclude it, or remove it.") from None
            except OSError as error:
                raise StorageError(f"it cannot be read: {error.strerror}", where=entry.path) from error
            if stat.S_ISREG(found.st_mode):
                if not name.isascii():
                    _check_utf8(name, entry.path)
                facts = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
                yield Source(prefix + name, entry.path, facts, root)  # as `signature`, without a call for each file
            elif stat.S_ISDIR(found.st_mode):
                here = (found.st_dev, found.st_ino)
                if here not in above:
                    stack.append((entry.path, name + "/", (*above, here)))


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
