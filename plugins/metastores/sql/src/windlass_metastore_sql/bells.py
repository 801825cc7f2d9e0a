"""Bells: how a writer wakes those who wait for work, in this process and in others.

A topic is a queue's ``entity/name``, or ``*`` for all. Every ring counts its topic up; a waiter sleeps until a count
has gone beyond what it had seen when it last looked for work, so that nothing is lost between looking and sleeping.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windlass.models.queue import QueueRef

ALL = "*"


def topic(ref: QueueRef) -> str:
    """The topic of a queue."""
    return f"{ref.entity}/{ref.name}"


class Bells(ABC):
    """Counts rings by topic; a transport brings the rings of other processes."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._seen: dict[tuple[QueueRef, ...], int] = {}
        self._changed = threading.Condition()
        self._starting = threading.Lock()
        self._listening = False
        self._closed = False

    @abstractmethod
    def listen(self) -> None:
        """Start to receive rings (in a thread)."""

    @abstractmethod
    def send(self, topics: set[str]) -> None:
        """Tell everybody who listens, this process included. Never raises."""

    def looking(self, queues: tuple[QueueRef, ...]) -> None:
        """Somebody looks for work in these queues now; later rings will wake his next wait."""
        self._start()
        with self._changed:
            self._seen[queues] = self._total(queues)

    def rang(self, topics: Iterable[str]) -> None:
        """Count rings and wake the waiters; called by the transport."""
        with self._changed:
            for name in topics:
                self._counts[name] += 1
            self._changed.notify_all()

    def wait(self, queues: tuple[QueueRef, ...], timeout: float) -> bool:
        """Sleep until one of the queues rings; False when `timeout` seconds have passed."""
        self._start()
        deadline = time.monotonic() + timeout
        with self._changed:
            seen = self._seen.setdefault(queues, self._total(queues))
            while self._total(queues) == seen:
                left = deadline - time.monotonic()
                if left <= 0 or self._closed:
                    return False
                self._changed.wait(left)
            self._seen[queues] = self._total(queues)
        return True

    def _total(self, queues: tuple[QueueRef, ...]) -> int:
        return self._counts[ALL] + sum(self._counts[topic(ref)] for ref in queues)

    def _start(self) -> None:
        if self._listening:
            return
        with self._starting:
            if not self._listening and not self._closed:
                self.listen()
                self._listening = True

    def close(self) -> None:
        """Wake all waiters and stop listening. May be repeated."""
        self._closed = True
        with self._changed:
            self._changed.notify_all()
