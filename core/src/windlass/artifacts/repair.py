"""Makes blobs whole again that were damaged or lost, from what still holds their content.

A blob is its digest, so it can be put together from anything and proven before it is stored: from files of a folder,
from the cache, and from what is left of the blob itself. Manifests and signatures stay as they are, and every version
that shares the blob is whole again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import field, frozen

from windlass.artifacts.digest import algorithm_of, digest_of, hash_stream
from windlass.artifacts.manifest import Entry, Manifest, blobs_of
from windlass.errors import AccessError, StorageError

if TYPE_CHECKING:
    from windlass.artifacts.reading import ArtifactReading

__all__ = ["Repair", "repair"]

_PAGE = 1000


@frozen(kw_only=True)
class Repair:
    """What was found and done.

    Attributes:
        blobs: How many blobs the version has.
        restored: Digests of those that were damaged or lost and are whole again.
        lost: Digests of those that could not be put together, with paths of the version that need them.
    """

    blobs: int
    restored: tuple[str, ...] = ()
    lost: dict[str, tuple[str, ...]] = field(factory=dict)


@frozen
class _Piece:
    """Where a part of a blob stands in an entry's content."""

    entry: Entry
    start: int
    length: int


def repair(
    reading: ArtifactReading, manifest: Manifest, folder: str = "", *, done: Callable[[int], None] = lambda _: None
) -> Repair:
    """Read every blob of a version, and store those anew that are damaged or gone, as far as their content is found.

    Args:
        reading: Knows blobs, cache and index.
        manifest: The version.
        folder: Holds files of the version under the paths they have in it; empty: there is none.
        done: Told the bytes of each blob that was read.

    Raises:
        UnsupportedError: The blob store is that of a server; damaged blobs are put aside where they are kept.
        StorageError: Storing failed.
    """
    needed = dict.fromkeys(blob for entry in manifest for blob in blobs_of(entry))
    gone = reading.blobs.missing(needed)
    broken = [blob for blob in needed if blob in gone or not _is_whole(reading, blob, done)]
    if not broken:
        return Repair(blobs=len(needed))
    pieces = _pieces(reading, manifest, set(broken))
    restored: list[str] = []
    lost: dict[str, list[str]] = {}
    for blob in broken:
        data = _assembled(reading, blob, pieces.get(blob, {}), folder)
        if data is None:
            lost[blob] = []
            continue
        if blob not in gone:
            reading.blobs.retire((blob,))
        reading.blobs.put(blob, data)
        reading.blobs.purge((blob,))  # the damaged one would be read again if the new one were lost
        restored.append(blob)
    for entry in manifest if lost else ():
        for blob in lost.keys() & blobs_of(entry):
            lost[blob].append(entry.path)
    paths = {blob: tuple(found) for blob, found in lost.items()}
    return Repair(blobs=len(needed), restored=tuple(restored), lost=paths)


def _is_whole(reading: ArtifactReading, blob: str, done: Callable[[int], None]) -> bool:
    try:
        with reading.blobs.open(blob) as stream:
            found, size = hash_stream(stream, algorithm_of(blob))
    except StorageError:
        return False
    done(size)
    return found == blob


def _pieces(reading: ArtifactReading, manifest: Manifest, broken: set[str]) -> dict[str, dict[int, list[_Piece]]]:
    """What is known to lie where in these blobs: of each offset the entries that have the content there.

    A pack may hold files that only other versions have, so all manifests are asked that we may see.
    """
    found: dict[str, dict[int, list[_Piece]]] = {}
    for entry in _entries(reading, manifest):
        if entry.ref:
            continue
        start = 0
        for blob, offset, length in entry.parts or ((entry.digest, 0, entry.size),):
            if blob in broken and (length or not entry.parts):  # an empty file is nowhere in its pack
                found.setdefault(blob, {}).setdefault(offset, []).append(_Piece(entry, start, length))
            start += length
    return found


def _entries(reading: ArtifactReading, manifest: Manifest) -> Iterator[Entry]:
    yield from manifest
    after = ""
    with suppress(AccessError):  # a server shows all manifests to administrators only
        while roots := reading.store.artifacts.roots(after, _PAGE):
            for root in roots:
                with suppress(StorageError):  # others may be damaged, too
                    if root.manifest != manifest.digest:
                        yield from Manifest(reading.blobs, root.manifest)
            after = roots[-1].manifest


def _assembled(reading: ArtifactReading, blob: str, pieces: dict[int, list[_Piece]], folder: str) -> bytes | None:
    """The content of a blob; None when a part of it is nowhere to be found."""
    rest = b""
    with suppress(StorageError), reading.blobs.open(blob) as stream:
        rest = stream.read()
    data = bytearray()
    for offset, choices in sorted(pieces.items()):
        if offset != len(data):
            return None
        for piece in choices:
            part = _content(reading, blob, piece, rest[offset : offset + piece.length], folder)
            if part is not None:
                data += part
                break
        else:
            return None
    return bytes(data) if digest_of(data, algorithm_of(blob)) == blob else None


def _content(reading: ArtifactReading, blob: str, piece: _Piece, rest: bytes, folder: str) -> bytes | None:
    """The bytes of a piece, proven by the entry's digest, or by the blob's where the piece is all of that."""
    entry = piece.entry
    wanted = entry.digest if piece.length == entry.size else blob
    if digest_of(rest, algorithm_of(wanted)) == wanted:
        return rest
    for place in (*([f"{folder}/{entry.path}"] if folder else ()), reading.cache.path(entry.digest)):
        with suppress(OSError), open(place, "rb") as file:
            if os.fstat(file.fileno()).st_size != entry.size:
                continue
            file.seek(piece.start)
            data = file.read(piece.length)
            if digest_of(data, algorithm_of(wanted)) == wanted:
                return data
    return None
