"""From the blob store to files: every byte verified, nothing ever written outside the target."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain

from windlass.artifacts.cache import Cache
from windlass.artifacts.crew import Crew
from windlass.artifacts.digest import ALGORITHMS, hash_file, hasher
from windlass.artifacts.fetched import Fetched
from windlass.artifacts.files import Source, reflink, signature, sweep, temporary_in, temporary_names
from windlass.artifacts.manifest import Entry
from windlass.artifacts.naming import translated
from windlass.artifacts.packed_writing import PackedWriter, Place, spans
from windlass.artifacts.parts import open_blob, rest_of
from windlass.artifacts.proof import copy_verified, prove, prove_stream
from windlass.artifacts.reader import open_entry
from windlass.artifacts.statcache import StatCache
from windlass.artifacts.target import Target
from windlass.blobs import BlobStore
from windlass.errors import (
    NoSpaceError,
    ObjectNotFoundError,
    UsageError,
)
from windlass.storage import Storage, give_name, open_nameless, write_all

__all__ = ["LINKS", "Downloader"]

LINKS = ("auto", "hard", "copy")
LINK_MIN = 128 << 10
"""Smaller files are copied: sharing them saves nothing."""

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
_BLOCK = 1 << 20
_BATCH = 64
_REMOTE_BATCH = 256
_REMOTE_THREADS = 8
# Bytes that are cheaper to read in vain than another request, or another file to open.
_REMOTE_GAP = 256 << 10
_GAP = 64 << 10


class Downloader:
    """Writes entries to files.

    Args:
        blobs: Where their bytes lie.
        storage_for: Finds the storage of references.
        cache: Where content is kept that is linked.
        present: Remembers which files of the target were found right.
        link: ``auto``: share blocks where the file system can, else hard links to read-only files in the cache for
            files of 128 KiB and more, else copies; ``hard``: hard links for all; ``copy``: never link.
    """

    def __init__(
        self,
        blobs: BlobStore,
        storage_for: Callable[[str], Storage],
        cache: Cache,
        present: StatCache,
        link: str = "auto",
    ) -> None:
        if link not in LINKS:
            hint = f"Known: {', '.join(LINKS)}."
            raise UsageError(f"'{link}' is no way to link", where="WINDLASS_ARTIFACT_LINK", hint=hint)
        self._blobs = blobs
        self._storage_for = storage_for
        self._cache = cache
        self._present = present
        self._link_from = {"auto": LINK_MIN, "hard": 0, "copy": sys.maxsize}[link]
        self._remote = blobs.remote
        self._threads = _REMOTE_THREADS if self._remote else 2
        self._swept: set[str] = set()
        self._reflinks = self._nameless = True  # until the file system says that it has none
        self._fetched: Fetched | None = None

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
        packed = PackedWriter(self._blobs, self._present.algorithm, _GAP)
        self._fetched = Fetched(self._present.place("fetched", target.root), target.root)
        try:
            with packed, Crew[list[Entry]](self._threads, "windlass-get") as crew:
                for batch in _batched(entries, _REMOTE_BATCH if self._remote else _BATCH):
                    if places := self._to_write(batch, target):
                        if self._remote or not self._nameless or not self._are_packed(places):
                            missing += chain.from_iterable(crew.begin(self._batch, places, allow_missing))
                        elif not packed.begin(places):
                            self._batch(places, allow_missing)
                        self._batch(packed.left(), allow_missing)
                    done(sum(max(entry.size, 0) for entry in batch))
                missing += chain.from_iterable(crew.finish())
                self._batch(packed.finish(), allow_missing)
        finally:
            self._cache.settle()
            self._fetched.save()  # also when one is gone: the others need not be fetched again
        self._present.save()
        return missing

    def _to_write(self, batch: list[Entry], target: Target) -> list[Place]:
        """The entries that are not at their places yet, with these; what the cache has is linked at once.

        One thread is quicker at linking than several, which would wait for the interpreter all the time.
        """
        places = []
        for entry, (place, is_new) in zip(batch, target.places([entry.path for entry in batch]), strict=True):
            if is_new:
                self._swept.add(place[: place.rfind("/")])  # nobody has left anything there
            elif self._is_there(entry, place, target.root):
                continue
            if not self._link_known(entry, place):
                places.append((entry, place))
        return places

    def _are_packed(self, places: list[Place]) -> bool:
        """Whether these are small files to be copied from packs: one thread, or a process, is quickest at that."""
        mark = f"{self._present.algorithm}:"
        return all(
            len(entry.parts) == 1 and entry.digest.startswith(mark) and not self._is_linked(entry)
            for entry, _ in places
        )

    def _batch(self, places: list[Place], allow_missing: bool) -> list[Entry]:
        missing = []
        held = self._fetch([entry for entry, _ in places])
        for (entry, place), name in zip(places, temporary_names(), strict=False):
            try:
                self.one(entry, place, held.get(entry.digest), name)
            except ObjectNotFoundError:
                if not (allow_missing and entry.ref):
                    raise
                missing.append(entry)
        return missing

    def _fetch(self, entries: list[Entry]) -> dict[str, memoryview]:
        """The bytes of packed files by their digest, a pack's in as few requests as may be; not proven yet."""
        gap = _REMOTE_GAP if self._remote else _GAP
        wanted: dict[str, list[Entry]] = {}
        for entry in entries:
            if len(entry.parts) == 1:
                wanted.setdefault(entry.parts[0][0], []).append(entry)
        held: dict[str, memoryview] = {}
        for blob, files in wanted.items():
            for start, end, inside in spans(files, gap):
                with open_blob(inside[0], self._blobs, blob, start, end - start) as stream:
                    data = rest_of(stream)
                for entry in inside:
                    offset = entry.parts[0][1] - start
                    held[entry.digest] = data[offset : offset + entry.size]
        return held

    def one(self, entry: Entry, place: str, data: memoryview | None = None, name: str = "") -> None:
        """Write one entry to a path, whole or not at all.

        Args:
            entry: The entry.
            place: The path.
            data: Its bytes, when they were fetched already.
            name: What the file is called until it is whole; one of `temporary_names`.
        """
        linked = self._is_linked(entry)
        temporary = ""
        try:
            if linked and self._link(entry, place, data):
                return
            folder = place[: place.rfind("/")]
            if folder not in self._swept:
                self._swept.add(folder)
                sweep(folder)
            temporary = f"{folder}/{name}" if name else temporary_in(folder)
            if not linked and self._nameless and self._write_nameless(entry, folder, place, data, temporary):
                return
            if not (linked and self._link(entry, temporary, data)):
                handle = os.open(temporary, _FLAGS, 0o666)
                try:
                    self._fill(entry, handle, data)
                finally:
                    os.close(handle)
            os.replace(temporary, place)
            if linked:
                _remove(temporary)  # renaming one link of a file to another of it does nothing
        except BaseException as error:
            if temporary:
                _remove(temporary)
            if isinstance(error, OSError):
                raise translated(error, place) from error
            raise

    def _write_nameless(self, entry: Entry, folder: str, place: str, data: memoryview | None, temporary: str) -> bool:
        """Write an entry to a file that has no name before it is whole. False: the file system has none."""
        handle = open_nameless(folder, 0o666)
        if handle is None:
            self._nameless = False
            return False
        try:
            self._fill(entry, handle, data)
            try:
                give_name(handle, place)
            except FileExistsError:  # a file to replace
                give_name(handle, temporary)
                os.replace(temporary, place)
        finally:
            os.close(handle)
        return True

    def cached(self, entry: Entry) -> str:
        """Path of an entry's verified content in the cache, brought there when needed; leased by this process."""
        found = self._cache.find(entry.digest)
        return found or self._cache.add(entry.digest, entry.size, lambda handle: self._fill(entry, handle))

    def _is_linked(self, entry: Entry) -> bool:
        """Whether an entry is large enough to be linked, and the cache can prove it."""
        return entry.size >= self._link_from and _is_digest(entry.digest)

    def _link_known(self, entry: Entry, place: str) -> bool:
        """Link to what the cache has already. False: it has not, or something is in the way."""
        if not self._is_linked(entry):
            return False
        try:
            source = self._cache.find_to_link(entry.digest)
        except OSError:  # as in `_link`
            return False
        try:
            return source is not None and self._link_to(source, place)
        except OSError as error:
            raise translated(error, place) from error

    def _link(self, entry: Entry, place: str, data: memoryview | None) -> bool:
        try:
            source = self._cache.find_to_link(entry.digest) or self._cache.add(
                entry.digest, entry.size, lambda handle: self._fill(entry, handle, data), lease=False
            )
        except (NoSpaceError, OSError):  # the cache may be on another disk than the target, or not writable
            return False
        return self._link_to(source, place)

    def _link_to(self, source: str, place: str) -> bool:
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
        wanted = entry.digest
        if entry.ref and self._fetched is not None and not _is_digest(wanted):
            wanted = self._fetched.digest(entry)
        if not _is_digest(wanted) or not stat.S_ISREG(found.st_mode) or entry.size not in (-1, found.st_size):
            return False
        algorithm = wanted.partition(":")[0]
        source = Source(entry.path, root, signature(found))
        remembering = algorithm == self._present.algorithm
        if remembering and (known := self._present.entry(source)) is not None:
            return known.digest == wanted
        began = time.time_ns()
        digest = hash_file(place, algorithm)
        if remembering and signature(os.lstat(place)) == source.signature:
            self._present.remember(source, digest, (), began)
        return digest == wanted

    def _fill(self, entry: Entry, handle: int, data: memoryview | None = None) -> None:
        if data is not None:
            prove(entry, len(data), data)
            write_all(handle, data)
            return
        with open_entry(entry, self._blobs, self._storage_for) as stream:
            if self._fetched is None or _is_digest(entry.digest):
                copy_verified(stream, handle, entry)
                return
            made = hasher(self._present.algorithm)

            def sink(view: memoryview) -> None:
                made.update(view)
                write_all(handle, view)

            prove_stream(stream, entry, sink)
            self._fetched.note(entry, f"{self._present.algorithm}:{made.hexdigest()}")


def _is_digest(digest: str) -> bool:
    """Whether a file can be compared with it: it is no store's own word."""
    return digest.partition(":")[0] in ALGORITHMS


def _batched(entries: Iterable[Entry], most: int) -> Iterable[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += max(entry.size, 0)
        if len(batch) >= most or size > 4 * _BLOCK:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _remove(path: str) -> None:
    with suppress(OSError):  # not there, or nothing can be removed there
        os.unlink(path)


def clone(source: str, place: str) -> bool:
    """Make `place` share the blocks of `source`; False when the file system cannot, and nothing is left."""
    with open(source, "rb") as file:
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        done = False
        try:
            done = reflink(file.fileno(), handle)
        finally:
            os.close(handle)
            if not done:
                _remove(place)
    return done
