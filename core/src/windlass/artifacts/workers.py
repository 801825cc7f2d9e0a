"""Worker processes for many small files, see `worker`.

Most of the work with a small file is Python's own, and Python runs one thread at a time: threads make it slower.
"""

from __future__ import annotations

import marshal
import mmap
import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import blake3

if TYPE_CHECKING:
    from windlass.artifacts.worker import Small


__all__ = ["ENOUGH", "PLACES", "ROOM", "WORKER_FAILURES", "Worker", "start_workers"]

ENOUGH = 512
"""Files that are read or written in the time that a worker takes to start."""
ROOM = 2 << 20
"""Bytes of files that are read by one request."""
PLACES = 8
"""Requests to one worker that may be under way at once."""
_ANSWER = 32 << 10
_PLACE = _ANSWER + ROOM
WORKER_FAILURES = (OSError, EOFError, ValueError)
"""What is raised when a worker has died."""


class Worker:
    """A worker process. Not thread-safe.

    Requests are answered in their order. When the process has died, all methods but `stop` raise one of
    `WORKER_FAILURES`.

    Attributes:
        waiting: Requests that were not answered yet.

    Args:
        algorithm: Digest algorithm.

    Raises:
        OSError: There can be none here.
    """

    def __init__(self, algorithm: str) -> None:
        import subprocess  # loading it takes longer than to read or write a few files

        self.waiting = self._begun = 0
        memory = os.memfd_create("windlass")
        try:
            os.ftruncate(memory, PLACES * _PLACE)
            self._memory = memoryview(mmap.mmap(memory, 0))
            script = os.path.join(os.path.dirname(__file__), "worker.py")
            packages = os.path.dirname(os.path.dirname(str(blake3.__file__)))
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", script, str(memory), packages, algorithm],
                bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[memory],
            )  # fmt: skip
        finally:
            os.close(memory)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)

    def read(self, files: list[tuple[str, int]]) -> None:
        """Begin to read files, each a path and its size, together at most `ROOM` bytes; see `worker.read`."""
        self._begin("read", files)

    def write(self, ranges: list[tuple[str, int, int, list[Small]]]) -> None:
        """Begin to write files from packs; see `worker.write`."""
        self._begin("write", ranges)

    def _begin(self, name: str, words: list[Any]) -> None:
        place = self._begun % PLACES * _PLACE
        request = marshal.dumps((name, place, place + _ANSWER, words))
        view = memoryview(len(request).to_bytes(4, "little") + request)
        while view:
            view = view[os.write(self._requests, view) :]
        self._begun += 1
        self.waiting += 1

    def has_answered(self) -> bool:
        """True when `end` does not have to wait."""
        return bool(self._poll.poll(0))

    def end(self) -> tuple[Any, memoryview]:
        """Wait for the oldest request. Gives the answer, and what was read, until `PLACES` more have begun."""
        length = os.read(self._answers, 4)
        if len(length) < 4:
            raise EOFError
        place = (self._begun - self.waiting) % PLACES * _PLACE
        self.waiting -= 1
        data = self._memory[place : place + int.from_bytes(length, "little")]
        answer = marshal.loads(data)  # noqa: S302 - our own process
        return answer, self._memory[place + _ANSWER : place + _PLACE]

    def stop(self) -> None:
        """Let it end, after what it has begun."""
        with suppress(OSError):
            os.write(self._requests, bytes(4))  # a forked process may hold the pipe, which does not end then when we do
        self.waiting, self._requests, self._answers = 0, -1, -1
        with self._process:  # closes the pipes, and waits
            pass


def start_workers(algorithm: str, most: int) -> list[Worker]:
    """One for each processor beside ours, at most `most`; none where that cannot be."""
    started: list[Worker] = []
    python = os.path.basename(sys.executable or "").startswith("python")  # and not a program that embeds it
    if python and hasattr(os, "memfd_create") and hasattr(os, "O_TMPFILE"):
        with suppress(OSError):
            while len(started) < min(len(os.sched_getaffinity(0)) - 1, most):
                started.append(Worker(algorithm))
    return started
