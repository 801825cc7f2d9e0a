"""Makes blobs whole again that were damaged or lost, from what still holds their content.

A blob is its digest, so it can be put together from anything and proven before it is stored: from files of the user's,
from the cache, and from what is left of the blob itself. Manifests and signatures stay as they are, and every version
that shares the blob is whole again. What is whole is read and left alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from attrs import field, frozen

from windlass.artifacts.digest import algorithm_of, digest_of, hash_file
from windlass.artifacts.draft import Draft
from windlass.artifacts.files import below
from windlass.artifacts.manifest import Entry, Manifest, blobs_of
from windlass.artifacts.manifest_writing import write_manifest
from windlass.errors import AccessError, IntegrityError, StorageError

if TYPE_CHECKING:
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.models.artifact import ArtifactVersion

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
    engine: ArtifactEngine, version: ArtifactVersion, source: str = "", *, done: Callable[[int], None] = lambda _: None
) -> Repair:
    """Read every blob of a version, and store those anew that are damaged or gone, as far as their content is found.

    Args:
        engine: Knows blobs, cache and index.
        version: The version.
        source: A folder with files of the version, or one file; empty: there is none.
        done: Told the bytes of each blob that was read.

    Raises:
        IntegrityError: The manifest is damaged or gone, and the files do not make it again.
        StorageError: Storing failed.
    """
    manifest, restored = _manifest(engine, version, source)
    listing = (manifest.digest, *manifest.leaf_digests())
    needed = dict.fromkeys(blob for entry in manifest for blob in blobs_of(entry))
    gone = engine.blobs.missing(needed)
    broken = [blob for blob in needed if blob in gone or not engine.blobs.is_whole(blob, done)]
    pieces = _pieces(engine, manifest, set(broken)) if broken else {}
    files = _Files(source)
    lost: dict[str, list[str]] = {}
    for blob in broken:
        data = _assembled(engine, blob, pieces.get(blob, {}), files)
        if data is None:
            lost[blob] = []
        else:
            engine.blobs.replace(blob, data)
            restored.append(blob)
    for entry in manifest if lost else ():
        for blob in lost.keys() & blobs_of(entry):
            lost[blob].append(entry.path)
    paths = {blob: tuple(found) for blob, found in lost.items()}
    return Repair(blobs=len(needed) + len(listing), restored=tuple(restored), lost=paths)


def _manifest(engine: ArtifactEngine, version: ArtifactVersion, source: str) -> tuple[Manifest, list[str]]:
    """The manifest, and which of its blobs were restored: written again from the files, they must be the same."""
    with suppress(IntegrityError):
        manifest = engine.manifest(version)
        for index in range(manifest.leaves):
            manifest.leaf(index)
        return manifest, []
    written: dict[str, bytes] = {}
    if source:
        draft = Draft()
        if os.path.isdir(source):
            draft.add_dir(source, "", include=(), exclude=(), symlinks="follow", policy="immutable", overwrite=False)
        else:
            draft.add_file(source, os.path.basename(source), policy="immutable", overwrite=False)
        write_manifest(engine.place(draft, version), written.__setitem__, engine.algorithm)
    if version.manifest not in written:
        raise IntegrityError(
            f"its manifest is damaged or lost, and {'these files make another' if source else 'no files were given'}",
            where=version.path,
            hint="Give all its files as they were put (--from PATH). Where that does not help, delete the version "
            "(windlass artifact rm) and put them again.",
        )
    broken = [blob for blob in written if not engine.blobs.is_whole(blob)]
    for blob in broken:
        engine.blobs.replace(blob, written[blob])
    return engine.manifest(version), broken


class _Files:
    """Files that may hold content of a version.

    Args:
        source: A folder, or one file; empty: there are none.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._digests: dict[tuple[int, str], dict[str, str]] = {}

    def with_content(self, entry: Entry) -> Iterator[str]:
        """What is under the entry's path, and then what has its digest under another name."""
        if not self._source:
            return
        yield f"{self._source}/{entry.path}"
        algorithm = algorithm_of(entry.digest)
        key = entry.size, algorithm
        if key not in self._digests:
            self._digests[key] = {}
            for file in self._by_size.get(entry.size, ()):
                with suppress(OSError):
                    self._digests[key][hash_file(file, algorithm)] = file
        if entry.digest in self._digests[key]:
            yield self._digests[key][entry.digest]

    @cached_property
    def _by_size(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        is_file = os.path.isfile(self._source)
        for file in [self._source] if is_file else (f"{self._source}/{path}" for path in below(self._source)):
            with suppress(OSError):
                facts = os.stat(file)
                if stat.S_ISREG(facts.st_mode):
                    found.setdefault(facts.st_size, []).append(file)
        return found


def _pieces(engine: ArtifactEngine, manifest: Manifest, broken: set[str]) -> dict[str, dict[int, list[_Piece]]]:
    """What is known to lie where in these blobs: of each offset the entries that have the content there.

    A pack may hold files that only other versions have, so all manifests are asked that we may see.
    """
    found: dict[str, dict[int, list[_Piece]]] = {}
    for entry in _entries(engine, manifest):
        if entry.ref:
            continue
        start = 0
        for blob, offset, length in entry.parts or ((entry.digest, 0, entry.size),):
            if blob in broken and (length or not entry.parts):  # an empty file is nowhere in its pack
                found.setdefault(blob, {}).setdefault(offset, []).append(_Piece(entry, start, length))
            start += length
    return found


def _entries(engine: ArtifactEngine, manifest: Manifest) -> Iterator[Entry]:
    yield from manifest
    after = ""
    with suppress(AccessError):  # a server shows all manifests to administrators only
        while roots := engine.store.artifacts.roots(after, _PAGE):
            for root in roots:
                with suppress(StorageError):  # others may be damaged, too
                    if root.manifest != manifest.digest:
                        yield from Manifest(engine.blobs, root.manifest)
            after = roots[-1].manifest


def _assembled(engine: ArtifactEngine, blob: str, pieces: dict[int, list[_Piece]], files: _Files) -> bytes | None:
    """The content of a blob; None when a part of it is nowhere to be found."""
    if not pieces:
        return None
    rest = b""
    end = max(offset + choices[0].length for offset, choices in pieces.items())
    with suppress(StorageError), engine.blobs.open(blob, 0, end) as stream:  # as a range, for that is not proven
        rest = stream.read()
    data = bytearray()
    for offset, choices in sorted(pieces.items()):
        if offset != len(data):
            return None
        for piece in choices:
            part = _content(engine, blob, piece, rest[offset : offset + piece.length], files)
            if part is not None:
                data += part
                break
        else:
            return None
    return bytes(data) if digest_of(data, algorithm_of(blob)) == blob else None


def _content(engine: ArtifactEngine, blob: str, piece: _Piece, rest: bytes, files: _Files) -> bytes | None:
    """The bytes of a piece, proven by the entry's digest, or by the blob's where the piece is all of that."""
    entry = piece.entry
    wanted = entry.digest if piece.length == entry.size else blob
    if digest_of(rest, algorithm_of(wanted)) == wanted:
        return rest
    for place in (*files.with_content(entry), engine.cache.path(entry.digest)):
        with suppress(OSError), open(place, "rb") as file:
            if os.fstat(file.fileno()).st_size != entry.size:
                continue
            file.seek(piece.start)
            data = file.read(piece.length)
            if digest_of(data, algorithm_of(wanted)) == wanted:
                return data
    return None
