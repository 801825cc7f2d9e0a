"""Remembers digests of files by their stat data, so that unchanged files are not read again.

One small file per folder, replaced whole; several processes may use it at once, the last writer wins. A file that was
changed so shortly before it was hashed that a later change might leave its stat data as they are ("racy") is not
remembered.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from windlass.artifacts.digest import digest_of
from windlass.artifacts.files import Signature, Source
from windlass.artifacts.manifest import Part

__all__ = ["Known", "StatCache"]

_FORMAT = 1
_RACY_NS = 50_000_000  # time stamps advance in steps of up to 10 ms on Linux
_COARSE_NS = 2_000_000_000  # some file systems keep seconds only (or two)


class Known(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What is remembered of a file: its stat data, its digest, and where its bytes were stored."""

    signature: Signature
    digest: str
    parts: tuple[Part, ...]


class _File(msgspec.Struct, array_like=True):
    format: int
    root: str
    rows: dict[str, Known]


_decode = msgspec.msgpack.Decoder(_File).decode
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
        self._roots: dict[str, dict[str, Known]] = {"": {}}  # no root: not remembered
        self._changed: set[str] = set()

    def find(self, source: Source) -> Known | None:
        """What is known of a file that still has the same stat data."""
        rows = self._roots.get(source.root)
        known = (self._rows(source.root) if rows is None else rows).get(source.file)
        return known if known is not None and known.signature == source.signature else None

    def remember(self, source: Source, digest: str, parts: tuple[Part, ...], hashed_at_ns: int) -> None:
        """Remember a file, unless it is racy. `hashed_at_ns` is the time at which its reading began."""
        if not source.root or self._folder is None:
            return
        _, _, _, mtime, ctime = source.signature
        newest = max(mtime, ctime)
        margin = _COARSE_NS if mtime % 1_000_000_000 == 0 and ctime % 1_000_000_000 == 0 else _RACY_NS
        rows = self._rows(source.root)
        if newest + margin < hashed_at_ns:
            rows[source.file] = Known(source.signature, digest, parts)
            self._changed.add(source.root)
        elif rows.pop(source.file, None) is not None:
            self._changed.add(source.root)

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
        """Remember the artifact digest of files, of which all are remembered."""
        if any(isinstance(source, Source) and self.find(source) is None for source in sources):
            return
        path, summary = self._summary(sources)
        if path is not None:
            _replace(path, (summary, digest))

    def _summary(self, sources: Sequence[object]) -> tuple[Path | None, bytes]:
        """Where the listing is remembered, and what it looks like; no place when it holds more than files."""
        roots = {source.root if isinstance(source, Source) else "" for source in sources}
        if self._folder is None or not roots or "" in roots:
            return None, b""
        place = self._path("\0".join(("listing", *sorted(roots))))
        try:
            return place, bytes.fromhex(digest_of(_encode(sources))[7:])
        except UnicodeEncodeError:  # a folder above them has a name that is not UTF-8
            return None, b""

    def save(self, present: dict[str, set[str]] | None = None) -> None:
        """Write what changed. `present` names per root all files there are; others are forgotten."""
        if self._folder is None:
            return
        for root in self._changed:
            rows = self._roots[root]
            keep = present.get(root) if present else None
            if keep is not None and len(rows) > 2 * len(keep) + 1000:
                rows = {file: known for file, known in rows.items() if file in keep}
            _replace(self._path(root), _File(_FORMAT, root, rows))
        self._changed.clear()

    def _rows(self, root: str) -> dict[str, Known]:
        rows = self._roots.get(root)
        if rows is None:
            rows = self._roots[root] = self._load(root)
        return rows

    def _load(self, root: str) -> dict[str, Known]:
        if self._folder is None:
            return {}
        try:
            data = self._path(root).read_bytes()
            file = _decode(data)
        except (OSError, msgspec.DecodeError):
            return {}
        return file.rows if file.format == _FORMAT and file.root == root else {}

    def _path(self, root: str) -> Path:
        assert self._folder is not None
        key = digest_of(f"{self._scope}\0{root}".encode(errors="surrogateescape"))
        return self._folder / key[7:47]


def _replace(path: Path, value: object) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(_encode(value))
        os.replace(temporary, path)
    except (OSError, UnicodeEncodeError):  # a cache that cannot be written costs time, nothing else
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def now_ns() -> int:
    """The clock that file time stamps are compared with."""
    return time.time_ns()
