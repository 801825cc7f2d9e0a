"""From the blob store to files: every byte verified, nothing ever written outside the target."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import BinaryIO

from windlass.artifacts.digest import ALGORITHMS, digest_of, hasher
from windlass.artifacts.files import reflink
from windlass.artifacts.manifest import Entry
from windlass.artifacts.names import check_entry_path
from windlass.artifacts.reader import open_entry
from windlass.blobs import BlobStore
from windlass.errors import (
    IntegrityError,
    NoSpaceError,
    ObjectNotFoundError,
    StorageError,
    UsageError,
)
from windlass.storage import Storage

__all__ = ["Downloader", "Target"]

_BLOCK = 1 << 20
_BATCH = 64


class Target:
    """A folder that entries are written to. Links in it are never followed.

    Args:
        root: Absolute path of the folder; made when needed.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._folders: set[str] = {""}
        os.makedirs(root, exist_ok=True)

    def place(self, path: str) -> str:
        """The path on disk for an entry, with its folders made.

        Raises:
            UsageError: The path leads out of the folder, or through a link or a file.
        """
        check_entry_path(path)
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            self._make(folder)
        if os.name == "nt" and ":" in name:
            raise UsageError(f"'{path}' cannot be a file name on this system")
        return f"{self.root}/{path}"

    def _make(self, folder: str) -> None:
        above = folder.rpartition("/")[0]
        if above not in self._folders:
            self._make(above)
        place = f"{self.root}/{folder}"
        try:
            os.mkdir(place)
        except FileExistsError:
            found = os.lstat(place)
            if stat.S_ISLNK(found.st_mode):
                raise UsageError(
                    "it is a symbolic link; nothing is written through it", where=place, hint="Remove the link."
                ) from None
            if not stat.S_ISDIR(found.st_mode):
                raise UsageError(
                    "a file is in the way of a folder", where=place, hint="Remove it, or download elsewhere."
                ) from None
        self._folders.add(folder)


class Downloader:
    """Writes entries to files.

    Args:
        blobs: Where their bytes lie.
        storage_for: Finds the storage of references.
        threads: Files that are written side by side.
    """

    def __init__(self, blobs: BlobStore, storage_for: Callable[[str], Storage], threads: int = 4) -> None:
        self._blobs = blobs
        self._storage_for = storage_for
        self._threads = threads

    def run(self, entries: Iterable[Entry], target: Target, *, allow_missing: bool = False) -> list[Entry]:
        """Write all entries; returns the references that were missing (with `allow_missing`).

        The first failure stops the rest and is raised; files that were finished stay, others are not there.
        """
        missing: list[Entry] = []
        batches = _batched(entries)
        with ThreadPoolExecutor(self._threads, thread_name_prefix="windlass-get") as pool:
            running: set[Future[list[Entry]]] = set()
            try:
                for batch in batches:
                    places = [(entry, target.place(entry.path)) for entry in batch]
                    running.add(pool.submit(self._batch, places, allow_missing))
                    if len(running) >= 4 * self._threads:
                        done, running = wait(running, return_when=FIRST_COMPLETED)
                        for future in done:
                            missing += future.result()
                for future in running:
                    missing += future.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return missing

    def _batch(self, places: list[tuple[Entry, str]], allow_missing: bool) -> list[Entry]:
        missing = []
        for entry, place in places:
            try:
                self.one(entry, place)
            except ObjectNotFoundError:
                if not (allow_missing and entry.ref):
                    raise
                missing.append(entry)
        return missing

    def one(self, entry: Entry, place: str) -> None:
        """Write one entry to a path, whole or not at all."""
        if _is_there(entry, place):
            return
        temporary = f"{place[: place.rfind('/')]}/.windlass-{secrets.token_hex(6)}"
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                self._fill(entry, handle)
            finally:
                os.close(handle)
            os.replace(temporary, place)
        except OSError as error:
            _remove(temporary)
            raise _translated(error, place) from error
        except BaseException:
            _remove(temporary)
            raise

    def _fill(self, entry: Entry, handle: int) -> None:
        with open_entry(entry, self._blobs, self._storage_for) as stream:
            copy_verified(stream, handle, entry)


def copy_verified(stream: BinaryIO, handle: int, entry: Entry) -> None:
    """Copy an entry's stream to a file descriptor and prove what was copied.

    Raises:
        IntegrityError: Size or digest is not the recorded one; names the entry, expected and found.
    """
    algorithm = entry.digest.partition(":")[0]
    checked = hasher(algorithm) if algorithm in ALGORITHMS else None
    buffer = memoryview(bytearray(min(max(entry.size, 0) + 1, _BLOCK) if entry.size >= 0 else _BLOCK))
    size = 0
    while count := stream.readinto(buffer):  # type: ignore[attr-defined]
        view = buffer[:count]
        if checked is not None:
            checked.update(view)
        while view:
            view = view[os.write(handle, view) :]
        size += count
    _prove(entry, size, f"{algorithm}:{checked.hexdigest()}" if checked is not None else entry.digest)


def prove(entry: Entry, size: int, data: bytes) -> None:
    """Raise `IntegrityError` unless data is the entry's content."""
    algorithm = entry.digest.partition(":")[0]
    _prove(entry, size, digest_of(data, algorithm) if algorithm in ALGORITHMS else entry.digest)


def _prove(entry: Entry, size: int, found: str) -> None:
    where = entry.ref or entry.path
    if entry.size >= 0 and size != entry.size:
        raise IntegrityError(f"'{entry.path}' has {size} bytes, expected {entry.size}", where=where)
    if found != entry.digest:
        raise IntegrityError(
            f"'{entry.path}' is damaged: expected {entry.digest}, found {found}",
            where=where,
            context={"path": entry.path, "expected": entry.digest, "found": found},
        )


def _is_there(entry: Entry, place: str) -> bool:
    """True when the file at `place` has the entry's content already."""
    try:
        found = os.lstat(place)
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
        return False
    algorithm = entry.digest.partition(":")[0]
    if algorithm not in ALGORITHMS:
        return False
    from windlass.artifacts.digest import hash_file

    return hash_file(place, algorithm) == entry.digest


def _batched(entries: Iterable[Entry]) -> Iterable[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += max(entry.size, 0)
        if len(batch) >= _BATCH or size > 4 * _BLOCK:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _translated(error: OSError, place: str) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError("the disk is full", where=place, hint="Free some space: 'windlass artifact cache clean'.")
    return StorageError(f"it cannot be written: {error.strerror}", where=place)


def clone(source: str, place: str) -> bool:
    """Make `place` share the blocks of `source`; False when the file system cannot, and nothing is left."""
    with open(source, "rb") as file:
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            done = reflink(file.fileno(), handle)
        finally:
            os.close(handle)
    if not done:
        _remove(place)
    return done
