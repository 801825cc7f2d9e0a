"""The threads of one agent that may wait: for runners, for builders, for the store."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["Pools"]

_log = logging.getLogger(__name__)
_THREADS = 8


class Pools:
    """A few small pools. Threads are made when they are first needed.

    Each backend has start threads of its own: one that is away makes those wait that are asked about what it runs,
    and nothing else.

    Args:
        builds: Images built at the same time.
    """

    def __init__(self, builds: int) -> None:
        self._starts: dict[str, ThreadPoolExecutor] = {}
        self._builds = ThreadPoolExecutor(builds, thread_name_prefix="windlass-build")
        self._ends = ThreadPoolExecutor(_THREADS, thread_name_prefix="windlass-end")

    def start(self, resource: str, work: Callable[[], None]) -> None:
        """Have a run brought to its runner. Called by one thread only."""
        pool = self._starts.get(resource)
        if pool is None:
            pool = self._starts[resource] = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"windlass-{resource}")
        _submit(pool, work)

    def build(self, work: Callable[[], None]) -> None:
        """Have an image built."""
        _submit(self._builds, work)

    def end(self, work: Callable[[], None]) -> None:
        """Have a run concluded."""
        _submit(self._ends, work)

    def close(self, *, wait: bool) -> None:
        """Begin nothing more."""
        for pool in (*self._starts.values(), self._builds, self._ends):
            pool.shutdown(wait=wait, cancel_futures=True)


def _submit(pool: ThreadPoolExecutor, work: Callable[[], None]) -> None:
    try:
        pool.submit(work)
    except RuntimeError:
        _log.debug("the agent ends; a successor goes on with this run")
