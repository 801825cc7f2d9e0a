"""How far a long command is: one line on stderr that is written over, on a terminal only."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from windlass_cli.output import size

__all__ = ["Progress"]

_SECONDS = 0.1  # between two writes; the first comes later, so that quick commands stay silent
_FIRST = 0.5


class Progress:
    """Counts bytes; in pipes it is silent.

    Args:
        verb: What is being done, e.g. ``stored``.
        total: Bytes there will be, 0 or less if not known.
    """

    def __init__(self, verb: str, total: int = 0) -> None:
        self._verb = verb
        self._total = max(total, 0)
        self._done = 0
        self._began = time.monotonic()
        self._next = self._began + _FIRST
        self._shown = 0
        self._on = sys.stderr.isatty()

    def __call__(self, count: int) -> None:
        """So many bytes more."""
        self._done += count
        now = time.monotonic()
        if self._on and now >= self._next:
            self._next = now + _SECONDS
            share = f" of {size(self._total)}" if self._total else ""
            text = f"{self._verb} {size(self._done)}{share}, {size(self._done / (now - self._began))}/s"
            sys.stderr.write("\r" + text.ljust(self._shown))
            sys.stderr.flush()
            self._shown = len(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            sys.stderr.write("\r" + " " * self._shown + "\r")
            sys.stderr.flush()
