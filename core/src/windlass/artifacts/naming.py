"""What the system says about a place on disk, in words that help."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from windlass.errors import NoSpaceError, StorageError

__all__ = ["naming", "translated"]

_ADVICE = {
    errno.EEXIST: "Remove it, or give another folder.",
    errno.ENOTDIR: "A file is in the way of a folder; remove it, or give another folder.",
    errno.EISDIR: "A folder is in the way of a file; remove it (a checkout removes what is not of the artifact).",
    errno.ENOTEMPTY: "A folder is in the way of a file; remove it (a checkout removes what is not of the artifact).",
    errno.EACCES: "Give a folder that you may write to, or change its permissions.",
    errno.EPERM: "Give a folder that you may write to, or change its permissions.",
    errno.EROFS: "The file system is read-only; give a folder on another.",
    errno.ENAMETOOLONG: "The file system takes no name so long; give a folder with a shorter path, or leave it out.",
    errno.EFBIG: "The file system, or a limit of this process (ulimit -f), takes no file so large.",
    errno.ENOENT: "Give a folder whose parents can be made.",
}

_ROOM = "Make room on it: 'windlass artifact cache clean' does where the cache is on it, too."


def translated(error: OSError, place: str, hint: str = "") -> StorageError:
    """The error to raise for one of the system's."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError("the disk is full", where=place, hint=_ROOM)
    return StorageError(
        f"it cannot be written: {error.strerror}", where=place, hint=hint or _ADVICE.get(error.errno or 0, "")
    )


@contextmanager
def naming(place: str, hint: str = "") -> Iterator[None]:
    """Turn what the system says about a place into an error that names it and says what to do."""
    try:
        yield
    except OSError as error:
        raise translated(error, place, hint) from error
