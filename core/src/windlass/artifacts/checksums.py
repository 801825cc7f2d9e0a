"""Checksums that stores give for their objects, so that bytes of references are proven, too."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import Any

from windlass.artifacts.digest import ALGORITHMS, Hasher, digest_of, hasher

__all__ = ["checker", "digest_by", "digest_like"]


class _Crc:
    """A cyclic redundancy check with the face of a hash."""

    def __init__(self, extend: Callable[[Any, int], int], digits: int) -> None:
        self._extend, self._digits, self._value = extend, digits, 0

    def update(self, data: Any, /) -> None:
        self._value = self._extend(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:0{self._digits}x}"


def _crc32c() -> Hasher:
    extend = importlib.import_module("google_crc32c").extend
    return _Crc(lambda data, value: extend(value, bytes(data)), 8)


def _crc64nvme() -> Hasher:
    return _Crc(importlib.import_module("awscrt.checksums").crc64nvme, 16)


def _hash(name: str) -> Hasher:
    import hashlib  # loads OpenSSL

    return hashlib.new(name, usedforsecurity=False)


_CHECKSUMS: dict[str, Callable[[], Hasher]] = {
    "md5": lambda: _hash("md5"),
    "sha1": lambda: _hash("sha1"),
    "crc32": lambda: _Crc(zlib.crc32, 8),
    "crc32c": _crc32c,
    "crc64nvme": _crc64nvme,
}


def checker(digest: str) -> Hasher | None:
    """A fresh hash of the kind that made a digest.

    None when it is not made of the bytes (ETags, versions, addresses), or when what computes it is not installed:
    ``crc32c`` wants google-crc32c and ``crc64nvme`` awscrt.
    """
    algorithm = digest.partition(":")[0]
    if algorithm in ALGORITHMS:
        return hasher(algorithm)
    try:
        return _CHECKSUMS[algorithm]() if algorithm in _CHECKSUMS else None
    except ImportError:
        return None


def digest_by(checked: Hasher | None, digest: str) -> str:
    """What the `checker` of a digest found; the digest itself when there is none."""
    return digest if checked is None else f"{digest.partition(':')[0]}:{checked.hexdigest()}"


def digest_like(digest: str, data: bytes | bytearray | memoryview) -> str:
    """Digest of data by what made another digest; that itself when it cannot be computed."""
    algorithm = digest.partition(":")[0]
    if algorithm in ALGORITHMS:  # threads where they pay
        return digest_of(data, algorithm)
    checked = checker(digest)
    if checked is not None:
        checked.update(data)
    return digest_by(checked, digest)
