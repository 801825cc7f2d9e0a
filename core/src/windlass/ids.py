"""Identifiers: random, short, safe as container, Kubernetes and file names."""

from __future__ import annotations

import secrets

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_run_id() -> str:
    """A fresh run id: 8 characters, a letter first, then letters and digits (about 40 bits)."""
    return secrets.choice(_ALPHABET[:26]) + "".join(secrets.choice(_ALPHABET) for _ in range(7))


def new_id() -> str:
    """A fresh opaque id: 26 characters, letters and digits (about 134 bits)."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(26))


def attempt_id(run_id: str, attempt: int) -> str:
    """The name under which a runner keeps one attempt: the run id itself for the first, ``<run id>-<n>`` later."""
    return run_id if attempt <= 1 else f"{run_id}-{attempt}"
