"""Remembers digests of files by their stat data, so that unchanged files are not read again.

One small file per folder, replaced whole; several processes may use it at once, the last writer wins. A file that was
changed so shortly before it was hashed that a later change might leave its stat data as they are ("racy") is known
until the process ends and not beyond.
"""

from __future__ import annotations

import contextlib
import os
import time
from array import array
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, compress, groupby, islice
from operator import attrgetter, not_
from pathlib import Path
from typing import Any

import msgspec

from windlass.artifacts.columns import CHUNK, MANY, WHOLE, Columns, framed, unframed
from windlass.artifacts.digest import ArtifactHasher, digest_of, facts_of_each, hasher
from windlass.artifacts.files import SIGNATURE, Signature, Source, times_in
from windlass.artifacts.manifest import Entry, Part, Row, blobs_of, row_of

__all__ = ["StatCache", "now_ns", "replace_file"]

_RACY_NS = 50_000_000  # time stamps advance in steps of up to 10 ms on Linux
_COARSE_NS = 2_000_000_000  # some file systems keep seconds only (or two)
_UNSURE: Signature = bytes(SIGNATURE)  # no file has it

_decode_listing = msgspec.msgpack.Decoder(tuple[bytes, str]).decode
_encode = msgspec.msgpack.Encoder().encode


class StatCache:
    """The remembered digests of one blob store and algorithm. Not shared by threads.

    Args:
        folder: Where they are kept; made when needed. None: nothing outlives the process.
        scope: What the remembered facts depend on beside the algorithm (the blob store).
        algorithm: That of the digests.
    """

    def __init__(self, folder: Path | None, scope: str, algorithm: str = "blake3") -> None:
        self.algorithm = algorithm
        self._mark = f"{algorithm}:"
        self._folder = folder
        self._scope = f"{scope}\0{algorithm}"
        self._folders: dict[str, Columns] = {"": Columns()}  # no root: not kept
        self._unsure = False
        self._listed: tuple[Path | None, bytes] = None, b""

    def entry(self, source: Source) -> Entry | None:
        """The entry for a file that still has the stat data it was remembered with."""
        files = self._of(source.root)
        row = files.rows.get(source.below)
        if row is None or files.signature(row) != source.signature:
            return None
        return Entry(source.path, *self.known(source), extra=source.extra)

    def look_up(self, items: Iterable[Source | Entry]) -> tuple[list[Source], set[str]]:
        """Which files are not known with the stat data they have, and the blobs that hold the bytes of all others."""
        unknown: list[Source] = []
        blobs: set[str] = set()
        for files, chunk, at in self._chunks(items):
            if files is None:
                blobs.update(blob for entry in chunk if not entry.ref for blob in blobs_of(entry))
                continue
            if None in at or not files.has(at, _signatures(chunk)):
                same = [
                    row is not None and files.signature(row) == source.signature
                    for source, row in zip(chunk, at, strict=True)
                ]
                unknown += compress(chunk, map(not_, same))
                at = list(compress(at, same))
            used = set(map(files.blob.__getitem__, at))
            if WHOLE in used:
                whole = [row for row in at if files.blob[row] == WHOLE]
                blobs.update(map(self._mark.__add__, files.hexes(whole)))
            if MANY in used:
                blobs.update(part[0] for row in at for part in files.many.get(row, ()))
            blobs.update(files.blobs[index] for index in used if index >= 0)
        return unknown, blobs

    def rows(self, items: Iterable[Source | Entry]) -> Iterator[Row]:
        """Rows of a manifest for files that this process has looked up and found, or remembered, and for entries."""
        for files, chunk, at in self._chunks(items):
            if files is None:
                yield from [row_of(entry, self.algorithm) for entry in chunk]
                continue
            blobs, parts = files.blobs, files.parts
            columns = zip(
                chunk,
                files.values(at),
                array("q", _signatures(chunk))[2 :: SIGNATURE // 8],  # sizes
                map(files.blob.__getitem__, at),
                map(files.offset.__getitem__, at),
                at,
                strict=True,
            )
            yield from [
                Row(
                    source.path,
                    value,
                    size,
                    [blobs[blob], offset, size] if blob >= 0 else list(chain.from_iterable(parts(row, size))),
                    "",
                    "",
                    source.extra,
                )
                for source, (value,), size, blob, offset, row in columns
            ]

    def artifact_digest(self, items: Iterable[Source | Entry]) -> str:
        """Digest of an artifact of the `rows` of these, which come in the order of their paths."""
        made = ArtifactHasher(self.algorithm)
        for files, chunk, at in self._chunks(items):
            paths, extras = [item.path for item in chunk], [item.extra for item in chunk]
            if files is None:
                refs = [entry.ref for entry in chunk]
                made.update(paths, [entry.digest for entry in chunk], facts_of_each(refs, extras))
            else:
                facts = facts_of_each([""] * len(chunk), extras) if any(extras) else None
                made.update(paths, files.hexes(at), facts, self._mark)
        return made.digest()

    def content(self, items: Iterable[Source | Entry]) -> bytes:
        """Tells the `rows` of these from all others; empty for references, whose rows cost as little."""
        made = hasher("blake3")
        for files, chunk, at in self._chunks(items):
            if files is None:
                if chunk[0].ref:
                    return b""
                made.update(_encode(chunk))
                continue
            sizes = array("q", _signatures(chunk))[2 :: SIGNATURE // 8].tobytes()
            told = [(source.path, source.extra) if source.extra else source.path for source in chunk]
            made.update(_encode((told, sizes, files.raw(at), files.places(at))))
        return bytes.fromhex(made.hexdigest())

    def known(self, source: Source) -> tuple[str, int, tuple[Part, ...]]:
        """Digest, size and place of a file that this process has looked up and found, or remembered."""
        files, size = self._of(source.root), source.size
        row = files.rows[source.below]
        return self._mark + files.digest(row).hex(), size, files.parts(row, size)

    def _chunks(self, items: Iterable[Source | Entry]) -> Iterator[tuple[Any, list[Any], list[Any]]]:
        """Files of one folder at a time with what is remembered of it and their rows there; entries with None."""
        for root, run in groupby(items, key=attrgetter("root")):
            files = None if root is None else self._of(root)
            left: Iterator[Any] = run
            while chunk := list(islice(left, CHUNK)):
                if files is None:
                    yield None, chunk, []
                else:  # the names as in `Source.below`, without a call for each
                    yield files, chunk, list(map(files.rows.get, [source.name or source.path for source in chunk]))

    def remember(self, source: Source, digest: str, parts: tuple[Part, ...], hashed_at_ns: int) -> None:
        """Remember a file; only while the process lives if it is racy. `hashed_at_ns`: when its reading began."""
        signature = source.signature
        if not source.root or _is_racy(signature, hashed_at_ns):
            signature = _UNSURE
            self._unsure = True
        value = bytes.fromhex(digest[len(self._mark) :])
        self._of(source.root).set(source.below, signature, value, parts, source.size)

    def remember_pack(self, pack: str, sources: list[Source], places: dict[str, int], hashed_at_ns: int) -> None:
        """Remember files that a pack holds; as `remember` for each, for less where nothing was remembered of them.

        Args:
            pack: Digest of the pack.
            sources: The files.
            places: Digest of each and where it begins in the pack, in the same order.
            hashed_at_ns: When the reading of the first began.
        """
        roots = {source.root for source in sources}
        files, names, stat = self._of(sources[0].root), [source.below for source in sources], _signatures(sources)
        times = array("q", stat)
        newest = max(times[3 :: SIGNATURE // 8] + times[4 :: SIGNATURE // 8])
        if (
            len(roots) == 1
            and "" not in roots
            and newest + _COARSE_NS < hashed_at_ns
            and files.rows.keys().isdisjoint(names)
        ):
            digests = bytes.fromhex("".join([digest[len(self._mark) :] for digest in places]))
            files.extend(names, stat, digests, pack, places.values())
            return
        for source, (digest, offset) in zip(sources, places.items(), strict=True):
            self.remember(source, digest, ((pack, offset, source.size),), hashed_at_ns)

    def listing(self, items: Collection[Source | Entry]) -> str:
        """The artifact digest that was remembered for exactly these files with exactly this stat data, or empty.

        It spares reading what is remembered of each file. Files that come in another order are not recognised.
        """
        path, summary = self._listed = self._summary(items)
        if path is None:
            return ""
        try:
            found, digest = _decode_listing(path.read_bytes())
        except (OSError, msgspec.DecodeError):
            return ""
        return digest if found == summary else ""

    def remember_listing(self, digest: str) -> None:
        """Remember the artifact digest of the files that `listing` was asked of, unless one of them was racy."""
        path, summary = self._listed
        if path is not None and not self._unsure:
            replace_file(path, [_encode((summary, digest))])

    def remembered_leaves(self, items: Iterable[Source | Entry]) -> bytes:
        """What was remembered of the manifest of files below the same folders; empty where nothing was."""
        if self._folder is None:
            return b""
        try:
            with self._leaves(items).open("rb") as file:
                return unframed(file)
        except (OSError, msgspec.DecodeError):
            return b""

    def remember_leaves(self, items: Iterable[Source | Entry], data: bytes) -> None:
        """Remember something of the manifest of these files."""
        if self._folder is not None:
            replace_file(self._leaves(items), [framed(data)])

    def _leaves(self, items: Iterable[Source | Entry]) -> Path:
        return self._path_of("leaves", {root or "" for root in _roots(items)})

    def _summary(self, items: Collection[Source | Entry]) -> tuple[Path | None, bytes]:
        """Where the listing is remembered, and what it looks like; no place when it holds more than files."""
        roots = _roots(items)
        if self._folder is None or not roots or not all(roots):
            return None, b""
        place = self._path_of("listing", roots)
        made, left = hasher("blake3"), iter(items)
        try:
            while chunk := list(islice(left, CHUNK)):
                made.update(_encode(chunk))
        except UnicodeEncodeError:  # a folder above them has a name that is not UTF-8
            return None, b""
        return place, bytes.fromhex(made.hexdigest())

    def save(self) -> None:
        """Write what changed."""
        for root, files in self._folders.items():
            if root and files.changed and self._folder is not None:
                replace_file(self._path(root), files.tidied(root).frames(root))
                files.changed = False

    def _of(self, root: str) -> Columns:
        if root not in self._folders:
            self._folders[root] = self._load(root)
        return self._folders[root]

    def _load(self, root: str) -> Columns:
        if self._folder is None:
            return Columns()
        try:
            with self._path(root).open("rb") as file:
                return Columns.read(file, root)
        except (OSError, ValueError, msgspec.DecodeError):
            return Columns()

    def place(self, what: str, root: str) -> Path | None:
        """Where others may keep something about a folder; None: nothing is kept."""
        return None if self._folder is None else self._path_of(what, {root})

    def _path_of(self, what: str, roots: set[str]) -> Path:
        """Where something is kept about the files below several folders."""
        return self._path("\0".join((what, *sorted(roots))))

    def _path(self, root: str) -> Path:
        assert self._folder is not None
        return self._folder / digest_of(f"{self._scope}\0{root}".encode(errors="surrogateescape"))[7:47]


def _roots(items: Iterable[Source | Entry]) -> set[Any]:
    return set(map(attrgetter("root"), items))


def _signatures(sources: list[Source]) -> bytes:
    return b"".join([source.signature for source in sources])


def _is_racy(signature: Signature, hashed_at_ns: int) -> bool:
    mtime, ctime = times_in(signature)
    margin = _COARSE_NS if mtime % 1_000_000_000 == 0 and ctime % 1_000_000_000 == 0 else _RACY_NS
    return max(mtime, ctime) + margin >= hashed_at_ns


def replace_file(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file of a cache anew, whole or not at all; silent where it cannot be written."""
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
