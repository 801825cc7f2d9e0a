"""Whose turn it is among the queues of an agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from windlass.models.queue import QueueRef

__all__ = ["Turns"]


class Turns:
    """Serves queues in proportion to their weights (stride scheduling); equal weights make that round robin.

    Each item that is taken moves its queue on by ``1 / weight``, and the queue that is least far on is tried first. A
    queue that was empty for a while begins where the others are, so it gets its share and nothing afterwards.

    Args:
        queues: In the order of the configuration, which decides between equals.
        weights: By queue; 1 for those that are not named.
    """

    def __init__(self, queues: Sequence[QueueRef], weights: Mapping[QueueRef, float]) -> None:
        self._step = {ref: 1.0 / weights.get(ref, 1.0) for ref in queues}
        self._passed = dict.fromkeys(self._step, 0.0)
        self._last = {ref: place for place, ref in enumerate(self._step, -len(queues))}
        self._count = 0
        self._now = 0.0

    @property
    def queues(self) -> tuple[QueueRef, ...]:
        """All queues."""
        return tuple(self._step)

    def order(self) -> tuple[QueueRef, ...]:
        """The queues, who is to be served first comes first."""
        return tuple(sorted(self._step, key=lambda ref: (max(self._passed[ref], self._now), self._last[ref])))

    def served(self, ref: QueueRef) -> None:
        """An item of that queue was taken."""
        if ref not in self._step:
            return
        self._now = max(self._passed[ref], self._now)
        self._passed[ref] = self._now + self._step[ref]
        self._count += 1
        self._last[ref] = self._count
