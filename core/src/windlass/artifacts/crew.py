"""Threads for work that comes piece by piece, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["Crew"]

T = TypeVar("T")
_WAITING = 4  # pieces per thread that are under way at once


class Crew(Generic[T]):
    """A bounded thread pool that is neither loaded nor started before there is work.

    Leaving the block waits for what is under way; with an exception, what was not begun is given up.

    Args:
        threads: How many.
        name: Prefix of their names.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = threads
        self._name = name
        self._pool: ThreadPoolExecutor | None = None
        self._running: set[Future[T]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=kind is not None)

    def begin(self, work: Callable[..., T], *args: object) -> list[T]:
        """Let a thread do a piece of work; waits while too many are under way.

        Returns:
            Results of pieces that are over, each once.

        Raises:
            Exception: What one of these has raised.
        """
        from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)
        self._running.add(self._pool.submit(work, *args))
        if len(self._running) < _WAITING * self._threads:
            return []
        over, self._running = wait(self._running, return_when=FIRST_COMPLETED)
        return [future.result() for future in over]

    def finish(self) -> list[T]:
        """Wait for all that is under way. Returns and raises as `begin`."""
        running, self._running = self._running, set()
        return [future.result() for future in running]
