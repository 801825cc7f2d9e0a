"""Proving that bytes are what a manifest recorded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import BinaryIO

from windlass.artifacts.checksums import checker, digest_by, digest_like
from windlass.artifacts.manifest import Entry
from windlass.artifacts.parts import views_of
from windlass.artifacts.reader import DAMAGED, OVERWRITTEN
from windlass.errors import IntegrityError, ObjectChangedError
from windlass.storage import write_all

__all__ = ["copy_verified", "prove", "prove_digest", "prove_stream"]


def copy_verified(stream: BinaryIO, handle: int, entry: Entry) -> None:
    """Copy an entry's stream to a file descriptor and prove what was copied.

    Raises:
        IntegrityError: Size or digest is not the recorded one; names the entry, expected and found.
    """
    prove_stream(stream, entry, partial(write_all, handle))


def prove_stream(stream: BinaryIO, entry: Entry, sink: Callable[[memoryview], None] = lambda _: None) -> None:
    """Read an entry's stream to its end, hand all of it to `sink`, and prove it. Raises as `copy_verified`."""
    checked = checker(entry.digest)
    size = 0
    for view in views_of(stream, entry.size):
        if checked is not None:
            checked.update(view)
        sink(view)
        size += len(view)
    prove_digest(entry, size, digest_by(checked, entry.digest))


def prove(entry: Entry, size: int, data: bytes | memoryview) -> None:
    """Raise `IntegrityError` unless data is the entry's content."""
    prove_digest(entry, size, digest_like(entry.digest, data))


def prove_digest(entry: Entry, size: int, found: str) -> None:
    """Raise `IntegrityError` unless size and digest are those of the entry."""
    where = entry.ref or entry.path
    if entry.size >= 0 and size != entry.size:
        kind = ObjectChangedError if entry.ref else IntegrityError
        hint = OVERWRITTEN if entry.ref else DAMAGED
        raise kind(f"'{entry.path}' has {size} bytes, expected {entry.size}", where=where, hint=hint)
    if found != entry.digest and entry.ref:
        raise ObjectChangedError(
            f"'{entry.path}' is not what was recorded: expected {entry.digest}, found {found}",
            where=where,
            hint=OVERWRITTEN,
            context={"path": entry.path, "expected": entry.digest, "found": found},
        )
    if found != entry.digest:
        raise IntegrityError(
            f"'{entry.path}' is damaged: expected {entry.digest}, found {found}",
            where=where,
            hint=DAMAGED,
            context={"path": entry.path, "expected": entry.digest, "found": found},
        )
