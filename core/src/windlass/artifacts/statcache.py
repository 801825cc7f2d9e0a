"""Remembers digests of files by their stat data, so that unchanged files are not read again.

One small file per folder, replaced whole; several processes may use it at once, the last writer wins. A file that was
changed so shortly before it was hashed that a later change might leave its stat data as they are ("racy") is not
remembered.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import msgspec

from windlass.artifacts.digest import digest_of, hasher
from windlass.artifacts.files import Signature, Source, times_in
from windlass.artifacts.manifest import Entry, Part

__all__ = ["StatCache"]

_FORMAT = 2
_RACY_NS = 50_000_000  # time stamps advance in steps of up to 10 ms on Linux
_COARSE_NS = 2_000_000_000  # some file systems keep seconds only (or two)
_PROOF = 16  # bytes of a frame's digest
_CHUNK = 4096  # rows that are encoded and decoded at once, so that little memory is needed beside the rows


class _Known(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What is remembered of a file: its stat data, its digest, and where its bytes were stored."""

    signature: Signature
    digest: str
    parts: tuple[Part, ...]


class _Row(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A `_Known` as it is kept: parts as triples of index in the table of blobs, offset and length."""

    signature: Signature
    digest: str
    parts: tuple[int, ...]


class _Head(msgspec.Struct, array_like=True):
    format: int
    root: str
    blobs: list[str]


class _Root:
    """What is remembered of the files below one folder, by their paths below it."""

    def __init__(self, blobs: list[str] | None = None) -> None:
        self.blobs = blobs or []
        self.rows: dict[str, _Row | _Known] = {}  # as they were read, until they are asked for
        self.changed = False

    def parts(self, row: _Row | _Known) -> tuple[Part, ...]:
        """Where the bytes of a file were stored."""
        if isinstance(row, _Known):
            return row.parts
        flat, blobs = row.parts, self.blobs
        if len(flat) == 3:  # a packed file, as most are
            return ((blobs[flat[0]], flat[1], flat[2]),)
        return tuple((blobs[flat[i]], flat[i + 1], flat[i + 2]) for i in range(0, len(flat), 3))

    def frames(self, name: str) -> Iterator[bytes]:
        """All that is remembered, as it is kept."""
        if len(self.blobs) > 2 * len(self.rows) + _CHUNK:  # many may be those of rows that were replaced
            self.rows = {path: _Known(row.signature, row.digest, self.parts(row)) for path, row in self.rows.items()}
            self.blobs = []
        table = {blob: index for index, blob in enumerate(self.blobs)}
        for row in self.rows.values():
            if isinstance(row, _Known):
                for blob, _, _ in row.parts:
                    table.setdefault(blob, len(table))
        self.blobs = list(table)
        yield _framed(_encode(_Head(_FORMAT, name, self.blobs)))
        chunk: dict[str, _Row] = {}
        for path, row in self.rows.items():
            if isinstance(row, _Known):
                flat = chain.from_iterable((table[blob], offset, length) for blob, offset, length in row.parts)
                row = _Row(row.signature, row.digest, tuple(flat))
            chunk[path] = row
            if len(chunk) == _CHUNK:
                yield _framed(_encode(chunk))
                chunk = {}
        yield _framed(_encode(chunk))


_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_rows = msgspec.msgpack.Decoder(dict[str, _Row]).decode
_decode_listing = msgspec.msgpack.Decoder(tuple[bytes, str]).decode
_encode = msgspec.msgpack.Encoder().encode


class StatCache:
    """The remembered digests of one blob store and algorithm. Not shared by threads.

    Args:
        folder: Where they are kept; made when needed. None: nothing is remembered.
        scope: What the remembered facts depend on (blob store, algorithm).
    """

    def __init__(self, folder: Path | None, scope: str) -> None:
        self._folder = folder
        self._scope = scope
        self._roots: dict[str, _Root] = {"": _Root()}  # no root: not remembered

    def entry(self, source: Source) -> Entry | None:
        """The entry for a file that still has the stat data it was remembered with."""
        row = self._row(source)
        if row is None:
            return None
        parts = self._roots[source.root].parts(row)
        return Entry(source.path, row.digest, source.size, parts, "", source.extra)

    def _row(self, source: Source) -> _Row | _Known | None:
        row = self._root(source.root).rows.get(source.below)
        return row if row is not None and row.signature == source.signature else None

    def remember(self, source: Source, digest: str, parts: tuple[Part, ...], hashed_at_ns: int) -> None:
        """Remember a file, unless it is racy. `hashed_at_ns` is the time at which its reading began."""
        if not source.root or self._folder is None:
            return
        mtime, ctime = times_in(source.signature)
        newest = max(mtime, ctime)
        margin = _COARSE_NS if mtime % 1_000_000_000 == 0 and ctime % 1_000_000_000 == 0 else _RACY_NS
        root = self._root(source.root)
        if newest + margin < hashed_at_ns:
            root.rows[source.below] = _Known(source.signature, digest, parts)
            root.changed = True
        elif root.rows.pop(source.below, None) is not None:
            root.changed = True

    def listing(self, sources: Sequence[object]) -> str:
        """The artifact digest that was remembered for exactly these files with exactly this stat data, or empty.

        It spares decoding what is remembered of each file. Sources that come in another order are not recognised.
        """
        path, summary = self._summary(sources)
        if path is None:
            return ""
        try:
            found, digest = _decode_listing(path.read_bytes())
        except (OSError, msgspec.DecodeError):
            return ""
        return digest if found == summary else ""

    def remember_listing(self, sources: Sequence[object], digest: str) -> None:
        """Remember the artifact digest of files, if all of them are remembered."""
        if not all(isinstance(source, Source) and self._row(source) is not None for source in sources):
            return
        path, summary = self._summary(sources)
        if path is not None:
            _replace(path, [_encode((summary, digest))])

    def _summary(self, sources: Sequence[object]) -> tuple[Path | None, bytes]:
        """Where the listing is remembered, and what it looks like; no place when it holds more than files."""
        roots = {source.root if isinstance(source, Source) else "" for source in sources}
        if self._folder is None or not roots or "" in roots:
            return None, b""
        place = self._path("\0".join(("listing", *sorted(roots))))
        made = hasher("blake3")
        try:
            for start in range(0, len(sources), _CHUNK):
                made.update(_encode(sources[start : start + _CHUNK]))
        except UnicodeEncodeError:  # a folder above them has a name that is not UTF-8
            return None, b""
        return place, bytes.fromhex(made.hexdigest())

    def save(self) -> None:
        """Write what changed."""
        for name, root in self._roots.items():
            if root.changed:
                _replace(self._path(name), root.frames(name))
                root.changed = False

    def _root(self, name: str) -> _Root:
        if name not in self._roots:
            self._roots[name] = self._load(name)
        return self._roots[name]

    def _load(self, name: str) -> _Root:
        if self._folder is None:
            return _Root()
        try:
            with self._path(name).open("rb") as file:
                head = _decode_head(_frame(file))
                if head.format != _FORMAT or head.root != name:
                    return _Root()
                root = _Root(head.blobs)
                while data := _frame(file):
                    root.rows.update(_decode_rows(data))
        except (OSError, msgspec.DecodeError):
            return _Root()
        return root

    def _path(self, root: str) -> Path:
        assert self._folder is not None
        return self._folder / digest_of(f"{self._scope}\0{root}".encode(errors="surrogateescape"))[7:47]


def _framed(data: bytes) -> bytes:
    """Length and proof before the data: a flipped bit must not become a wrong digest."""
    return len(data).to_bytes(4, "little") + _proof(data) + data


def _frame(file: BinaryIO) -> bytes:
    """The next frame, empty at the end. Raises `msgspec.DecodeError` for a damaged one."""
    length, proof = int.from_bytes(file.read(4), "little"), file.read(_PROOF)
    data = file.read(length)
    if data and (len(data) != length or _proof(data) != proof):
        raise msgspec.DecodeError("damaged")
    return data


def _proof(data: bytes) -> bytes:
    return bytes.fromhex(digest_of(data)[7 : 7 + 2 * _PROOF])


def _replace(path: Path, parts: Iterable[bytes]) -> None:
    temporary = path.with_name(f"{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.writelines(parts)
        os.replace(temporary, path)
    except (OSError, UnicodeEncodeError):  # a cache that cannot be written costs time, nothing else
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def now_ns() -> int:
    """The clock that file time stamps are compared with."""
    return time.time_ns()
