"""The manifest: which paths a version has, what they are, and where their bytes lie. A tree of blobs, read lazily.

A *root* blob lists *leaves* in the order of their paths; each leaf holds some thousand entries. Both are blobs under
their digest, so every entry that is read is verified up to the manifest digest in the metadata store, and versions
that differ little share most leaves. The format is described in ``docs/reference/blob-store.md``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from windlass.artifacts.digest import algorithm_of, digest_of, facts_of
from windlass.errors import ArtifactNotFoundError, IntegrityError, ObjectNotFoundError

if TYPE_CHECKING:
    from windlass.blobs import BlobStore

__all__ = ["Entry", "LeafRef", "Manifest", "Part", "Root", "Row", "blobs_of", "row_of"]

FORMAT = 2
_FORMATS = (1, FORMAT)  # that are read
_REPAIR = "'windlass artifact repair' writes it again from all files of the version."

Part = tuple[str, int, int]
"""A piece of an entry's content: blob digest, offset in the blob, length."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One path of an artifact.

    Attributes:
        path: Relative POSIX path.
        digest: ``<algorithm>:<hex>`` of the content; for references what the store gave (``etag:…``, ``crc32c:…``,
            ``uri:…``).
        size: Bytes, -1 if not known (references without checksum).
        parts: Where the bytes lie. Empty: one blob under `digest`, or a reference.
        ref: URI of a reference, else empty.
        extra: Facts about a reference (``etag``, ``version``, ``checksum``, ``mtime``) or an object (``object``).
    """

    path: str
    digest: str
    size: int
    parts: tuple[Part, ...] = ()
    ref: str = ""
    extra: dict[str, Any] | None = None

    root: ClassVar[None] = None
    """It is no file of a folder, as sources are."""

    @property
    def facts(self) -> bytes:
        """What it is beyond its content, see `facts_of`."""
        return facts_of(self.ref, self.extra)

    def is_same(self, other: Entry) -> bool:
        """Whether another entry has the same content, leads to the same place and is read in the same way."""
        return (self.digest, self.facts) == (other.digest, other.facts)


def blobs_of(entry: Entry) -> tuple[str, ...]:
    """Digests of the blobs that hold an entry's bytes."""
    if entry.ref:
        return ()
    return tuple(part[0] for part in entry.parts) if entry.parts else (entry.digest,)


class Row(msgspec.Struct, array_like=True, gc=False):
    """An entry as it is written. Used once: its list of parts is written into.

    Attributes:
        path: Relative POSIX path.
        digest: In the manifest's algorithm; empty when `named` holds another kind.
        size: Bytes, -1 if not known.
        parts: Blob, offset and length of each, one behind the other.
        named: A digest of another kind.
        ref: URI of a reference.
        extra: As in `Entry`.
    """

    path: str
    digest: bytes
    size: int
    parts: list[Any]
    named: str = ""
    ref: str = ""
    extra: dict[str, Any] | None = None


_NO_PARTS: list[Any] = []  # of all references


def row_of(entry: Entry, algorithm: str) -> Row:
    """The row for an entry in a manifest of that algorithm."""
    digest = entry.digest
    if entry.ref and not entry.parts and not digest.startswith(algorithm):
        return Row(entry.path, b"", entry.size, _NO_PARTS, digest, entry.ref, entry.extra)
    value = _value(digest, algorithm)
    parts = list(chain.from_iterable(entry.parts))
    return Row(entry.path, value, entry.size, parts, "" if value else digest, entry.ref, entry.extra)


class _Row(msgspec.Struct, array_like=True, gc=False):  # a `Row` as it is read
    path: str
    digest: bytes
    size: int
    parts: list[int] = []  # triples: index in the leaf's blobs, offset, length
    named: str = ""
    ref: str = ""
    extra: dict[str, Any] | None = None


class _Leaf(msgspec.Struct, array_like=True):
    blobs: list[str]
    rows: list[_Row]


class LeafRef(msgspec.Struct, array_like=True):
    """A leaf as the root names it: first path, digest, and number of entries."""

    first: str
    digest: str
    entries: int


class Root(msgspec.Struct):
    """The blob that the metadata store names."""

    format: int
    algorithm: str
    entries: int
    size: int
    leaves: list[LeafRef] = []
    inline: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode_root = msgspec.msgpack.Decoder(Root).decode
_decode_leaf = msgspec.msgpack.Decoder(_Leaf).decode


def _value(digest: str, algorithm: str) -> bytes:
    if digest.startswith(f"{algorithm}:") and len(digest) == len(algorithm) + 65:
        return bytes.fromhex(digest[len(algorithm) + 1 :])
    return b""


class Manifest:
    """A stored manifest, read lazily: one entry costs the root and one leaf. Serves several threads.

    Args:
        blobs: Where it is stored.
        digest: Its digest.
    """

    def __init__(self, blobs: BlobStore, digest: str) -> None:
        self._blobs = blobs
        self.digest = digest
        data = _fetch(blobs, digest)
        try:
            self._root = _decode_root(data)
        except msgspec.DecodeError as error:
            raise IntegrityError(f"the manifest {digest} is malformed: {error}") from None
        if self._root.format not in _FORMATS:
            raise IntegrityError(
                f"the manifest {digest} has format {self._root.format}; known are {_FORMATS}",
                hint="It was written by a newer Windlass; upgrade this one.",
            )
        self._firsts = [leaf.first for leaf in self._root.leaves]
        self._cached: tuple[int, list[Entry]] = (-2, [])

    @property
    def has_facts(self) -> bool:
        """Whether the artifact digest was made with the `facts` of the entries; before format 2 it was not."""
        return self._root.format > 1

    def __len__(self) -> int:
        return self._root.entries

    @property
    def size(self) -> int:
        """Sum of the entries' sizes in bytes."""
        return self._root.size

    @property
    def algorithm(self) -> str:
        """Digest algorithm of its blobs."""
        return self._root.algorithm

    def leaf_digests(self) -> list[str]:
        """Digests of the leaf blobs; empty when the only leaf is part of the root."""
        return [leaf.digest for leaf in self._root.leaves]

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self.find(path) is not None

    def __iter__(self) -> Iterator[Entry]:
        return self.iterate()

    def iterate(self, prefix: str = "") -> Iterator[Entry]:
        """Entries in the order of their paths; with `prefix` those at or below that folder (``a`` is not ``ab``)."""
        prefix = prefix.strip("/")
        below = prefix + "/"
        for index in self._leaves_of(prefix) if prefix else range(self.leaves):
            for entry in self._leaf(index, keep=False):
                if not prefix or entry.path == prefix or entry.path.startswith(below):
                    yield entry

    def starting(self, text: str) -> Iterator[Entry]:
        """Entries whose paths begin with a text, in order; costs the leaves that hold them."""
        for index in range(max(bisect_right(self._firsts, text) - 1, 0), self.leaves):
            for entry in self._leaf(index, keep=False):
                if entry.path.startswith(text):
                    yield entry
                elif entry.path > text:
                    return

    @property
    def leaves(self) -> int:
        """Number of leaves, at least one."""
        return max(len(self._firsts), 1)

    def leaf(self, index: int) -> list[Entry]:
        """Entries of one leaf."""
        return self._leaf(index, keep=False)

    def find(self, path: str) -> Entry | None:
        """The entry at a path, or None."""
        index = bisect_right(self._firsts, path) - 1 if self._firsts else 0
        if index < 0:
            return None
        entries = self._leaf(index, keep=True)
        low = bisect_right(entries, path, key=lambda entry: entry.path) - 1
        return entries[low] if low >= 0 and entries[low].path == path else None

    def with_digest(self, digest: str) -> Entry | None:
        """An entry of that content (no reference), or None. Leaves are searched as bytes; one with a hit is decoded."""
        value = _value(digest, self.algorithm)
        for index in range(self.leaves):
            data = self._data(index)
            if value and value in data:
                for entry in _decode_entries(data, self.algorithm):
                    if entry.digest == digest and not entry.ref:
                        return entry
        return None

    def __getitem__(self, path: str) -> Entry:
        entry = self.find(path)
        if entry is None:
            near = [e.path for _, e in zip(range(5), self.iterate(path.rpartition("/")[0]), strict=False)]
            hint = f"There is: {', '.join(near)}{' …' if len(near) == 5 else ''}" if near else ""
            raise ArtifactNotFoundError(f"the artifact has no entry '{path}'", hint=hint)
        return entry

    def _leaves_of(self, prefix: str) -> range:
        if not self._firsts:
            return range(1)
        first = max(bisect_right(self._firsts, prefix) - 1, 0)
        return range(first, bisect_right(self._firsts, prefix + "0"))  # "0" sorts right behind "/"

    def _data(self, index: int) -> bytes:
        return _fetch(self._blobs, self._root.leaves[index].digest) if self._firsts else self._root.inline

    def _leaf(self, index: int, *, keep: bool) -> list[Entry]:
        cached, entries = self._cached
        if cached == index:
            return entries
        data = self._data(index)
        entries = _decode_entries(data, self._root.algorithm) if data else []
        if keep:
            self._cached = (index, entries)
        return entries


def _decode_entries(data: bytes, algorithm: str) -> list[Entry]:
    try:
        leaf = _decode_leaf(data)
    except msgspec.DecodeError as error:
        raise IntegrityError(f"a manifest leaf is malformed: {error}") from None
    mark = f"{algorithm}:"
    return [
        Entry(
            row.path,
            row.named or mark + row.digest.hex(),
            row.size,
            _parts(row.parts, leaf.blobs) if row.parts else (),
            row.ref,
            row.extra,
        )
        for row in leaf.rows
    ]


def _parts(flat: list[int], blobs: list[str]) -> tuple[Part, ...]:
    if len(flat) == 3:
        return ((blobs[flat[0]], flat[1], flat[2]),)
    return tuple((blobs[flat[i]], flat[i + 1], flat[i + 2]) for i in range(0, len(flat), 3))


def _fetch(blobs: BlobStore, digest: str) -> bytes:
    algorithm = algorithm_of(digest)
    try:
        with blobs.open(digest) as stream:
            data = stream.read()
    except ObjectNotFoundError as error:
        raise IntegrityError(
            "a manifest is not in the blob store any more", where=error.where or digest, hint=_REPAIR
        ) from error
    found = digest_of(data, algorithm)
    if found != digest:
        raise IntegrityError(
            f"a manifest blob is damaged: expected {digest}, found {found}", where=digest, hint=_REPAIR
        )
    return data
