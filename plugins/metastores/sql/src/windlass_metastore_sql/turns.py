"""Fair turn-taking for the writers of one SQLite file.

SQLite lets one writer in at a time, and its busy handler lets the others sleep and try again: whoever comes by at the
right moment wins, so that under load some wait for seconds. Here every writer stands in line: threads in a queue of
the process, processes at a turnstile. Only the holder of the turnstile waits for the writer's place, so a process
that has just left it cannot overtake those that were waiting.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from windlass.errors import StoreUnavailableError

_NAPS = (0.0, 0.0, 0.00005, 0.0001, 0.0002, 0.0005, 0.001)


class FairLock:
    """A lock that is handed over in the order of arrival."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held = False
        self._line: deque[threading.Lock] = deque()

    def acquire(self, timeout: float) -> bool:
        """Take the lock; False when `timeout` seconds have passed."""
        with self._guard:
            if not self._held:
                self._held = True
                return True
            ticket = threading.Lock()
            ticket.acquire()
            self._line.append(ticket)
        if ticket.acquire(timeout=max(timeout, 0.0)):
            return True
        with self._guard:
            if ticket in self._line:
                self._line.remove(ticket)
                return False
        return True  # it was handed over at the last moment

    def release(self) -> None:
        """Hand the lock to the next in line."""
        with self._guard:
            if self._line:
                self._line.popleft().release()
            else:
                self._held = False


class Turns:
    """The line of writers of one database file.

    Args:
        path: The database file; two lock files stand beside it.
    """

    def __init__(self, path: Path) -> None:
        self._threads = FairLock()
        self._gate = _open(path.with_name(path.name + "-gate"))
        self._place = _open(path.with_name(path.name + "-turn"))

    @contextmanager
    def turn(self, timeout: float) -> Iterator[float]:
        """Hold the writer's place. Yields the seconds that are left of `timeout`.

        Raises:
            StoreUnavailableError: The place was not free in time.
        """
        deadline = time.monotonic() + timeout
        if not self._threads.acquire(timeout):
            raise _busy(timeout)
        try:
            # The first lock tells who is next, the second who writes.
            fcntl.flock(self._gate, fcntl.LOCK_EX)
            try:
                self._wait_for_place(deadline, timeout)
            finally:
                fcntl.flock(self._gate, fcntl.LOCK_UN)
            try:
                yield max(deadline - time.monotonic(), 0.0)
            finally:
                fcntl.flock(self._place, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def _wait_for_place(self, deadline: float, timeout: float) -> None:
        # flock has no timeout, and a stopped writer must not stop everybody for ever. One process at most is here,
        # so trying again costs nothing and is not unfair.
        tries = 0
        while True:
            try:
                fcntl.flock(self._place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise _busy(timeout) from None
                time.sleep(_NAPS[min(tries, len(_NAPS) - 1)])
                tries += 1
            else:
                return

    def close(self) -> None:
        """Close the lock files. May be repeated."""
        for name in ("_gate", "_place"):
            fd = getattr(self, name)
            if fd >= 0:
                setattr(self, name, -1)
                os.close(fd)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _busy(timeout: float) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"the database was busy for {timeout:g} s",
        hint="Another process holds it (a stopped one, a backup, an open sqlite3 shell?). Try again.",
    )
