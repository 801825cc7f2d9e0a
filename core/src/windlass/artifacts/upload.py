"""From files to blobs: each byte is read once, hashed, and stored if it is not there yet.

Small files are packed together, large ones are cut at content-defined boundaries, those in between stay whole. All
pass through a few reused buffers, so memory does not grow with the size of a file.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate, chain
from typing import TYPE_CHECKING, NamedTuple

from windlass.artifacts.chunking import cutter
from windlass.artifacts.digest import Hasher, digest_of, hasher, short_form
from windlass.artifacts.files import Source
from windlass.artifacts.manifest import Part
from windlass.artifacts.memory import fresh_memory
from windlass.artifacts.reading_ahead import Batch, ReadAhead
from windlass.artifacts.source_reading import open_source, read_whole
from windlass.artifacts.statcache import StatCache, now_ns
from windlass.blobs import BlobStore

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from windlass.artifacts.locator import Locator

__all__ = ["SMALL", "WHOLE", "Uploader"]

SMALL = 128 << 10
"""Files up to this size are packed."""
WHOLE = 16 << 20
"""Files above this size are cut. It is also the size of a pack at most, and of the buffers."""
_PACK_MIN = 4 << 20
_PACK_CUT = "000"  # a pack ends behind a file whose digest ends so: one of 4096 once it has its least size,
_PACK_FILES = 4096  # or once it has so many files,
_PACK_MOST = 16384  # and with so many in any case: what is noted of each takes memory until the pack ends
_LITTLE = 1 << 20  # this is written to a disk in less time than it takes to load and start threads
_BUFFERS = 3
_REMOTE_BUFFERS = 8  # an object store answers late: this many packs, or rows of chunks, are under way at once


class _Buffer:
    """A piece of memory that is filled with file content and then stored by other threads."""

    def __init__(self) -> None:
        self.view = fresh_memory(WHOLE + 1)
        self.used = 0
        self.users = 1


class _Cut(NamedTuple):
    """A large file that is being stored.

    Attributes:
        source: The file.
        began: When its reading began, in ns.
        whole: The hash of its content.
        hashed: Done when all of it was hashed.
        stored: Each gives the places of some chunks, in their order.
    """

    source: Source
    began: int
    whole: Hasher
    hashed: Future[None]
    stored: list[Future[list[Part]]]

    def is_stored(self) -> bool:
        """True when nothing has to be waited for."""
        return self.hashed.done() and all(future.done() for future in self.stored)


class Uploader:
    """Stores files in a blob store. Used for one artifact.

    Args:
        blobs: Where they go.
        algorithm: Digest algorithm.
        cache: Remembers the digests.
        locate: Finds content that is stored already.
    """

    def __init__(self, blobs: BlobStore, algorithm: str, cache: StatCache, locate: Locator) -> None:
        self._blobs = blobs
        self._algorithm = algorithm
        self._cache = cache
        self._locate = locate
        self._buffers = _REMOTE_BUFFERS if blobs.remote else _BUFFERS
        self._free: queue.SimpleQueue[_Buffer] = queue.SimpleQueue()
        self._made = 0
        self._futures: list[Future[list[Part]]] = []
        self._cut: deque[_Cut] = deque()
        self._pack: _Buffer | None = None
        self._packed: list[Source] = []
        self._inside: dict[str, int] = {}  # where the contents of the pack that was begun are in it, by their digests
        self._twins: list[tuple[Source, str]] = []  # files of the same content as one of that pack
        self._began = 0  # when the pack was
        self._placed: dict[int, Source] = {}  # by the short form of their digests, for there may be a million
        self._lock = threading.Lock()

    def store(self, sources: Sequence[Source], done: Callable[[int], None] = lambda _: None) -> None:
        """Read and store files; when it returns all of them are stored, and the stat cache knows them.

        Args:
            sources: What to store, best in the order of their paths.
            done: Called with the bytes that were read since it was called last.

        Raises:
            ConflictError: A file changed since it was added, or while it was read.
            StorageError: Reading or storing failed.
        """
        try:
            with ReadAhead(sources, self._algorithm, SMALL) as batches:
                for batch in batches:
                    if not self._pack_all(batch):
                        self._store_each(batch)
                    done(sum(batch.sizes))
            self._flush()
            self._finish_cut(wait=True)
            self._check(wait=True)
        except BaseException:
            for future in self._futures:
                future.cancel()
            raise
        finally:
            for name in ("_pool", "_hashing"):
                if name in vars(self):
                    getattr(self, name).shutdown(wait=True)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return _threads(self._buffers - 1, "windlass-put")

    @cached_property
    def _hashing(self) -> ThreadPoolExecutor:
        return _threads(1, "windlass-hash")

    def _store_each(self, batch: Batch) -> None:
        start = 0
        for source, size, digest in zip(batch.files, batch.sizes, batch.digests, strict=True):
            end = start + size
            if size > WHOLE:
                self._large(source)
            elif size > SMALL:
                self._whole(source)
            else:
                self._small(source, size, digest, batch.content[start:end], batch.began)
            start = end

    # -- the three sizes

    def _pack_all(self, batch: Batch) -> bool:
        """Put files that were read into the pack, all at once. False: something is to be looked at for each."""
        buffer, digests, count = self._pack, batch.digests, len(batch.files)
        size = sum(batch.sizes)
        if (
            buffer is None
            or buffer.used + size > WHOLE
            or len(self._packed) + count >= _PACK_MOST
            or "" in digests
            or any(digest.endswith(_PACK_CUT) for digest in digests)
            or len(set(digests)) < count
            or not self._inside.keys().isdisjoint(digests)
        ):
            return False
        shorts = [short_form(digest) for digest in digests]
        if not self._placed.keys().isdisjoint(shorts) or self._locate.may_know(shorts):
            return False
        start, buffer.used = buffer.used, buffer.used + size
        buffer.view[start : buffer.used] = batch.content[:size]
        self._packed += batch.files
        self._inside.update(zip(digests, accumulate(batch.sizes, initial=start), strict=False))
        self._began = min(self._began, batch.began)
        return True

    def _small(self, source: Source, size: int, digest: str, content: memoryview, began: int) -> None:
        """Put one file into the pack; with its digest and content when it was read already."""
        buffer = self._pack
        if buffer is not None and buffer.used + size > WHOLE:
            self._flush()
            buffer = None
        if buffer is None:
            buffer = self._pack = self._take()
            self._began = now_ns()
        start = buffer.used
        end = start + size
        if digest:
            buffer.view[start:end] = content
            self._began = min(self._began, began)
        else:
            read_whole(source, buffer.view[start : end + 1])
            digest = digest_of(buffer.view[start:end], self._algorithm)
        if digest in self._inside:
            self._twins.append((source, digest))
        elif (known := self._known(digest)) is not None:
            self._finish(source, digest, known, self._began)
        else:
            self._packed.append(source)
            self._inside[digest] = start
            buffer.used = end
            count = len(self._packed)
            if count == _PACK_MOST or ((end >= _PACK_MIN or count >= _PACK_FILES) and digest.endswith(_PACK_CUT)):
                self._flush()

    def _flush(self) -> None:
        """Store the pack that was begun; a pack of one file is simply that file."""
        buffer, self._pack = self._pack, None
        if buffer is None:
            return
        if not self._packed:
            self._release(buffer)
            return
        pack = ""
        if len(self._packed) == 1:
            (digest,) = self._inside
            self._finish(self._packed[0], digest, (), self._began)
            self._put(buffer, digest, buffer.used)
        else:
            pack = digest_of(buffer.view[: buffer.used], self._algorithm)
            self._cache.remember_pack(pack, self._packed, self._inside, self._began)
            self._placed.update(zip(map(short_form, self._inside), self._packed, strict=True))
            self._put(buffer, pack, buffer.used)
        for source, digest in self._twins:
            self._finish(source, digest, ((pack, self._inside[digest], source.size),) if pack else (), self._began)
        self._packed, self._inside, self._twins = [], {}, []

    def _whole(self, source: Source) -> None:
        buffer = self._take()
        began = now_ns()
        read_whole(source, buffer.view[: source.size + 1])
        digest = digest_of(buffer.view[: source.size], self._algorithm)
        known = self._known(digest)
        if known is None:
            known = ()
            self._put(buffer, digest, source.size)
        else:
            self._release(buffer)
        self._finish(source, digest, known, began)

    def _large(self, source: Source) -> None:
        cut = cutter()
        began = now_ns()
        whole = hasher(self._algorithm)
        stored: list[Future[list[Part]]] = []
        left = source.size
        carry = b""
        with open_source(source) as file:
            while left or carry:
                self._check(wait=False)
                buffer = self._take()
                start = len(carry)
                end = min(start + left, WHOLE)
                buffer.view[:start] = carry
                file.read_exactly(buffer.view[start:end])
                left -= end - start
                buffer.users = 2
                hashed = self._hashing.submit(self._hash, whole, buffer, start, end)
                lengths = cut(buffer.view[:end], not left)
                carry = bytes(buffer.view[sum(lengths) : end])
                stored.append(self._pool.submit(self._store, buffer, lengths))
                self._futures.append(stored[-1])
            file.at_end()
        self._cut.append(_Cut(source, began, whole, hashed, stored))
        self._finish_cut(wait=False)

    def _hash(self, whole: Hasher, buffer: _Buffer, start: int, end: int) -> None:
        try:
            whole.update(buffer.view[start:end])
        finally:
            self._release(buffer)

    def _finish_cut(self, *, wait: bool) -> None:
        """Remember the large files that are stored; with `wait` all that were begun."""
        while self._cut and (wait or self._cut[0].is_stored()):
            cut = self._cut.popleft()
            cut.hashed.result()
            parts = tuple(chain.from_iterable(future.result() for future in cut.stored))
            self._finish(cut.source, f"{self._algorithm}:{cut.whole.hexdigest()}", parts, cut.began)

    # -- what they share

    def _known(self, digest: str) -> tuple[Part, ...] | None:
        short = short_form(digest)
        twin = self._placed.get(short)
        if twin is not None:
            found, _, parts = self._cache.known(twin)
            if found == digest:
                return parts
        return self._locate(digest, short)

    def _finish(self, source: Source, digest: str, parts: tuple[Part, ...], began: int) -> None:
        self._cache.remember(source, digest, parts, began)
        self._placed.setdefault(short_form(digest), source)

    def _take(self) -> _Buffer:
        if self._free.empty() and self._made < self._buffers:
            self._made += 1
            return _Buffer()
        while True:
            try:
                buffer = self._free.get(timeout=1.0)
            except queue.Empty:
                self._check(wait=False)  # a failed put must not leave us waiting
            else:
                buffer.users = 1
                return buffer

    def _release(self, buffer: _Buffer) -> None:
        with self._lock:
            buffer.users -= 1
            free = buffer.users == 0
        if free:
            buffer.used = 0
            self._free.put(buffer)

    def _put(self, buffer: _Buffer, digest: str, length: int) -> None:
        """Store what a buffer holds, in another thread if that is worth it."""
        self._check(wait=False)
        if length <= _LITTLE and not self._blobs.remote and "_pool" not in vars(self):
            self._store(buffer, [length], [digest])
        else:
            self._futures.append(self._pool.submit(self._store, buffer, [length], [digest]))

    def _store(self, buffer: _Buffer, lengths: list[int], digests: Sequence[str] = ()) -> list[Part]:
        """Store the pieces that a buffer holds, one behind the other; those that are stored already are left out.

        Returns their places.
        """
        try:
            views = [buffer.view[end - size : end] for size, end in zip(lengths, accumulate(lengths), strict=True)]
            digests = digests or [digest_of(view, self._algorithm) for view in views]
            absent = self._blobs.missing(digests)
            for digest, view in zip(digests, views, strict=True):
                if digest in absent:
                    absent.discard(digest)
                    self._blobs.put_buffer(digest, view)
            return [(digest, 0, size) for digest, size in zip(digests, lengths, strict=True)]
        finally:
            self._release(buffer)

    def _check(self, *, wait: bool) -> None:
        """Raise what a put has raised; with `wait` when all are over."""
        open_puts = []
        for future in self._futures:
            if wait or future.done():
                future.result()
            else:
                open_puts.append(future)
        self._futures = open_puts


def _threads(number: int, name: str) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(number, thread_name_prefix=name)
