"""Bells of PostgreSQL: LISTEN and NOTIFY."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg

from windlass.errors import WindlassError
from windlass_metastore_sql.bells import ALL, Bells
from windlass_metastore_sql.database import RELAXED

if TYPE_CHECKING:
    from windlass_metastore_sql.postgres import PostgresDatabase

_log = logging.getLogger(__name__)
CHANNEL = "windlass"
_STOP = "\x01stop"
_BREATH = 0.02
"""Seconds between two rings of one process: whoever listens has woken, and finds what came meanwhile. Each ring wakes
all who listen, and their processes on the server."""

_REST = 0.02
"""Seconds that a listener rests after a ring: in a rush of many who ring it wakes so often and not for each."""

_RING = f"SELECT {RELAXED}, pg_notify('{CHANNEL}', ?)"


class NotifyBells(Bells):
    """Bells over LISTEN and NOTIFY.

    Args:
        database: Gives the listening connection.
    """

    def __init__(self, database: PostgresDatabase) -> None:
        super().__init__()
        self._database = database
        self._thread: threading.Thread | None = None
        self._ringer: threading.Thread | None = None
        self._rung_at = float("-inf")
        self._late: set[str] = set()
        self._due = threading.Event()
        self._ringing = threading.Lock()

    def listen(self) -> None:
        """Listen in a thread."""
        connection = self._database.listen()
        self._thread = threading.Thread(target=self._receive, args=(connection,), name="windlass-bells", daemon=True)
        self._thread.start()

    def _receive(self, connection: Any) -> None:
        while not self._closed:
            try:
                for note in connection.notifies(timeout=2.0, stop_after=1):  # and what has come with it
                    self.rang(note.payload.split("\n"))
                if not self._closed:
                    time.sleep(_REST)
            except psycopg.Error:
                if self._closed:
                    break
                _log.warning("lost the connection that listens for work; connecting again")
                connection = self._again()
        if connection is not None:
            connection.close()

    def _again(self) -> Any:
        while not self._closed:
            time.sleep(1.0)
            try:
                connection = self._database.listen()
            except WindlassError:
                continue
            self.rang((ALL,))  # whatever rang meanwhile is lost
            return connection
        return None

    def ring(self, connection: Any, topics: set[str]) -> None:
        """Ring over a connection that has just committed; in a rush, with what follows within `_BREATH`.

        Not in the transaction: NOTIFY takes one lock of the whole server until the commit is on the disk, so that
        all who submit would stand in one line. A ring that is lost with its process is made up for by the waiters'
        look once a second.
        """
        with self._ringing:
            now = time.monotonic()
            if self._late or now - self._rung_at < _BREATH:
                self._late |= topics
                if self._ringer is None:
                    self._ringer = threading.Thread(target=self._ring_late, name="windlass-ringer", daemon=True)
                    self._ringer.start()
                self._due.set()
                return
            self._rung_at = now
        _notify(connection, topics)

    def _ring_late(self) -> None:
        while not self._closed:
            self._due.wait()
            time.sleep(_BREATH)
            self._ring_what_is_late()

    def _ring_what_is_late(self) -> None:
        with self._ringing:
            topics, self._late = self._late, set()
            self._due.clear()
            self._rung_at = time.monotonic()
        if topics:
            self.send(topics)

    def send(self, topics: set[str]) -> None:
        """Ring now."""
        try:
            with self._database.connection() as connection:
                _notify(connection, topics)
        except WindlassError:
            _log.debug("could not ring", exc_info=True)

    def close(self) -> None:
        """Stop the threads, after the last ring. May be repeated."""
        if self._ringer is not None and not self._closed:
            self._ring_what_is_late()
        if self._thread is not None and not self._closed:
            super().close()
            self.send({_STOP})
            self._thread.join(5.0)
        super().close()
        self._due.set()


def _notify(connection: Any, topics: set[str]) -> None:
    payload = "\n".join(topics)
    try:
        connection.short(_RING, (payload if len(payload.encode()) < 7900 else ALL,))
    except psycopg.Error:
        _log.debug("could not ring", exc_info=True)
