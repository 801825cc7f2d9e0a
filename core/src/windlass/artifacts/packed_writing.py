"""Writing many small files that lie in packs of this host, side by side in several processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Self

from windlass.artifacts.manifest import Entry
from windlass.artifacts.workers import ENOUGH, WORKER_FAILURES, Worker, start_workers
from windlass.blobs import BlobStore

if TYPE_CHECKING:
    from windlass.artifacts.worker import Small

__all__ = ["PackedWriter", "Place", "spans"]

Place = tuple[Entry, str]
"""An entry and the path that it is written to."""
_AT_ONCE = 2  # requests of a worker: one that it works on, and the next
_MOST = 4


class PackedWriter:
    """Lets worker processes write files, where there are enough of them, and processors to spare.

    Args:
        blobs: Where the packs lie.
        algorithm: Digest algorithm of the files.
        gap: Bytes between two files that are rather read in vain than skipped by another read.
    """

    def __init__(self, blobs: BlobStore, algorithm: str, gap: int) -> None:
        self._blobs = blobs
        self._algorithm = algorithm
        self._gap = gap
        self._seen = 0
        self._workers: dict[Worker, deque[list[Place]]] = {}  # and what they were given
        self._started = False
        self._left: list[Place] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

    def begin(self, places: list[Place]) -> bool:
        """Give files to a worker. False when there is none, or all have enough to do."""
        self._seen += len(places)
        if self._seen < ENOUGH:
            return False
        if not self._started:
            self._started = True
            self._workers = {worker: deque() for worker in start_workers(self._algorithm, _MOST)}
        for worker in list(self._workers):
            while worker.waiting and worker.has_answered():
                self._collect(worker)
        if not self._workers:
            return False
        worker = min(self._workers, key=attrgetter("waiting"))
        if worker.waiting == _AT_ONCE:
            return False
        ranges, given = self._ranges(places)
        self._workers[worker].append(given)
        try:
            worker.write(ranges)
        except WORKER_FAILURES:
            self._give_up(worker)
        return True

    def left(self) -> list[Place]:
        """What workers could not write, as far as that is known; each file once."""
        left, self._left = self._left, []
        return left

    def finish(self) -> list[Place]:
        """Wait for the workers. Returns as `left`."""
        for worker in list(self._workers):
            while worker.waiting:
                self._collect(worker)
        return self.left()

    def _ranges(self, places: list[Place]) -> tuple[list[tuple[str, int, int, list[Small]]], list[Place]]:
        """A request for these files, and the files in the order of the request; those without a pack here are left."""
        packs: dict[str, list[Entry]] = {}
        for entry, _ in places:
            packs.setdefault(entry.parts[0][0], []).append(entry)
        place_of = dict(zip([entry.path for entry, _ in places], places, strict=True))
        ranges, given = [], []
        for pack, entries in packs.items():
            path = self._blobs.local_path(pack)
            if path is None:
                self._left += [place_of[entry.path] for entry in entries]
                continue
            for start, end, inside in spans(entries, self._gap):
                found = [place_of[entry.path] for entry in inside]
                given += found
                ranges.append((path, start, end, [_small(entry, place) for entry, place in found]))
        return ranges, given

    def _collect(self, worker: Worker) -> None:
        try:
            answer, _ = worker.end()
        except WORKER_FAILURES:
            self._give_up(worker)
            return
        given = self._workers[worker].popleft()
        self._left += [given[number] for number in answer]

    def _give_up(self, worker: Worker) -> None:
        """Do what a worker that has died was given; some of it may be done."""
        for given in self._workers.pop(worker):
            self._left += given
        worker.stop()


def _small(entry: Entry, place: str) -> Small:
    return entry.parts[0][1], entry.size, entry.digest.partition(":")[2], place


def spans(files: Iterable[Entry], gap: int) -> list[tuple[int, int, list[Entry]]]:
    """Ranges of a pack that hold these files: start, end, and the files inside. Gaps up to `gap` bytes are read too."""
    found: list[tuple[int, int, list[Entry]]] = []
    for entry in sorted(files, key=lambda entry: entry.parts[0][1]):
        _, offset, length = entry.parts[0]
        if found and offset <= found[-1][1] + gap:
            start, end, inside = found[-1]
            inside.append(entry)
            found[-1] = (start, max(end, offset + length), inside)
        else:
            found.append((offset, offset + length, [entry]))
    return found
