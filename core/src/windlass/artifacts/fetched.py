"""Remembers what the references of a target folder were when they were fetched.

An ETag, a version id or a store's own checksum says which bytes are meant, but no file on disk can be compared with it.
What its bytes were is known once they were fetched; from then on the file is compared with that, and nobody is asked.
"""

from __future__ import annotations

import os
import threading

import msgspec

from windlass.artifacts.digest import digest_of
from windlass.artifacts.manifest import Entry
from windlass.artifacts.statcache import StatCache

__all__ = ["Fetched"]

_Known = dict[str, tuple[bytes, str]]
_decode = msgspec.msgpack.Decoder(_Known).decode
_encode = msgspec.msgpack.Encoder().encode


class Fetched:
    """Digests of the bytes of references, by their path in one folder. Serves several threads.

    Args:
        present: Where it is kept.
        root: The folder.
    """

    def __init__(self, present: StatCache, root: str) -> None:
        self._present, self._root = present, root
        self._lock = threading.Lock()
        self._loaded: _Known | None = None  # most downloads have no references
        self._changed = False

    def digest(self, entry: Entry) -> str:
        """What the bytes of a reference were, when the very same was fetched to its path last; else empty."""
        key, digest = self._known.get(entry.path, (b"", ""))
        return digest if digest and key == _key(entry) else ""

    def note(self, entry: Entry, digest: str) -> None:
        """Remember what the bytes were. Nothing is, of an address alone: what is there now is as good."""
        if not entry.digest.startswith("uri:"):
            self._known[entry.path] = _key(entry), digest
            self._changed = True

    def save(self) -> None:
        """Keep what is known of files that are there."""
        if self._changed:
            known = {path: what for path, what in self._known.items() if os.path.lexists(f"{self._root}/{path}")}
            self._present.note("fetched", {self._root}, _encode(known))
            self._changed = False

    @property
    def _known(self) -> _Known:
        with self._lock:
            if self._loaded is None:
                try:
                    data = self._present.recall("fetched", {self._root})
                    self._loaded = _decode(data) if data else {}
                except msgspec.DecodeError:  # of another version
                    self._loaded = {}
            return self._loaded


def _key(entry: Entry) -> bytes:
    """All that was recorded of a reference."""
    return bytes.fromhex(digest_of(_encode((entry.ref, entry.digest, entry.size, entry.extra)))[7:])
