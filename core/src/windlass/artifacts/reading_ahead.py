"""Reading many small files ahead, in other processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import NamedTuple, Self

from windlass.artifacts.files import Source
from windlass.artifacts.memory import Pieces
from windlass.artifacts.statcache import now_ns
from windlass.artifacts.workers import ENOUGH, PLACES, ROOM, WORKER_FAILURES, Worker, start_workers

__all__ = ["Batch", "ReadAhead"]

_FILES = 128  # of a request
_AHEAD = 32  # batches
_MOST = 2  # there is more to do with what was read than one process does meanwhile


class Batch(NamedTuple):
    """Sources that follow each other.

    Attributes:
        files: The sources.
        sizes: Their sizes.
        digests: Of those that were read and had then the stat data that they were added with; empty for others.
        content: All that was read, one behind the other, until the next batch is asked for.
        began: When the reading began at the earliest, in ns; 0: nothing was read.
    """

    files: list[Source]
    sizes: list[int]
    digests: list[str]
    content: memoryview = memoryview(b"")
    began: int = 0


class ReadAhead:
    """All sources in their order, many of the small ones read already, where that is quicker. Iterated once, inside.

    Args:
        sources: The sources.
        algorithm: Digest algorithm.
        small: Larger ones are never read; less than `windlass.artifacts.workers.ROOM`.
    """

    def __init__(self, sources: Sequence[Source], algorithm: str, small: int) -> None:
        self._algorithm = algorithm
        self._small = small
        self._batches = self._batched(sources)
        self._workers = start_workers(algorithm, _MOST) if len(sources) >= 2 * ENOUGH else []
        self._ordered: deque[tuple[Batch, Worker | None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

    def __iter__(self) -> Iterator[Batch]:
        # The first ones are read by who asks for them, while the workers start.
        self._ordered.extend((batch, None) for batch in islice(self._batches, ENOUGH // _FILES))
        while True:
            self._begin()
            if not self._ordered:
                return
            batch, worker = self._ordered.popleft()
            if worker in self._workers:
                batch = self._end(batch, worker)
            yield batch

    def _begin(self) -> None:
        """Give the workers as much as they may have."""
        while len(self._ordered) < _AHEAD:
            worker = min(self._workers, key=attrgetter("waiting")) if self._workers else None
            if worker is not None and worker.waiting == PLACES:
                return
            batch = next(self._batches, None)
            if batch is None:
                return
            if worker is not None and self._is_small(batch.files[0], batch.sizes[0]):
                batch = batch._replace(began=now_ns())
                try:
                    worker.read([(source.file, size) for source, size in zip(batch.files, batch.sizes, strict=True)])
                except WORKER_FAILURES:
                    self._lose(worker)
            self._ordered.append((batch, worker if batch.began else None))

    def _end(self, batch: Batch, worker: Worker) -> Batch:
        """The batch with what the worker has read."""
        try:
            (signatures, digests), content = worker.end()
        except WORKER_FAILURES:
            self._lose(worker)
            return batch
        if signatures != [source.signature for source in batch.files]:
            digests = [
                digest if signature == source.signature else ""
                for source, signature, digest in zip(batch.files, signatures, digests, strict=True)
            ]
        return batch._replace(digests=[digest and f"{self._algorithm}:{digest}" for digest in digests], content=content)

    def _lose(self, worker: Worker) -> None:
        """Read ourselves what a worker that has died was given."""
        self._workers.remove(worker)
        worker.stop()

    def _batched(self, sources: Sequence[Source]) -> Iterator[Batch]:
        """Small files together, as many as a worker may have at once, and all others alone."""
        batch, room = Batch([], [], []), ROOM
        for source in sources:
            size = source.size
            is_small = self._is_small(source, size)
            if batch.files and (not is_small or len(batch.files) == _FILES or size >= room):
                yield batch
                batch, room = Batch([], [], []), ROOM
            batch.files.append(source)
            batch.sizes.append(size)
            batch.digests.append("")
            room = room - size if is_small else 0
        if batch.files:
            yield batch

    def _is_small(self, source: Source, size: int) -> bool:
        return size <= self._small and not isinstance(source, Pieces)
