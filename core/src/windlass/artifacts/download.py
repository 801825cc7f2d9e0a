"""From the blob store to files: every byte verified, nothing ever written outside the target."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import BinaryIO

from windlass.artifacts.cache import Cache
from windlass.artifacts.digest import ALGORITHMS, digest_of, hash_file, hasher
from windlass.artifacts.files import Source, reflink, signature
from windlass.artifacts.manifest import Entry
from windlass.artifacts.names import check_entry_path
from windlass.artifacts.reader import open_entry
from windlass.artifacts.statcache import StatCache
from windlass.blobs import BlobStore
from windlass.errors import (
    IntegrityError,
    NoSpaceError,
    ObjectNotFoundError,
    StorageError,
    UsageError,
)
from windlass.storage import Storage

__all__ = ["LINKS", "Downloader", "Target"]

LINKS = ("auto", "hard", "copy")
LINK_MIN = 128 << 10
"""Smaller files are copied: sharing them saves nothing."""

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
        self._fresh: set[str] = set()  # those that were made here: nothing is in them but what was put there
        try:
            os.makedirs(root, exist_ok=True)
        except OSError as error:
            raise _translated(error, root) from error
        self._folded: dict[str, str] | None = {} if folds_case(root) else None

    def place(self, path: str) -> str:
        """The path on disk for an entry, with its folders made.

        Raises:
            UsageError: The path leads out of the folder, or through a link or a file.
        """
        check_entry_path(path)
        if self._folded is not None:
            first = self._folded.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
            if first != path:
                raise UsageError(
                    f"'{first}' and '{path}' are one name on this file system",
                    where=self.root,
                    hint="Download to a file system that tells upper from lower case, or leave one out (exclude).",
                )
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            self._make(folder)
        if os.name == "nt" and ":" in name:
            raise UsageError(f"'{path}' cannot be a file name on this system")
        return f"{self.root}/{path}"

    def is_new(self, path: str) -> bool:
        """True when there can be no file at an entry's place, as its folder has just been made."""
        return path.rpartition("/")[0] in self._fresh

    def _make(self, folder: str) -> None:
        above = folder.rpartition("/")[0]
        if above not in self._folders:
            self._make(above)
        place = f"{self.root}/{folder}"
        try:
            os.mkdir(place)
            self._fresh.add(folder)
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
        except OSError as error:
            raise _translated(error, place) from error
        self._folders.add(folder)


def folds_case(folder: str) -> bool:
    """True when the file system that a folder is on takes ``A`` and ``a`` for one name."""
    above, name = os.path.split(folder)
    if name.swapcase() == name:
        return bool(above.strip("/")) and folds_case(above)
    try:
        return os.path.samefile(folder, f"{above}/{name.swapcase()}")
    except OSError:
        return False


class Downloader:
    """Writes entries to files.

    Args:
        blobs: Where their bytes lie.
        storage_for: Finds the storage of references.
        cache: Where content is kept that is linked.
        present: Remembers which files of the target were found right.
        link: ``auto``: share blocks where the file system can, else hard links to read-only files in the cache for
            files of 128 KiB and more, else copies; ``hard``: hard links for all; ``copy``: never link.
        threads: Files that are written side by side.
    """

    def __init__(
        self,
        blobs: BlobStore,
        storage_for: Callable[[str], Storage],
        cache: Cache,
        present: StatCache,
        link: str = "auto",
        threads: int = 2,
    ) -> None:
        if link not in LINKS:
            raise UsageError(f"'{link}' is no way to link", hint=f"Known: {', '.join(LINKS)}.")
        self._blobs = blobs
        self._storage_for = storage_for
        self._cache = cache
        self._present = present
        self._link_from = {"auto": LINK_MIN, "hard": 0, "copy": sys.maxsize}[link]
        self._threads = threads
        self._reflinks = True  # until the file system says that it has none

    def run(
        self,
        entries: Iterable[Entry],
        target: Target,
        *,
        allow_missing: bool = False,
        done: Callable[[int], None] = lambda _: None,
    ) -> list[Entry]:
        """Write all entries; returns the references that were missing (with `allow_missing`).

        `done` is told the bytes of each batch that is begun; it is called from the caller's thread.

        The first failure stops the rest and is raised; files that were finished stay, others are not there.
        """
        missing: list[Entry] = []
        with ThreadPoolExecutor(self._threads, thread_name_prefix="windlass-get") as pool:
            running: set[Future[list[Entry]]] = set()
            try:
                for batch in _batched(entries):
                    pairs = [(entry, target.place(entry.path)) for entry in batch]
                    places = [
                        pair for pair in pairs if target.is_new(pair[0].path) or not self._is_there(*pair, target.root)
                    ]
                    running.add(pool.submit(self._batch, places, allow_missing))
                    done(sum(max(entry.size, 0) for entry in batch))
                    if len(running) >= 4 * self._threads:
                        over, running = wait(running, return_when=FIRST_COMPLETED)
                        for future in over:
                            missing += future.result()
                for future in running:
                    missing += future.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        self._present.save()
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
        linked = entry.size >= self._link_from
        if linked and self._link(entry, place):
            return
        temporary = f"{place[: place.rfind('/')]}/.windlass-{secrets.token_hex(6)}"
        try:
            if not (linked and self._link(entry, temporary)):
                handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
                try:
                    self._fill(entry, handle)
                finally:
                    os.close(handle)
            os.replace(temporary, place)
            if entry.size >= self._link_from:
                _remove(temporary)  # renaming one link of a file to another of it does nothing
        except OSError as error:
            _remove(temporary)
            raise _translated(error, place) from error
        except BaseException:
            _remove(temporary)
            raise

    def cached(self, entry: Entry, *, lease: bool = True) -> str:
        """Path of an entry's content in the cache, brought there when needed; leased: kept while this process lives."""
        found = self._cache.find(entry.digest, lease=lease)
        return found or self._cache.add(entry.digest, entry.size, lambda handle: self._fill(entry, handle), lease=lease)

    def _link(self, entry: Entry, place: str) -> bool:
        if entry.digest.partition(":")[0] not in ALGORITHMS:
            return False
        try:
            source = self.cached(entry, lease=False)
        except NoSpaceError:  # the cache may be on another disk than the target
            return False
        try:
            if self._reflinks and clone(source, place):
                return True
            self._reflinks = False
            os.link(source, place)
        except (FileExistsError, FileNotFoundError):  # a file to replace, or the cache was cleaned meanwhile
            return False
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOTSUP):
                return False
            raise
        return True

    def _is_there(self, entry: Entry, place: str, root: str) -> bool:
        """True when the file at `place` has the entry's content already."""
        try:
            found = os.lstat(place)
        except OSError:
            return False
        algorithm = entry.digest.partition(":")[0]
        if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size or algorithm not in ALGORITHMS:
            return False
        source = Source(entry.path, place, signature(found), root)
        known = self._present.find(source)
        if known is None:
            began = time.time_ns()
            digest = hash_file(place, algorithm)
            if signature(os.lstat(place)) == source.signature:
                self._present.remember(source, digest, (), began)
            return digest == entry.digest
        return known.digest == entry.digest

    def _fill(self, entry: Entry, handle: int) -> None:
        with open_entry(entry, self._blobs, self._storage_for) as stream:
            copy_verified(stream, handle, entry)


def copy_verified(stream: BinaryIO, handle: int, entry: Entry) -> None:
    """Copy an entry's stream to a file descriptor and prove what was copied.

    Raises:
        IntegrityError: Size or digest is not the recorded one; names the entry, expected and found.
    """

    def write(view: memoryview) -> None:
        while view:
            view = view[os.write(handle, view) :]

    prove_stream(stream, entry, write)


def prove_stream(stream: BinaryIO, entry: Entry, sink: Callable[[memoryview], None] = lambda _: None) -> None:
    """Read an entry's stream to its end, hand all of it to `sink`, and prove it. Raises as `copy_verified`."""
    algorithm = entry.digest.partition(":")[0]
    checked = hasher(algorithm) if algorithm in ALGORITHMS else None
    buffer = memoryview(bytearray(min(max(entry.size, 0) + 1, _BLOCK) if entry.size >= 0 else _BLOCK))
    size = 0
    while count := stream.readinto(buffer):  # type: ignore[attr-defined]
        view = buffer[:count]
        if checked is not None:
            checked.update(view)
        sink(view)
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
