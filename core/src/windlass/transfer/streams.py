"""Streams that survive a broken connection."""

from __future__ import annotations

import contextlib
import io
import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from windlass.errors import StorageError

__all__ = ["RangeStream", "again", "ahead", "in_order"]

T = TypeVar("T")
Chunk = bytes | memoryview
_PATIENCE = (0.1, 0.4, 1.5, 4.0)
_LONGEST = 10.0
"""Seconds that a server may ask us to wait; when it asks for more, the user is told rather than kept."""


def again(work: Callable[[], T], *, waits: tuple[float, ...] = _PATIENCE) -> T:
    """Call `work`, and once more after each of the waits (seconds, with jitter) while it fails retryably.

    Raises:
        StorageError: The last failure, or the first that is not `retryable`.
    """
    for pause in waits:
        try:
            return work()
        except StorageError as error:
            if not error.retryable or _asked(error) > _LONGEST:
                raise
            asked = _asked(error)
        time.sleep(max(asked, pause * random.uniform(0.5, 1.0)))  # noqa: S311 - jitter, no secret
    return work()


def _asked(error: StorageError) -> float:
    """Seconds that the server asks us to wait before we come again."""
    return float(error.context.get("retry_after", 0))


class RangeStream(io.RawIOBase):
    """A readable stream over chunks, opened again where it broke off.

    Args:
        fetch: Opens the bytes from an absolute position; gives chunks of any size.
        start: First position.
        size: How many bytes must come; -1 if that is not known.
        name: Address, for messages.
        waits: Seconds before each further attempt without progress.
    """

    def __init__(
        self,
        fetch: Callable[[int], Iterator[Chunk]],
        *,
        start: int = 0,
        size: int = -1,
        name: str = "",
        waits: tuple[float, ...] = _PATIENCE,
    ) -> None:
        super().__init__()
        self._fetch = fetch
        self._position, self._end = start, start + size if size >= 0 else -1
        self._name, self._waits, self._failures = name, waits, 0
        self._chunks: Iterator[Chunk] | None = again(lambda: fetch(start), waits=waits) if size else iter(())
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """True."""
        return True

    def _more(self) -> bool:
        """Get the next chunk; False at the end."""
        while not self._left:
            if self.closed:
                raise ValueError("I/O operation on closed file")
            if self._position == self._end:
                return False
            try:
                if self._chunks is None:
                    self._chunks = self._fetch(self._position)
                chunk = next(self._chunks, None)
                if chunk is None and self._end < 0:
                    return False
                if chunk is None:
                    raise StorageError(
                        f"the bytes end at {self._position}, {self._end - self._position} too early",
                        where=self._name,
                        retryable=True,
                    )
            except StorageError as error:
                self._chunks = None
                if not error.retryable or self._failures >= len(self._waits) or _asked(error) > _LONGEST:
                    raise
                time.sleep(max(_asked(error), self._waits[self._failures]))
                self._failures += 1
                continue
            self._left = memoryview(chunk)
            if self._end >= 0:
                self._left = self._left[: self._end - self._position]
            if self._left:  # a chunk of nothing is no progress
                self._failures = 0
            self._position += len(self._left)
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as the present chunk goes; 0 at the end."""
        view = memoryview(buffer).cast("B")
        if not view or not self._more():
            return 0
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def read(self, size: int | None = -1) -> bytes:
        """`size` bytes, fewer only at the end; everything that is left for -1."""
        wanted = -1 if size is None else size
        pieces: list[memoryview] = []
        while wanted and self._more():
            piece = self._left if wanted < 0 else self._left[:wanted]
            self._left = self._left[len(piece) :]
            pieces.append(piece)
            wanted -= len(piece) if wanted > 0 else 0
        return b"".join(pieces)

    def readall(self) -> bytes:
        """Everything that is left."""
        return self.read(-1)

    def views(self) -> Iterator[memoryview]:
        """Everything that is left, in chunks as they come, without a copy."""
        while self._more():
            view, self._left = self._left, memoryview(b"")
            yield view

    def close(self) -> None:
        """Give the connection back."""
        chunks, self._chunks = self._chunks, None
        if not self.closed and chunks is not None and hasattr(chunks, "close"):
            with contextlib.suppress(Exception):
                chunks.close()
        super().close()


def ahead(
    get: Callable[[int, int], Chunk], start: int, end: int, *, part: int = 16 << 20, width: int = 4
) -> Iterator[Chunk]:
    """The bytes from `start` to `end` in order, read as several ranges at once.

    Args:
        get: Gives the bytes from one position to another.
        start: First position.
        end: Position behind the last byte.
        part: Bytes in one range; `width` of them are held in memory.
        width: Ranges at once.
    """
    return in_order((partial(get, begin, min(begin + part, end)) for begin in range(start, end, part)), width)


def in_order(tasks: Iterable[Callable[[], T]], width: int) -> Generator[T, None, None]:
    """The results of tasks in their order; `width` of them run, or wait to be taken, at once."""
    with ThreadPoolExecutor(width, thread_name_prefix="download") as pool:
        left = iter(tasks)
        running: deque[Future[T]] = deque()
        try:
            while True:
                for task in itertools.islice(left, width - len(running)):
                    running.append(pool.submit(task))
                if not running:
                    return
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
