"""Digests: ``<algorithm>:<hex>`` of content, of artifacts, and the MD5 digest for interchange."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import msgspec
from blake3 import blake3

from windlass.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from windlass.artifacts.manifest import Entry

__all__ = [
    "ALGORITHMS",
    "ArtifactHasher",
    "Hasher",
    "artifact_digest",
    "digest_of",
    "facts_of",
    "facts_of_each",
    "hash_file",
    "hash_stream",
    "hasher",
    "interchange_digest",
    "short_form",
]

BLOCK = 1 << 20
_LINES = 4096  # that are hashed at once
_TOLD = ("versions", "python")  # facts of an object that decide nothing
_PARALLEL = 1 << 20  # blake3 with threads pays above this size


class Hasher(Protocol):
    """What takes bytes and tells their digest."""

    def update(self, data: Any, /) -> Any:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Digest of all bytes, without the name of what made it."""


def _sha256() -> Any:
    import hashlib  # loads OpenSSL

    return hashlib.sha256()


_MAKERS: dict[str, Callable[[], Any]] = {"blake3": blake3, "sha256": _sha256}
_DIGEST = re.compile(rf"({'|'.join(_MAKERS)}):[0-9a-f]{{64}}")
ALGORITHMS = tuple(_MAKERS)
"""Digest algorithms that artifacts and blobs may use."""


def hasher(algorithm: str) -> Hasher:
    """A fresh hash. Raises `UsageError` for an unknown algorithm."""
    try:
        made: Hasher = _MAKERS[algorithm]()
        return made
    except KeyError:
        raise UsageError(f"'{algorithm}' is not a digest algorithm", hint=f"Known: {', '.join(ALGORITHMS)}.") from None


def algorithm_of(digest: str) -> str:
    """The algorithm a digest is written with. Raises `IntegrityError` when it is none we can verify."""
    found = _DIGEST.fullmatch(digest)
    if found is None:
        raise IntegrityError(
            f"'{digest[:100]}' is not a digest", hint=f"Known: {', '.join(ALGORITHMS)}, as <name>:<hex>."
        )
    return found[1]


def digest_of(data: Any, algorithm: str = "blake3") -> str:
    """Digest of bytes (any buffer)."""
    if algorithm == "blake3":
        found = blake3(data) if len(data) < _PARALLEL else blake3(data, max_threads=blake3.AUTO)
        return f"blake3:{found.hexdigest()}"
    made = hasher(algorithm)
    made.update(data)
    return f"{algorithm}:{made.hexdigest()}"


def short_form(digest: str) -> int:
    """What tells digests apart mostly, in a quarter of the memory: 56 bits. Equal digests have equal short forms."""
    return int(digest[-14:], 16)


def hash_stream(stream: BinaryIO, algorithm: str = "blake3") -> tuple[str, int]:
    """Digest and number of bytes of what a stream still holds. Uses 1 MiB of memory."""
    made, size = hasher(algorithm), 0
    buffer = memoryview(bytearray(BLOCK))
    while count := stream.readinto(buffer):  # type: ignore[attr-defined]
        made.update(buffer[:count])
        size += count
    return f"{algorithm}:{made.hexdigest()}", size


def hash_file(path: str | os.PathLike[str], algorithm: str = "blake3") -> str:
    """Digest of a file."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        return hash_open(handle, algorithm, os.fstat(handle).st_size)
    finally:
        os.close(handle)


def hash_open(handle: int, algorithm: str, size: int) -> str:
    """Digest of a file that is open at its start and had `size` bytes."""
    if size < BLOCK:  # reads sized from the file: a large buffer costs more than hashing a small file
        data = os.read(handle, size + 1)
        if len(data) == size:
            return digest_of(data, algorithm)
        os.lseek(handle, 0, os.SEEK_SET)
    with open(handle, "rb", buffering=0, closefd=False) as stream:
        return hash_stream(stream, algorithm)[0]


_encode_lines = msgspec.json.Encoder().encode_lines


def facts_of(ref: str, extra: Mapping[str, Any] | None) -> bytes:
    """What an entry is beyond its content: where a reference leads, and what an object is read with.

    Empty for a file. A change of it makes a new version. What the entry's digest covers already (checksum or ETag of a
    reference) and what is only told (times, versions of packages) is not here.

    Args:
        ref: URI of a reference, else empty.
        extra: Facts that are recorded with the entry.
    """
    return facts_of_each([ref], [extra])[0].encode()


def facts_of_each(refs: list[str], extras: list[Mapping[str, Any] | None]) -> list[str]:
    """`facts_of` of many entries, as text."""
    lines = _encode_lines(refs).decode().split("\n")  # each ends in one, and none is in a text
    found = [f'{{"ref":{line}}}' if ref else "" for ref, line in zip(refs, lines, strict=False)]
    for index, extra in enumerate(extras):
        if extra and "object" in extra and isinstance(extra["object"], dict):
            found[index] = _facts_of_object(refs[index], extra["object"])
    return found


def _facts_of_object(ref: str, record: dict[Any, Any]) -> str:
    import json  # artifacts of files do without

    kept = {name: fact for name, fact in record.items() if name not in _TOLD}
    facts = {"object": msgspec.to_builtins(kept, str_keys=True), **({"ref": ref} if ref else {})}
    # numbers must be written the same by every version of everything; a text is by all JSON writers
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class ArtifactHasher:
    r"""Makes the digest of an artifact: of paths, entry digests and `facts_of` entries, in the order of their paths.

    The bytes that are hashed are ``windlass-artifact-v1\n`` and for each entry ``<path>\0<digest>\n``, or with facts
    ``<path>\0<digest>\0<facts>\n``.

    Args:
        algorithm: ``blake3`` or ``sha256``.
    """

    def __init__(self, algorithm: str = "blake3") -> None:
        self._algorithm = algorithm
        self._made = hasher(algorithm)
        self._made.update(b"windlass-artifact-v1\n")
        self._last = ""

    def update(self, paths: list[str], digests: list[str], facts: list[str] | None = None, mark: str = "") -> None:
        """Add entries.

        Args:
            paths: Their paths.
            digests: Their digests.
            facts: Their `facts_of_each`. None: they have none.
            mark: What is missing at the beginning of each digest.

        Raises:
            ValueError: They come in another order than that of their paths.
        """
        if not paths:
            return
        if paths[0] < self._last or sorted(paths) != paths:
            raise ValueError("the entries are not in the order of their paths")
        self._last = paths[-1]
        if facts is None:
            lines = [f"{path}\0{mark}{digest}\n" for path, digest in zip(paths, digests, strict=True)]
        else:
            lines = [
                f"{path}\0{mark}{digest}\0{fact}\n" if fact else f"{path}\0{mark}{digest}\n"
                for path, digest, fact in zip(paths, digests, facts, strict=True)
            ]
        self._made.update("".join(lines).encode())

    def digest(self) -> str:
        """The digest of all that was added."""
        return f"{self._algorithm}:{self._made.hexdigest()}"


def artifact_digest(entries: Iterable[Entry], algorithm: str = "blake3", *, facts: bool = True) -> str:
    """Digest of an artifact, see `ArtifactHasher`.

    Args:
        entries: In the order of their paths.
        algorithm: ``blake3`` or ``sha256``.
        facts: With their facts; False as it was before format 2.

    Raises:
        ValueError: They come in another order.
    """
    made, left = ArtifactHasher(algorithm), iter(entries)
    while block := list(islice(left, _LINES)):
        paths, digests = [entry.path for entry in block], [entry.digest for entry in block]
        told = facts_of_each([entry.ref for entry in block], [entry.extra for entry in block]) if facts else None
        made.update(paths, digests, told)
    return made.digest()


def interchange_digest(entries: Iterable[tuple[str, str]]) -> str:
    """The MD5 manifest digest that other tools compute; for interchange only, never for identity or trust.

    Args:
        entries: Pairs of path and entry digest as those tools write it (base64 MD5 of files, ETag of references).
    """
    import hashlib

    made = hashlib.md5(b"wandb-artifact-manifest-v1\n", usedforsecurity=False)
    for path, digest in sorted(entries):
        made.update(f"{path}:{digest}\n".encode())
    return made.hexdigest()


def interchange_file_digest(stream: BinaryIO) -> str:
    """Base64 MD5 of a stream, as `interchange_digest` wants it for files."""
    import hashlib

    made = hashlib.md5(usedforsecurity=False)
    while block := stream.read(BLOCK):
        made.update(block)
    return base64.b64encode(made.digest()).decode()
