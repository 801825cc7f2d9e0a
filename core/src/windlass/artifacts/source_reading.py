"""Reading the files that become entries, which must not change meanwhile."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Self

from windlass.artifacts.files import UNCHANGED, Source, signature
from windlass.artifacts.memory import Pieces, PiecesReader
from windlass.errors import ConflictError, StorageError

__all__ = ["open_source", "read_whole"]

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)


def read_whole(source: Source, view: memoryview) -> None:
    """Read a whole file into a view that is one byte longer than it.

    One look at its stat data behind the reading is enough where they still are what they were when it was added.
    """
    if not isinstance(source, Pieces):
        with suppress(OSError):
            handle = os.open(source.file, _FLAGS)
            try:
                if os.readv(handle, (view,)) == len(view) - 1 and signature(os.fstat(handle)) == source.signature:
                    return
            finally:
                os.close(handle)
    with open_source(source) as file:
        file.fill(view)


def open_source(source: Source) -> _Opened | PiecesReader:
    """Open a source to read it from its beginning, as a context."""
    return source.open() if isinstance(source, Pieces) else _Opened(source)


class _Opened:
    """A source's file, whose stat data must be the same before and after it was read, and since it was added."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __enter__(self) -> Self:
        try:
            self._file = os.open(self._source.file, _FLAGS)
        except FileNotFoundError:
            raise ConflictError(
                "the file has vanished since it was added",
                where=self._source.file,
                hint="Keep it until the artifact is logged, or add it with policy='mutable', which makes a copy.",
            ) from None
        except OSError as error:
            raise StorageError(f"it cannot be read: {error.strerror}", where=self._source.file) from error
        self._before = signature(os.fstat(self._file))
        if self._before[:UNCHANGED] != self._source.signature[:UNCHANGED]:  # what is read now is fresh anyway
            os.close(self._file)
            self._changed("since it was added")
        self._source.signature = self._before
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and signature(os.fstat(self._file)) != self._before:
                self._changed("while it was read")
        finally:
            os.close(self._file)

    def _changed(self, when: str) -> None:
        raise ConflictError(
            f"the file has changed {when}",
            where=self._source.file,
            hint="Add it again when nothing writes to it, or add it with policy='mutable', which makes a copy.",
        )

    def fill(self, view: memoryview) -> None:
        """Read the whole file into a view that is one byte longer than it."""
        got = os.readv(self._file, [view])
        size = len(view) - 1
        while got < size:
            count = os.readv(self._file, [view[got:]])
            if not count:
                break
            got += count
        if got != size:
            self._changed("while it was read")

    def read_exactly(self, view: memoryview) -> None:
        """Fill the view."""
        got = 0
        while got < len(view):
            count = os.readv(self._file, [view[got:]])
            if not count:
                self._changed("while it was read")
            got += count

    def at_end(self) -> None:
        """Make sure that nothing follows."""
        if os.read(self._file, 1):
            self._changed("while it was read")
