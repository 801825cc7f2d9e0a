"""Writing manifests. Leaves that are as they were in the last manifest of the same files are not made again."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from windlass.artifacts.digest import digest_of
from windlass.artifacts.files import Source
from windlass.artifacts.manifest import FORMAT, Entry, LeafRef, Root, Row

if TYPE_CHECKING:
    from windlass.artifacts.statcache import StatCache

__all__ = ["KnownRows", "Rows", "write_manifest"]

_LEAF_MIN, _LEAF_MAX, _LEAF_MASK = 1024, 16384, 0xFFF
_LEAF_STEP = 2048  # rows that are made ahead, to look for the end of a leaf


class Written(NamedTuple):
    """A manifest that was stored: its digest, and the sum of its entries' sizes in bytes."""

    digest: str
    size: int


class Rows:
    """Rows of a manifest in the order of their paths, each made once."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows

    def begin(self, first: int) -> Iterator[Row]:
        """The rows from number `first` on. It is other than 0 only behind a leaf that was known."""
        assert first == 0
        return iter(self._rows)

    def known(self, first: int) -> tuple[LeafRef, int] | None:
        """The leaf that begins with row number `first`, and its entries' sizes together, where it is stored already."""
        return None

    def note(self, first: int, leaf: LeafRef, size: int) -> None:
        """Told of each leaf, in their order, that is not the only one."""


def write_manifest(
    rows: Iterable[Row] | Rows,
    put: Callable[[str, bytes], object],
    algorithm: str = "blake3",
    before_root: Callable[[], object] = lambda: None,
) -> Written:
    """Store a manifest.

    Args:
        rows: In the order of their paths.
        put: Stores a blob, or begins to; called for each leaf that is not known, last for the root.
        algorithm: Digest algorithm of the blobs.
        before_root: Waits until all leaves that `put` was called for are stored.
    """
    rows = rows if isinstance(rows, Rows) else Rows(rows)
    leaves: list[LeafRef] = []
    sizes: list[int] = []
    count = 0
    first = b""  # the first leaf waits: alone it goes into the root
    left: Iterator[Row] | None = None
    pending: list[Row] = []
    while True:
        if (known := rows.known(count)) is not None:
            leaf, size = known
            left, pending = None, []
        else:
            left = rows.begin(count) if left is None else left
            end = _fill(pending, left)
            if not pending:
                break
            inside, pending = pending[:end], pending[end:]
            size = sum([row.size for row in inside if row.size > 0])
            data = _encode_leaf(inside)
            leaf = LeafRef(inside[0].path, digest_of(data, algorithm), end)
            if leaves:
                put(leaf.digest, data)
            else:
                first = data
        leaves.append(leaf)
        sizes.append(size)
        count += leaf.entries
    if len(leaves) > 1:
        if first:
            put(leaves[0].digest, first)
        before = 0
        for leaf, size in zip(leaves, sizes, strict=True):
            rows.note(before, leaf, size)
            before += leaf.entries
        root = Root(FORMAT, algorithm, count, sum(sizes), leaves)
    else:
        root = Root(FORMAT, algorithm, count, sum(sizes), [], first)
    data = _encode(root)
    digest = digest_of(data, algorithm)
    before_root()
    put(digest, data)
    return Written(digest, sum(sizes))


def _fill(pending: list[Row], left: Iterator[Row]) -> int:
    """Take rows until a leaf ends among them; how many it has."""
    looked = _LEAF_MIN - 1
    while True:
        before = len(pending)
        pending += islice(left, _LEAF_STEP - before % _LEAF_STEP)
        for row in islice(pending, looked, _LEAF_MAX - 1):
            looked += 1
            if zlib.crc32(row.path.encode()) & _LEAF_MASK == 0:
                return looked
        if len(pending) >= _LEAF_MAX:
            return _LEAF_MAX
        if len(pending) == before or len(pending) % _LEAF_STEP:  # there are no more
            return len(pending)


def _encode_leaf(rows: list[Row]) -> bytes:
    blobs: dict[str, int] = {}
    index = blobs.setdefault
    for parts in [row.parts for row in rows if row.parts]:
        if len(parts) == 3:  # as most have
            parts[0] = index(parts[0], len(blobs))
        else:
            for at in range(0, len(parts), 3):
                parts[at] = index(parts[at], len(blobs))
    return _encode((list(blobs), rows))


class _Known(msgspec.Struct, array_like=True):
    """A leaf of that manifest.

    Attributes:
        leaf: As its root named it.
        size: Sizes of its entries together.
        content: What its entries were, see `StatCache.content`.
        last: Whether none followed: then it ended for want of entries, and may go on now.
    """

    leaf: LeafRef
    size: int
    content: bytes
    last: bool


class KnownRows(Rows):
    """Rows of files, and of entries, that this process has looked up and found, or remembered.

    Args:
        cache: What is remembered.
        items: The files and entries, in the order of their paths.
    """

    def __init__(self, cache: StatCache, items: list[Source | Entry]) -> None:
        self._cache = cache
        self._items = items
        self._before = {known.leaf.first: known for known in _decode(cache.remembered_leaves(items))}
        self._noted: list[_Known] = []
        self._contents: dict[tuple[int, int], bytes] = {}

    def __iter__(self) -> Iterator[Row]:
        return self.begin(0)

    @property
    def blobs(self) -> set[str]:
        """Digests of the leaves that may be used again."""
        return {known.leaf.digest for known in self._before.values()}

    def forget(self, lost: Iterable[str]) -> None:
        """Do not count on leaves that are not stored any more."""
        gone = set(lost)
        self._before = {first: known for first, known in self._before.items() if known.leaf.digest not in gone}

    def begin(self, first: int) -> Iterator[Row]:
        """See `Rows`."""
        items = self._items
        return self._cache.rows(items if first == 0 else (items[index] for index in range(first, len(items))))

    def known(self, first: int) -> tuple[LeafRef, int] | None:
        """See `Rows`."""
        known = self._before.get(self._items[first].path) if first < len(self._items) else None
        if known is None:
            return None
        end = first + known.leaf.entries
        alone = first == 0 and end == len(self._items)
        if alone or end > len(self._items) or (known.last and end < len(self._items)):
            return None
        return (known.leaf, known.size) if self._content(first, end) == known.content else None

    def note(self, first: int, leaf: LeafRef, size: int) -> None:
        """See `Rows`."""
        end = first + leaf.entries
        if content := self._content(first, end):
            self._noted.append(_Known(leaf, size, content, end == len(self._items)))
        if end == len(self._items) and (self._noted or self._before):
            self._cache.remember_leaves(self._items, _encode(self._noted))

    def _content(self, first: int, end: int) -> bytes:
        known = self._contents.get((first, end))
        if known is None:
            known = self._contents[first, end] = self._cache.content(self._items[first:end])
        return known


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[_Known])


def _decode(data: bytes) -> list[_Known]:
    try:
        return _decoder.decode(data) if data else []
    except msgspec.DecodeError:
        return []
