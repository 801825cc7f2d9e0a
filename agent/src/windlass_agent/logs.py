"""Moving output into the store, each piece exactly once."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from attrs import evolve

from windlass.errors import BuildError, RunnerError, RunNotFoundError
from windlass.models.run import LogLine
from windlass_agent.faults import Faults, Point

if TYPE_CHECKING:
    from windlass.metastore import RunStore
    from windlass_agent.claims import Held

__all__ = ["BuildOutput", "Output", "Pump"]

_log = logging.getLogger(__name__)
T = TypeVar("T")
_LINES = 1000
_BYTES = 256 * 1024
_TURN = 0.05
_REST_LIMIT = 60.0


class Insist(Protocol):
    """`Services.insist` for one claim."""

    def __call__(self, call: Callable[[], T]) -> T:
        """Call until it gets through."""


class Pump:
    """Carries one source of output into the store.

    The store swaps the cursor of the source only if it is where this pump believes it to be, so two agents that both
    think they own a run add nothing twice, and a successor goes on where the last stored piece ended.

    Args:
        store: Where output goes.
        run_id: The run.
        source: Name of the source (`RunStore.append_log`).
        read: Yields pieces behind a cursor.
        fence: Of the claim; a lost one raises `FencedError` from `run`.
    """

    def __init__(
        self,
        store: RunStore,
        run_id: str,
        source: str,
        read: Callable[[str], Iterable[LogLine]],
        fence: int,
        faults: Faults | None = None,
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._source = source
        self._read = read
        self._fence = fence
        self._faults = faults or Faults()
        self._cursor: str | None = None

    def start_fresh(self) -> None:
        """Say that nothing of this source is stored, which saves asking."""
        self._cursor = ""

    @property
    def cursor(self) -> str:
        """Up to where output is stored."""
        if self._cursor is None:
            self._cursor = self._store.log_cursor(self._run_id, self._source)
        return self._cursor

    def run(self, seconds: float | None = None) -> int:
        """Store what is there now; returns the number of bytes. The source may be gone: that is the end of it.

        Args:
            seconds: Stop after so long and leave the rest to the next call. None: go on to the end, which never comes
                while the source grows faster than it is stored.
        """
        total = 0
        until = None if seconds is None else time.monotonic() + seconds
        try:
            for lines in _chunks(self._read(self.cursor)):
                self._faults.hit(Point.LOG_READ, self._run_id)
                after = lines[-1].cursor
                stored = self._store.append_log(self._run_id, lines, self._source, self.cursor, after, self._fence)
                self._faults.hit(Point.LOG_STORED, self._run_id)
                if not stored:
                    # Another agent stored this piece, or a reply was lost on the way: go on behind what is there.
                    self._cursor = None
                    return total or 1
                self._cursor = after
                total += sum(len(line.data) for line in lines)
                if until is not None and time.monotonic() > until:
                    break
        except RunNotFoundError:
            pass
        return total

    def settle(self) -> bool:
        """Have the store keep what it has of this source. False: it has lost some, which `run` adds again."""
        cursor = self.cursor
        if not cursor or self._store.append_log(self._run_id, (), self._source, cursor, cursor, self._fence):
            return True
        self._cursor = None
        return False


class Output:
    """The output of one attempt: carried a little at a time while it runs, and all of it at its end.

    Args:
        pump: Carries it.
        held: The claim's lease.
    """

    def __init__(self, pump: Pump, held: Held) -> None:
        self._pump = pump
        self._held = held
        self._at = 0.0
        self._every = 0.0

    def carry(self) -> None:
        """Store what is new, if it is time for that; one that writes without end gets its turn and no more."""
        now = time.monotonic()
        if now < self._at:
            return
        fresh = self._pump.run(_TURN)
        slower = min(max(self._every * 1.5, 0.05), 1.0)
        self._every = 0.2 if fresh else slower
        self._at = time.monotonic() + self._every

    def finish(self, insist: Insist, aborted: threading.Event) -> None:
        """Store all output that is left. A backend that cannot be asked gets a minute to come back."""
        limit = time.monotonic() + _REST_LIMIT
        while True:
            try:
                if not insist(self._pump.run) and insist(self._pump.settle):
                    return
            except RunnerError as error:
                if time.monotonic() > limit or aborted.is_set():
                    _log.warning("%s: the end of its output is lost: %s", self._held.run_id, error)
                    return
                self._held.lost.wait(1.0)


def _chunks(lines: Iterable[LogLine]) -> Iterator[list[LogLine]]:
    chunk: list[LogLine] = []
    size = 0
    now = time.time()
    for line in lines:
        chunk.append(line if line.time else evolve(line, time=now))
        size += len(line.data)
        if len(chunk) >= _LINES or size >= _BYTES:
            yield chunk
            chunk, size, now = [], 0, time.time()
    if chunk:
        yield chunk


class BuildOutput:
    """A build's output: a file that the builder writes (`windlass.builders.BuildLog`) and a `Pump` reads.

    Args:
        path: The file; what an earlier build of the same attempt left there is replaced.
        on_phase: Called with ``building`` and ``pushing``.
    """

    def __init__(self, path: Path, on_phase: Callable[[str], None]) -> None:
        self._path = path
        self._on_phase = on_phase
        self._lock = threading.Lock()
        self._file = path.open("wb", buffering=0)
        self._base = 0
        self._refused = False

    def refuse(self) -> None:
        """Take nothing more: the next piece of output raises in the builder, and that ends the build."""
        self._refused = True

    def write(self, data: bytes) -> None:
        """Take a piece of output."""
        if self._refused:
            raise BuildError("the build was interrupted")
        with self._lock:
            if not self._file.closed:
                self._file.write(data)

    def phase(self, name: str) -> None:
        """The build entered a phase."""
        self._on_phase(name)

    def close(self) -> None:
        """No more output comes."""
        with self._lock:
            self._file.close()

    def start_at(self, cursor: str) -> None:
        """Count offsets from a stored cursor on: a build that is done again adds its output behind the first's."""
        self._base = int(cursor or 0)

    def read(self, cursor: str) -> Iterator[LogLine]:
        """Output behind a cursor, which is a byte offset."""
        offset = int(cursor or 0)
        with self._path.open("rb") as file:
            file.seek(max(0, offset - self._base))
            size = os.fstat(file.fileno()).st_size
            while file.tell() < size and (line := file.readline(_BYTES)):
                offset += len(line)
                yield LogLine(stream="build", data=line, cursor=str(offset))
