"""The connections of a process to a PostgreSQL server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

_CHECK_AFTER = 1.0
_PAUSE = 0.05, 1.0


class Connections:
    """Connections that are made when they are needed, and kept.

    The one that was given back last is given out next, in a few microseconds: its process on the server is the one
    that still has everything at hand, and one that works alone works with a single one.

    Args:
        connect: Makes one.
        most: So many at most.
        timeout: Seconds to wait for one, or for a server that is away for a moment.
    """

    def __init__(self, connect: Callable[[], Any], most: int, timeout: float) -> None:
        self._connect = connect
        self._timeout = timeout
        self._idle: list[tuple[Any, float]] = []
        self._room = most
        self._waiting = 0
        self._changed = threading.Condition()
        self._closed = False
        self._reached = False

    def take(self) -> Any:
        """A connection that works; to be given back in any case. Raises `psycopg.OperationalError`."""
        try:
            connection, since = self._idle.pop()
        except IndexError:
            found = self._wait()
            if found is None:
                return self._make()
            connection, since = found
        if time.monotonic() - since > _CHECK_AFTER and not _works(connection):
            self._drop(connection)
            return self.take()  # those that are idle for longer are looked at as well
        return connection

    def give_back(self, connection: Any) -> None:
        """Keep a connection for whoever comes next."""
        if self._closed or connection.pgconn.transaction_status != TransactionStatus.IDLE:  # closed, or left halfway
            self._drop(connection)
            return
        self._idle.append((connection, time.monotonic()))
        if self._waiting:
            with self._changed:
                self._changed.notify()

    def _wait(self) -> tuple[Any, float] | None:
        """An idle connection, or None for leave to make one."""
        deadline = time.monotonic() + self._timeout
        with self._changed:
            self._waiting += 1  # before the look at what is idle: whoever gives back sees this or is seen
            try:
                while True:
                    if self._closed:
                        raise psycopg.OperationalError("the store is closed")
                    if self._idle:
                        return self._idle.pop()
                    if self._room > 0:
                        self._room -= 1
                        return None
                    if not self._changed.wait(deadline - time.monotonic()):
                        raise psycopg.OperationalError(f"no connection became free in {self._timeout:g} s")
            finally:
                self._waiting -= 1

    def _make(self) -> Any:
        """A new connection. A server that has answered before may be starting again: it is waited for."""
        deadline, pause = time.monotonic() + self._timeout, _PAUSE[0]
        while True:
            try:
                connection = self._connect()
                self._reached = True
                return connection
            except BaseException as error:
                late = not self._reached or self._closed or time.monotonic() + pause > deadline
                if late or not isinstance(error, psycopg.OperationalError):
                    self._drop(None)
                    raise
            time.sleep(pause)
            pause = min(pause * 2, _PAUSE[1])

    def _drop(self, connection: Any) -> None:
        if connection is not None:
            connection.close()
        with self._changed:
            self._room += 1
            self._changed.notify()

    def close(self) -> None:
        """Close those that are idle; the others follow when they are given back. May be repeated."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        while self._idle:
            self._drop(self._idle.pop()[0])


def _works(connection: Any) -> bool:
    try:
        connection.execute("")
    except psycopg.Error:
        return False
    return True
