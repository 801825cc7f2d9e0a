"""Finds the pickles in files: plain, in our container, of joblib, compressed, in .npy, and in zip and tar archives."""

from __future__ import annotations

import ast
import bz2
import gzip
import lzma
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from windlass.errors import UsageError
from windlass.trust.scan.recorder import OPCODES
from windlass.trust.scan.report import ScannedPickle, ScanReport, Verdict, worst
from windlass.trust.scan.streams import fickling_version, scan_streams

_EXTENSIONS = (".pkl", ".pickle", ".dill", ".cloudpickle", ".joblib")
_UNPACKED = "!unpacked"
_LIMIT = 16 << 30
_CHUNK = 1 << 20
_IN_MEMORY = 64 << 20
_MAX_DEPTH = 4
_BY_CHANCE = (b"\x78", b"\x5d")  # of zlib and of old lzma; the marks of the other formats are long


def scan_path(
    path: str | Path, *, serializer: str = "", allow: tuple[str, ...] = (), limit: int = _LIMIT
) -> ScanReport:
    """Scan a file, or all files below a directory. Nothing in them is imported or called.

    Args:
        path: What to scan.
        serializer: What will read it, if that is known; else the extension ``.joblib`` says so. Joblib reads other
            opcodes in the same bytes than pickle does.
        allow: Names to allow beside the list of the scanner (``scan-allow`` of trust.yaml).
        limit: Largest decompressed size of one member, in bytes; larger ones are ``unreadable``.

    Raises:
        UsageError: There is nothing at `path`.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        names = [str(p.relative_to(path)) for p in files]
    elif path.is_file():
        files, names = [path], [path.name]
    else:
        raise UsageError(f"there is no file or directory at {path}", where=str(path), hint="Check the path.")
    found: list[ScannedPickle] = []
    for item, name in zip(files, names, strict=True):
        with item.open("rb") as file:
            found += scan_file(file, name, serializer=serializer, allow=allow, limit=limit)
    return report_of(str(path), found, files=len(files))


def report_of(target: str, found: Sequence[ScannedPickle], *, files: int) -> ScanReport:
    """The report on a target of which so many files were looked into."""
    version = fickling_version()
    return ScanReport(
        target=target,
        verdict=worst(pickle.verdict for pickle in found),
        files=files,
        scanners=("windlass", f"fickling {version}") if version else ("windlass",),
        pickles=tuple(found),
    )


def scan_file(
    file: BinaryIO,
    name: str,
    *,
    serializer: str = "",
    allow: tuple[str, ...] = (),
    limit: int = _LIMIT,
    depth: int = 0,
) -> Iterator[ScannedPickle]:
    """Scan an open, seekable file. See `scan_path`."""
    head = file.read(16)
    file.seek(0)
    own_name = name.lower().replace(_UNPACKED, "").rpartition("!")[2]
    joblib = serializer == "joblib" if serializer else own_name.endswith(".joblib")
    certain = own_name.endswith(_EXTENSIONS) or (head[:1] == b"\x80" and head[1:2] < b"\x06" and _is_opcode(head))
    if head.startswith(b"\x93NUMPY"):
        yield from _scan_npy(file, name, allow)
    elif zipfile.is_zipfile(file):
        yield from _scan_zip(file, name, allow, limit, depth)
        if not head.startswith(b"PK"):  # an archive behind something else: a pickle, perhaps
            file.seek(0)
            yield from scan_streams(file, name, certain=certain, joblib=joblib, allow=allow)
    elif _is_tar(file):
        yield from _scan_tar(file, name, allow, limit, depth)
        file.seek(0)  # the name of the first member may be a pickle
        yield from scan_streams(file, name, certain=False, joblib=joblib, allow=allow)
    elif (opener := _decompressor(head)) is not None:
        inner = f"{name}{_UNPACKED}"
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as plain:
            file.seek(0)
            problem = "packed too often" if depth >= _MAX_DEPTH else _copy(opener, file, plain, limit)
            if problem:
                # Pickles end before their file does: what is damaged further on has been run by then. Only where
                # nothing comes out at all, and the first bytes may have come about by chance, is it something else.
                if certain or depth or plain.tell() or head[:1] not in _BY_CHANCE:
                    yield _unreadable(inner, problem)
                return
            yield from _scan_inner(cast(BinaryIO, plain), inner, serializer, certain, allow, limit, depth)
    elif head.startswith(b"PK\x03\x04"):  # others read such archives without the list at their end
        yield _unreadable(name, "the archive cannot be read: it is damaged or cut off")
    else:
        file.seek(0)
        yield from scan_streams(file, name, certain=certain, joblib=joblib, allow=allow)


def _scan_inner(
    file: BinaryIO, name: str, serializer: str, certain: bool, allow: tuple[str, ...], limit: int, depth: int
) -> Iterator[ScannedPickle]:
    file.seek(0)
    found = list(scan_file(file, name, serializer=serializer, allow=allow, limit=limit, depth=depth + 1))
    if certain and not found:
        found = [_unreadable(name, "no pickle in it, though its name says so")]
    yield from found


def _scan_zip(file: BinaryIO, name: str, allow: tuple[str, ...], limit: int, depth: int) -> Iterator[ScannedPickle]:
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                inner = f"{name}!{info.filename}"
                if info.is_dir():
                    continue
                with archive.open(info) as member:
                    yield from _scan_member(member, inner, allow, limit, depth)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        yield _unreadable(name, f"the archive cannot be read: {error}")


def _scan_member(member: Any, name: str, allow: tuple[str, ...], limit: int, depth: int) -> Iterator[ScannedPickle]:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as plain:
        problem = "packed too often" if depth >= _MAX_DEPTH else _transfer(member, plain, limit)
        if problem:
            yield _unreadable(name, problem)
        else:  # `_transfer` has gone back to the start
            yield from scan_file(cast(BinaryIO, plain), name, allow=allow, limit=limit, depth=depth + 1)


def _is_tar(file: BinaryIO) -> bool:
    """Whether a file begins with the header of a member whose checksum is right."""
    file.seek(0)
    block = file.read(tarfile.BLOCKSIZE)
    file.seek(0)
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _scan_tar(file: BinaryIO, name: str, allow: tuple[str, ...], limit: int, depth: int) -> Iterator[ScannedPickle]:
    try:
        with tarfile.open(fileobj=file, mode="r:", errors="surrogateescape") as archive:
            for info in archive:
                if info.isdir() or info.issym() or info.islnk() or info.isdev():
                    continue  # of types that nobody knows there are files
                inner = f"{name}!{info.name}"
                member = archive.extractfile(info)
                if member is None or info.size > limit:
                    yield _unreadable(inner, f"it is larger than {limit} bytes, or no file")
                else:
                    yield from _scan_member(member, inner, allow, limit, depth)
            file.seek(archive.offset)
            while rest := file.read(_CHUNK):
                if rest.strip(b"\0"):
                    yield _unreadable(name, "behind its last member that can be read there is something else")
                    break
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        yield _unreadable(name, f"the archive cannot be read: {error}")


def _scan_npy(file: BinaryIO, name: str, allow: tuple[str, ...]) -> Iterator[ScannedPickle]:
    head = file.read(8)
    width = 2 if head[6:7] == b"\x01" else 4
    length = int.from_bytes(file.read(width), "little")
    try:
        described = ast.literal_eval(file.read(min(length, 1 << 20)).decode("utf-8"))["descr"]
        objects = _has_objects(described)
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError) as error:
        yield _unreadable(name, f"the header of the array cannot be read: {type(error).__name__}")
        return
    if objects:
        yield from scan_streams(file, name, certain=True, allow=allow)


def _has_objects(described: Any) -> bool:
    """Whether the ``descr`` of an .npy header has objects in it."""
    if isinstance(described, str):
        return described.lstrip("<>|=").startswith("O")
    if isinstance(described, tuple) and described and not isinstance(described[0], list):
        return _has_objects(described[0])
    return any(_has_objects(field[1]) for field in described)


def _decompressor(head: bytes) -> Any:
    if head.startswith(b"\x1f\x8b"):
        return gzip.open
    if head.startswith(b"BZh"):
        return bz2.open
    if head.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
        return lzma.open
    if head.startswith(b"\x04\x22\x4d\x18"):
        return _lz4
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd
    if head[:1] == b"\x78" and len(head) > 1 and int.from_bytes(head[:2], "big") % 31 == 0:
        return _ZlibReader
    return None


def _lz4(file: BinaryIO) -> Any:
    try:
        from lz4.frame import LZ4FrameFile
    except ImportError:
        raise ValueError("it is packed with lz4, and the package lz4 is not installed") from None
    return LZ4FrameFile(file)


def _zstd(_: BinaryIO) -> Any:
    raise ValueError("it is packed with zstd, which the scanner does not read")


class _ZlibReader:
    """Reads a zlib stream, for which the standard library has no file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decompressor = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        while not self._decompressor.eof:
            packed = self._decompressor.unconsumed_tail or self._file.read(_CHUNK)
            if not packed:
                raise EOFError("it is cut off")
            if data := self._decompressor.decompress(packed, size):
                return data
        return b""


def _copy(opener: Any, file: BinaryIO, target: Any, limit: int) -> str:
    try:
        return _transfer(opener(file), target, limit)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, RuntimeError) as error:
        return f"it cannot be unpacked: {error}"


def _transfer(source: Any, target: Any, limit: int) -> str:
    done = 0
    read = getattr(source, "read1", source.read)  # what there is before damage is found, too
    while data := read(_CHUNK):
        done += len(data)
        if done > limit:
            return f"it is larger than {limit} bytes when unpacked"
        target.write(data)
    target.seek(0, os.SEEK_SET)
    return ""


def _is_opcode(head: bytes) -> bool:
    # A size or a picture that begins like a pickle has something else behind the protocol.
    return len(head) > 2 and head[2] in OPCODES


def _unreadable(place: str, problem: str) -> ScannedPickle:
    return ScannedPickle(place=place, offset=0, size=0, verdict=Verdict.UNREADABLE, findings=(problem,))
