"""SQLite: one file in WAL mode, any number of readers, writers in turn."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from windlass.errors import NoSpaceError, StoreError, StoreUnavailableError, UsageError, WindlassError
from windlass_metastore_sql import schema
from windlass_metastore_sql.database import Database, Tx
from windlass_metastore_sql.sqlite_bells import SocketBells
from windlass_metastore_sql.sqlite_reading import reading
from windlass_metastore_sql.turns import Turns

NORMAL, FULL = 1, 2
_ROOM = 32 << 10  # bytes of a -shm file


class SqliteDatabase(Database):
    """The embedded database.

    A ``durable`` transaction is flushed to the disk (``synchronous=FULL``); the others are written without a flush
    (``NORMAL``): after a power failure the newest of them may be missing, never half there.

    A file that is there, in a directory that cannot be written, is read; writing says why it cannot be.

    Args:
        path: The file; made with its directory when it is not there.
        timeout: Seconds a writer waits for its turn before it gives up.
        clock: Seconds since the epoch.
    """

    def __init__(self, path: Path, timeout: float, clock: Callable[[], float] = time.time) -> None:
        if sqlite3.sqlite_version_info < (3, 35):
            raise StoreError(
                f"SQLite {sqlite3.sqlite_version} is too old", hint="Use a Python built with SQLite 3.35 or newer."
            )
        self.path = path
        self._timeout = timeout
        self._clock = clock
        self._idle: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._sync = FULL
        self._turns: Turns | None = None
        self._reason = ""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._turns = Turns(path)
        except OSError as error:
            self._reason = str(error.strerror)
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM) or not os.access(path, os.R_OK):
                raise StoreError(
                    f"cannot open the database: {self._reason}",
                    where=str(path),
                    hint="Set WINDLASS_HOME to a directory you may write to.",
                ) from None
        self.read_only = self._turns is None
        self.bells = SocketBells(path.parent / "bells")

    def now(self) -> float:
        """The clock of this host."""
        return self._clock()

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A read transaction on a connection of its own; never waits for writers."""
        if self._turns is None:
            with self._errors(), reading(self.path, self._timeout) as only:
                yield _tx(only)
            return
        with self._errors():
            with self._guard:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = self._connect()
            try:
                connection.execute("BEGIN")
                try:
                    yield _tx(connection)
                finally:
                    connection.execute("ROLLBACK")
            finally:
                with self._guard:
                    self._idle.append(connection)

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Tx]:
        """A write transaction, in turn with all threads and processes."""
        with self._errors(), self._writers().turn(self._timeout) as left:
            if self._writer is None:
                self._writer = self._connect()
            connection = self._writer
            wanted = FULL if durable else NORMAL
            if wanted != self._sync:
                connection.execute(f"PRAGMA synchronous={wanted}")
                self._sync = wanted
            if left < self._timeout / 2:  # somebody who does not queue up may hold the file: wait no longer than said
                connection.execute(f"PRAGMA busy_timeout={int(left * 1000)}")
            connection.execute("BEGIN IMMEDIATE")
            tx = _tx(connection)
            try:
                yield tx
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                if left < self._timeout / 2:
                    connection.execute(f"PRAGMA busy_timeout={int(self._timeout * 1000)}")
        if tx.topics:
            self.bells.send(tx.topics)

    def _writers(self) -> Turns:
        if self._turns is None:
            raise StoreError(
                f"the home can only be read ({self._reason}); nothing was changed",
                where=str(self.path),
                hint="Make it writable, or set WINDLASS_HOME to a directory you may write to.",
            )
        return self._turns

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self._timeout, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute("PRAGMA synchronous=2")
        connection.execute("PRAGMA temp_store=2")
        return connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise _translated(error, self.path) from error

    def migrate(self) -> None:
        """Make or upgrade the schema; does nothing, and needs no turn, when it is this version's."""
        if self._turns is None:
            with self.read() as tx:
                if (tx.row("PRAGMA user_version") or (0,))[0] == schema.LATEST:
                    return
        turns = self._writers()
        with self._errors():
            connection = self._connect()
            try:
                found = connection.execute("PRAGMA user_version").fetchone()[0]
                if found == schema.LATEST:
                    return
                with turns.turn(self._timeout):
                    schema.migrate_sqlite(connection, str(self.path))
            finally:
                connection.close()
            self.path.chmod(0o600)

    def take_back(self, version: int) -> None:
        """See `Database.take_back`."""
        with self.write() as tx:
            found = tx.row("PRAGMA user_version")
            schema.take_back(tx.run, found[0] if found else 0, version, "sqlite")
            tx.run(f"PRAGMA user_version={version}")

    def check(self) -> None:
        """Raise unless the schema is this version's."""
        with self.read() as tx:
            found = tx.row("PRAGMA user_version")
        schema.expect(found[0] if found else 0, str(self.path))

    def close(self) -> None:
        """Close all connections and bells. May be repeated."""
        self.bells.close()
        with self._guard:
            connections, self._idle = self._idle, []
        if self._writer is not None:
            connections.append(self._writer)
            self._writer = None
        for connection in connections:
            connection.close()
        if self._turns is not None:
            self._turns.close()


def _tx(connection: sqlite3.Connection) -> Tx:
    return Tx(
        lambda sql, values: connection.execute(_plain(sql), values),
        lambda sql, rows: connection.executemany(_plain(sql), rows),
    )


@cache
def _plain(sql: str) -> str:
    return sql.replace("{lock}", "").replace("{skip}", "")


def _full(folder: Path) -> bool:
    """True when the disk of a folder has no room for the smallest of SQLite's files."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _ROOM or (found.f_files > 0 and found.f_favail == 0)


def _translated(error: Exception, path: Path) -> WindlassError:
    name = getattr(error, "sqlite_errorname", "")
    where = str(path)
    if isinstance(error, UnicodeEncodeError):
        return UsageError("a text holds characters that are no Unicode text", hint="Remove lone surrogates.")
    # SQLite calls a full disk an I/O error where it makes the files beside the database, such as its -shm file.
    if name == "SQLITE_FULL" or (name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and _full(path.parent)):
        return NoSpaceError(
            "the disk is full; nothing was changed",
            where=where,
            hint="Make room, then try again; 'windlass artifact cache clean' on its machine may give some.",
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return StoreUnavailableError(
            "the database is locked; nothing was changed",
            where=where,
            hint="Another program holds it open for writing (a backup, a sqlite3 shell?). Try again.",
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreError(
            f"not a sound database: {error}", where=where, hint="Restore it from a backup, or move it away."
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StoreError(f"the database cannot be written: {error}", where=where, hint="Check owner, mode and mount.")
    hint = "Is the disk sound, and may this process write there (ulimit -f)?" if name.startswith("SQLITE_IOERR") else ""
    return StoreError(f"the database failed: {error}", where=where, hint=hint)
