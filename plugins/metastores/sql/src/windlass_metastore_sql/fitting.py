"""What fits into an agent that counts slots, and what it makes room for."""

from __future__ import annotations

from collections.abc import Mapping

from windlass import wire
from windlass.launch import needs
from windlass.models.launch import LaunchSpec
from windlass.models.queue import ClaimRequest, Queue
from windlass_metastore_sql.database import Tx


class Room:
    """The free slots of an agent while it claims.

    Small runs would take every slot that comes free, and a large one would wait for ever. So one that has waited for
    `needs.PATIENCE`, and that the agent could hold if it were empty, is overtaken no more: nothing is taken until then.

    Attributes:
        kept: There is such a run, and its turn has come.
    """

    def __init__(self, tx: Tx, request: ClaimRequest, now: float) -> None:
        self._tx = tx
        self._agent = request.agent
        self._now = now
        self._free = dict(request.capacity)
        self._all: Mapping[str, float] | None = None
        self._needs: dict[str, tuple[dict[str, float], float]] = {}
        self.counts = bool(request.capacity)
        self.kept = False

    def fits(self, queue: Queue, run_id: str) -> bool:
        """Whether a run fits into what is free."""
        return not self.counts or not needs.lacking(self._free, self._look(queue, run_id)[0])

    def is_due(self, queue: Queue, run_id: str) -> bool:
        """Whether a run that does not fit has waited for so long that none may overtake it."""
        wanted, since = self._look(queue, run_id)
        return since + needs.PATIENCE <= self._now and not needs.lacking(self._slots(), wanted)

    def take(self, queue: Queue, run_id: str) -> None:
        """Count a run that is taken."""
        for slot, amount in self._look(queue, run_id)[0].items() if self.counts else ():
            if slot in self._free:
                self._free[slot] -= amount

    def _look(self, queue: Queue, run_id: str) -> tuple[dict[str, float], float]:
        """What a run needs, and since when it waits."""
        if run_id not in self._needs:
            row = self._tx.row("SELECT spec, queued_at FROM runs WHERE id = ?", run_id)
            spec, since = row or ("", self._now)
            wanted = needs.needs_of(queue, wire.decode(spec, LaunchSpec)) if spec else {}
            self._needs[run_id] = wanted, since
        return self._needs[run_id]

    def _slots(self) -> Mapping[str, float]:
        """All slots of the agent, free or not; of one that nobody knows, what is free."""
        if self._all is None:
            row = self._tx.row("SELECT slots FROM agents WHERE id = ?", self._agent)
            self._all = (wire.decode(row[0], dict) if row and row[0] else {}) or self._free
        return self._all
