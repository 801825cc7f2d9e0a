"""Identifiers: random, short, safe as container, Kubernetes and file names."""

from __future__ import annotations

import os

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_run_id() -> str:
    """A fresh run id: 8 characters, a letter first, then letters and digits (about 40 bits)."""
    return _random(_ALPHABET[:26], 1) + _random(_ALPHABET, 7)


def new_id() -> str:
    """A fresh opaque id: 26 characters, letters and digits (about 134 bits)."""
    return _random(_ALPHABET, 26)


def _random(alphabet: str, count: int) -> str:
    """As `secrets.choice`, which loads OpenSSL: each letter with the same chance, from the system's generator."""
    size = len(alphabet)
    found: list[str] = []
    while len(found) < count:
        found += [alphabet[byte % size] for byte in os.urandom(count) if byte < 256 - 256 % size]
    return "".join(found[:count])


def attempt_id(run_id: str, attempt: int) -> str:
    """The name under which a runner keeps one attempt: the run id itself for the first, ``<run id>-<n>`` later."""
    return run_id if attempt <= 1 else f"{run_id}-{attempt}"
