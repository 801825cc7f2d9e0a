"""The claims an agent holds, and the thread that keeps them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from windlass.clock import lease_clock
from windlass.errors import FencedError, NotFoundError, StoreError
from windlass.models.queue import Claim, Lease, Renewal

if TYPE_CHECKING:
    from windlass.metastore import QueueStore

__all__ = ["Claims", "Held"]

_log = logging.getLogger(__name__)


class Held:
    """One claim: the lease, and whether it is still ours."""

    def __init__(self, claim: Claim, until: float) -> None:
        self.lease = Lease(run_id=claim.run.id, fence=claim.run.fence, agent=claim.run.agent)
        self.until = until
        self.lost = threading.Event()

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return self.lease.run_id

    def check(self) -> None:
        """Raise `FencedError` if the claim is known to be lost."""
        if self.lost.is_set():
            raise FencedError(f"the claim on {self.run_id} belongs to another agent")


class Claims:
    """All claims of one agent. A thread of its own renews them, so that slow work elsewhere never costs a lease.

    Args:
        store: The queues.
        agent: Id of the agent.
        lease_seconds: How long a claim holds.
        on_renewal: Called with each answer and the claims that it told to be lost.
    """

    def __init__(
        self, store: QueueStore, agent: str, lease_seconds: float, on_renewal: Callable[[Renewal, Sequence[Held]], None]
    ) -> None:
        self._store = store
        self._agent = agent
        self.lease_seconds = lease_seconds
        self._on_renewal = on_renewal
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        self._due = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="windlass-renewals", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def close(self) -> None:
        """End the thread. Claims stay as they are."""
        self._closed = True
        self._due.set()
        if self._thread.is_alive():
            self._thread.join()

    def take(self, claims: Sequence[Claim], asked_at: float) -> list[Held]:
        """Hold new claims; `asked_at`: `lease_clock` before the request, so that our view ends before the store's."""
        found = [Held(claim, asked_at + self.lease_seconds) for claim in claims]
        with self._lock:
            for held in found:
                old = self._held.get(held.run_id)
                if old is not None:
                    old.lost.set()
                self._held[held.run_id] = held
        return found

    def drop(self, held: Held) -> None:
        """Hold a claim no longer (the run is over, released or lost)."""
        with self._lock:
            if self._held.get(held.run_id) is held:
                del self._held[held.run_id]

    def all(self) -> list[Held]:
        """What is held now."""
        with self._lock:
            return list(self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def renew_soon(self) -> None:
        """Have the thread ask now, because stops may have been requested."""
        self._due.set()

    def ensure(self, held: Held, margin: float = 0.25) -> float:
        """Make sure that the claim holds for at least `margin` of a lease; asks the store if it might not.

        Returns until when it holds, by `lease_clock`.

        Called right before something starts that must happen once only.

        Raises:
            FencedError: It belongs to somebody else.
            StoreUnavailableError: Nobody can tell.
        """
        until = held.until
        held.check()
        if until - lease_clock() < margin * self.lease_seconds:
            self._renew([held])
            until = held.until
            held.check()
        return until

    def _renew(self, helds: Iterable[Held]) -> None:
        helds = list(helds)
        asked_at = lease_clock()
        answer = self._store.renew(self._agent, [held.lease for held in helds], self.lease_seconds)
        # By claim, not by run: a run that was given back meanwhile may be held again, under another number.
        lost = [held for held in helds if held.run_id in answer.lost]
        for held in lost:
            held.lost.set()
            self.drop(held)
        for held in helds:
            if held not in lost:
                held.until = asked_at + self.lease_seconds
        self._on_renewal(answer, lost)

    def _work(self) -> None:
        pause = self.lease_seconds / 3
        wait = pause
        while not self._closed:
            self._due.wait(wait)
            self._due.clear()
            if self._closed:
                return
            wait = pause
            try:
                self._renew(self.all())
            except (StoreError, NotFoundError) as error:
                wait = min(pause, 1.0)
                _log.warning("the claims could not be renewed, trying again: %s", error.message)
            except Exception:
                _log.exception("renewing the claims failed, trying again")
            else:
                self._due.wait(0.2)  # a busy queue rings often; asking five times a second is often enough
                if not self._closed and self._due.is_set():
                    wait = 0.0
