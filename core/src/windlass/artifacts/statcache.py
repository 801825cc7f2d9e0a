"""Remembers digests of files by their stat data, so that unchanged files are not read again.

One small file per folder, replaced whole; several processes may use it at once, the last writer wins. A file that was
changed so shortly before it was hashed that a later change might leave its stat data as they are ("racy") is not
remembered.
"""

from __future__ import annotations

import os
import secrets
import time
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
        self._roots: dict[str, dict[str, Known]] = {}
        self._changed: set[str] = set()

    def find(self, source: Source) -> Known | None:
        """What is known of a file that still has the same stat data."""
        if not source.root:
            return None
        known = self._rows(source.root).get(source.file)
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

    def save(self, present: dict[str, set[str]] | None = None) -> None:
        """Write what changed. `present` names per root all files there are; others are forgotten."""
        if self._folder is None:
            return
        for root in self._changed:
            rows = self._roots[root]
            keep = present.get(root) if present else None
            if keep is not None and len(rows) > 2 * len(keep) + 1000:
                rows = {file: known for file, known in rows.items() if file in keep}
            path = self._path(root)
            temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.write_bytes(_encode(_File(_FORMAT, root, rows)))
                os.replace(temporary, path)
            except OSError:  # a cache that cannot be written costs time, nothing else
                temporary.unlink(missing_ok=True)
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


def now_ns() -> int:
    """The clock that file time stamps are compared with."""
    return time.time_ns()
