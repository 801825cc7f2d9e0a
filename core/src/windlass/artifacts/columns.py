"""What is remembered of the files below one folder, in columns, and how it is kept in a file.

Columns, because a million files must fit into little memory, and because most work on them is then done for thousands
at once. The file is a sequence of frames, each with its length and a proof: a flipped bit must not become a wrong
digest.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from struct import Struct
from typing import Any, BinaryIO

import msgspec

from windlass.artifacts.digest import digest_of
from windlass.artifacts.files import SIGNATURE, Signature, size_in
from windlass.artifacts.manifest import Part

__all__ = ["CHUNK", "MANY", "WHOLE", "Columns", "framed", "unframed"]

_FORMAT = 3
CHUNK = 4096
"""Rows that are worked on at once, so that little memory is needed beside the columns."""
WHOLE, MANY = -1, -2
"""Stand in the column of blobs for: a blob of the file's own; several parts, see `Columns.many`."""
_SPARE = 1000  # names of blobs that may be kept in vain
_DIGEST = 32  # bytes of a digest
_PROOF = 16  # bytes of a frame's digest
_values = Struct(f"{_DIGEST}s").iter_unpack


class _Head(msgspec.Struct, array_like=True):
    """The first frame.

    Attributes:
        format: Of the file.
        root: Which folder it is about.
        swept: How many files there were when those that are gone were last removed.
        blobs: What the column of blobs points into.
    """

    format: int
    root: str
    swept: int
    blobs: list[str]


class _Frame(msgspec.Struct, array_like=True):
    """Some rows, column by column; numbers in the byte order of the machine."""

    names: str  # separated by NUL
    signatures: bytes
    digests: bytes
    blob: bytes
    offset: bytes
    many: dict[int, tuple[Part, ...]]


class Columns:
    """What is remembered of the files below one folder.

    Attributes:
        rows: Row of each file, by its path below the folder.
        signatures: Its stat data.
        digests: Digest of its content, without the algorithm's name.
        blob: The one blob that its bytes lie in, as index in `blobs`; or `WHOLE` or `MANY`.
        offset: Where they begin in that blob.
        many: The parts of files that lie in several blobs.
        blobs: Digests of blobs.
        changed: Whether anything was set.
    """

    def __init__(self, head: _Head | None = None) -> None:
        self.rows: dict[str, int] = {}
        self.signatures = bytearray()
        self.digests = bytearray()
        self.blob = array("i")
        self.offset = array("Q")
        self.many: dict[int, tuple[Part, ...]] = {}
        self.blobs = head.blobs if head else []
        self.changed = False
        self._swept = head.swept if head else None  # nothing was kept before: no file can be gone
        self._indexes: dict[str, int] = {}

    def signature(self, row: int) -> Signature:
        """Stat data of one file."""
        return bytes(self.signatures[row * SIGNATURE : (row + 1) * SIGNATURE])

    def digest(self, row: int) -> bytes:
        """Digest of one file."""
        return bytes(self.digests[row * _DIGEST : (row + 1) * _DIGEST])

    def parts(self, row: int, size: int) -> tuple[Part, ...]:
        """Where the bytes of a file lie that has this size; empty: in a blob of its own."""
        blob = self.blob[row]
        if blob >= 0:
            return ((self.blobs[blob], self.offset[row], size),)
        return self.many[row] if blob == MANY else ()

    def has(self, rows: list[int], signatures: bytes) -> bool:
        """True when files have exactly this stat data, one behind the other."""
        return _taken(self.signatures, SIGNATURE, rows) == signatures

    def values(self, rows: list[int]) -> Iterator[tuple[bytes]]:
        """Digests of files."""
        return _values(self.raw(rows))

    def raw(self, rows: list[int]) -> bytes:
        """Digests of files, one behind the other."""
        return _taken(self.digests, _DIGEST, rows)

    def places(self, rows: list[int]) -> tuple[Any, ...]:
        """Where the bytes of files lie, as something that is equal for equal places only."""
        blobs = _picked(self.blob, rows)
        names = {index: self.blobs[index] for index in set(blobs) if index >= 0}
        many = [self.many[row] for row in rows if row in self.many] if self.many else []
        return names, blobs.tobytes(), _picked(self.offset, rows).tobytes(), many

    def hexes(self, rows: list[int]) -> list[str]:
        """Digests of files as hexadecimal text."""
        return self.raw(rows).hex("\n", _DIGEST).split("\n")

    def set(self, name: str, signature: Signature, digest: bytes, parts: tuple[Part, ...], size: int) -> None:
        """Remember a file, instead of what was remembered of it."""
        row = self.rows.setdefault(name, len(self.blob))
        blob, offset = WHOLE, 0
        if len(parts) == 1 and parts[0][2] == size:
            blob, offset = self._index(parts[0][0]), parts[0][1]
        elif parts:
            blob = MANY
        if row == len(self.blob):
            self.signatures += signature
            self.digests += digest
            self.blob.append(blob)
            self.offset.append(offset)
        else:
            self.signatures[row * SIGNATURE : (row + 1) * SIGNATURE] = signature
            self.digests[row * _DIGEST : (row + 1) * _DIGEST] = digest
            self.blob[row], self.offset[row] = blob, offset
            self.many.pop(row, None)
        if blob == MANY:
            self.many[row] = parts
        self.changed = True

    def extend(self, names: list[str], signatures: bytes, digests: bytes, blob: str, offsets: Iterable[int]) -> None:
        """Remember files of which nothing is remembered yet, all in one blob."""
        first = len(self.blob)
        self.rows.update(zip(names, range(first, first + len(names)), strict=True))
        self.signatures += signatures
        self.digests += digests
        self.blob.extend([self._index(blob)] * len(names))
        self.offset.extend(offsets)
        self.changed = True

    def _index(self, blob: str) -> int:
        if len(self._indexes) != len(self.blobs):
            self._indexes = {known: index for index, known in enumerate(self.blobs)}
        index = self._indexes.setdefault(blob, len(self.blobs))
        if index == len(self.blobs):
            self.blobs.append(blob)
        return index

    def tidied(self, root: str) -> Columns:
        """In the order of the names, which makes looking up fast; and without files that are gone, if they may be many.

        Those are looked for when the rows have doubled since the last time. It keeps what is remembered of a folder
        whose files always get new names from growing for ever.
        """
        names, gone = list(self.rows), set[str]()
        if self._swept is None:
            self._swept = len(names)
        elif len(names) > 2 * self._swept + CHUNK:
            gone = {name for name in names if not os.path.lexists(f"{root}/{name}")}
            self._swept = len(names) - len(gone)
        ordered = sorted(names)
        if ordered == names and not gone:
            return self
        kept = Columns()
        for name in ordered:
            if name in gone:
                continue
            row = self.rows[name]
            signature = self.signature(row)
            size = size_in(signature)
            kept.set(name, signature, self.digest(row), self.parts(row, size), size)
        kept._swept = self._swept
        return kept

    def frames(self, root: str) -> Iterator[bytes]:
        """All that is remembered, as it is kept."""
        used = set(self.blob) - {WHOLE, MANY}
        if len(self.blobs) > 2 * len(used) + _SPARE:  # most are those of rows that were replaced
            kept = sorted(used)
            moved = {WHOLE: WHOLE, MANY: MANY, **{old: new for new, old in enumerate(kept)}}
            self.blob = array("i", map(moved.__getitem__, self.blob))
            self.blobs = [self.blobs[old] for old in kept]
            self._indexes = {}
        yield framed(_encode(_Head(_FORMAT, root, self._swept or 0, self.blobs)))
        names = iter(self.rows)
        for first in range(0, len(self.blob), CHUNK):
            last = first + CHUNK
            frame = _Frame(
                "\0".join(islice(names, CHUNK)),
                bytes(self.signatures[first * SIGNATURE : last * SIGNATURE]),
                bytes(self.digests[first * _DIGEST : last * _DIGEST]),
                self.blob[first:last].tobytes(),
                self.offset[first:last].tobytes(),
                {row - first: parts for row, parts in self.many.items() if first <= row < last},
            )
            yield framed(_encode(frame))

    @classmethod
    def read(cls, file: BinaryIO, root: str) -> Columns:
        """What was kept of a folder; nothing where it is of another one, or another format.

        Raises:
            OSError, ValueError, msgspec.DecodeError: It cannot be read, or is damaged.
        """
        head = _decode_head(unframed(file))
        if head.format != _FORMAT or head.root != root:
            return cls()
        made = cls(head)
        while data := unframed(file):
            made._add(_decode_frame(data))
        return made

    def _add(self, frame: _Frame) -> None:
        first = len(self.blob)
        self.signatures += frame.signatures
        self.digests += frame.digests
        self.blob.frombytes(frame.blob)
        self.offset.frombytes(frame.offset)
        self.rows.update(zip(frame.names.split("\0"), range(first, len(self.blob)), strict=True))
        self.many.update((first + row, parts) for row, parts in frame.many.items())


_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_frame = msgspec.msgpack.Decoder(_Frame).decode
_encode = msgspec.msgpack.Encoder().encode


def _picked(column: array[int], rows: list[int]) -> array[int]:
    """As `_taken`, of numbers."""
    if _in_a_row(rows):
        return column[rows[0] : rows[-1] + 1]
    return array(column.typecode, map(column.__getitem__, rows))


def _taken(column: bytearray, width: int, rows: list[int]) -> bytes:
    """These rows of a column. They mostly lie one behind the other, which is ten times faster."""
    if _in_a_row(rows):
        return bytes(column[rows[0] * width : (rows[-1] + 1) * width])
    return b"".join([column[row * width : (row + 1) * width] for row in rows])


def _in_a_row(rows: list[int]) -> bool:
    return rows == list(range(rows[0], rows[0] + len(rows)))


def framed(data: bytes) -> bytes:
    """Data with its length and a proof."""
    return len(data).to_bytes(4, "little") + _proof(data) + data


def unframed(file: BinaryIO) -> bytes:
    """The next frame, empty at the end. Raises `msgspec.DecodeError` for a damaged one."""
    length, proof = int.from_bytes(file.read(4), "little"), file.read(_PROOF)
    data = file.read(length)
    if data and (len(data) != length or _proof(data) != proof):
        raise msgspec.DecodeError("damaged")
    return data


def _proof(data: bytes) -> bytes:
    return bytes.fromhex(digest_of(data)[7 : 7 + 2 * _PROOF])
