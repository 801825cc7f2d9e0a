"""Remembers what the references of a target folder were when they were fetched.

An ETag, a version id or a store's own checksum says which bytes are meant, but no file on disk can be compared with it.
What its bytes were is known once they were fetched; from then on the file is compared with that, and nobody is asked.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import msgspec

from windlass.artifacts.columns import framed, unframed
from windlass.artifacts.digest import digest_of
from windlass.artifacts.manifest import Entry
from windlass.artifacts.statcache import replace_file

__all__ = ["Fetched"]

_Known = dict[str, tuple[bytes, str]]
_decode = msgspec.msgpack.Decoder(_Known).decode
_encode = msgspec.msgpack.Encoder().encode


class Fetched:
    """Digests of the bytes of references, by their path in one folder.

    Args:
        path: The file they are kept in. None: nothing outlives this object.
        root: The folder.
    """

    def __init__(self, path: Path | None, root: str) -> None:
        self._path, self._root = path, root
        self._new: _Known = {}
        self._damaged = False

    def digest(self, entry: Entry) -> str:
        """What the bytes of a reference were, when the very same was fetched to its path last; else empty."""
        key, digest = self._known.get(entry.path, (b"", ""))
        return digest if digest and key == _key(entry) else ""

    def note(self, entry: Entry, digest: str) -> None:
        """Remember what the bytes were; called by several threads.

        Nothing is, of an address alone: what is there now is as good.
        """
        if not entry.digest.startswith("uri:"):
            self._new[entry.path] = _key(entry), digest

    def save(self) -> None:
        """Keep what was noted: behind what there is, or now and then with what there is of files that still are."""
        if self._path is None or not self._new:
            return
        data = framed(_encode(self._new))
        with suppress(OSError):  # a cache that cannot be written costs time, nothing else
            size = self._path.stat().st_size if self._path.exists() else 0
            # so rarely is all of it written anew that this costs, on average, no more than what is noted
            if not self._damaged and int.from_bytes(os.urandom(4)) / 2**32 * size > len(data):
                with self._path.open("ab", buffering=0) as file:
                    file.write(data)
                return
            known = {path: what for path, what in self._known.items() if os.path.lexists(f"{self._root}/{path}")}
            replace_file(self._path, [framed(_encode(known | self._new))])

    @cached_property
    def _known(self) -> _Known:
        known: _Known = {}
        try:
            if self._path is not None:
                with self._path.open("rb") as file:
                    while data := unframed(file):
                        known.update(_decode(data))
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError):  # what is damaged, or of another version, is fetched again
            self._damaged = True
        return known


def _key(entry: Entry) -> bytes:
    """All that was recorded of a reference."""
    return bytes.fromhex(digest_of(_encode((entry.ref, entry.digest, entry.size, entry.extra)))[7:])
