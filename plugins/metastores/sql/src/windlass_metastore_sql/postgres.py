"""PostgreSQL: a pool of connections, row locks, and NOTIFY for the bells."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from windlass.clock import lease_clock
from windlass.errors import NoSpaceError, StoreError, StoreUnavailableError, UsageError, WindlassError
from windlass_metastore_sql import schema
from windlass_metastore_sql.bells import ALL, Bells
from windlass_metastore_sql.config import SqlConfig
from windlass_metastore_sql.database import RELAXED, Database, Tx

try:
    import psycopg
    from psycopg_pool import ConnectionPool, PoolTimeout
except ImportError as missing:
    raise StoreError(
        f"PostgreSQL needs psycopg: {missing}", hint='pip install "windlass-metastore-sql[postgresql]"'
    ) from None

_log = logging.getLogger(__name__)
_CHANNEL = "windlass"
_MIGRATION_LOCK = 7_446_201_553  # any number, the same in all versions
_CLOCK_EVERY = 30.0
_CHECK_AFTER = 1.0
_STOP = "\x01stop"
_BREATH = 0.005
"""Seconds between two rings of one process: whoever listens has woken, and finds what came meanwhile."""


class PostgresDatabase(Database):
    """A database of a PostgreSQL server, 12 or newer.

    Transactions that need not be durable commit without waiting for the disk (``synchronous_commit=off``).

    Args:
        url: ``postgresql://…``, as libpq reads it.
        config: Pool size and patience.
    """

    def __init__(self, url: str, config: SqlConfig) -> None:
        self.one_writer = False
        self._url = url
        self._timeout = config.timeout
        self._used: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self._pool: ConnectionPool[Any] = ConnectionPool(
            url,
            min_size=1,
            max_size=config.pool_size,
            timeout=config.timeout,
            open=False,
            kwargs={"autocommit": True, "application_name": "windlass", "connect_timeout": max(int(config.timeout), 2)},
            check=self._check,
            name="windlass",
        )
        self._pool_guard = threading.Lock()
        self._opened = False
        self._offset = 0.0
        self._offset_at = float("-inf")
        self.bells: NotifyBells = NotifyBells(self)

    def now(self) -> float:
        """The database server's clock, kept beside ours and compared twice a minute.

        Ours is one that nobody sets: a claim that ends an hour too late because this machine's time was corrected would
        keep its run from everybody else.
        """
        if time.monotonic() - self._offset_at > _CLOCK_EVERY:
            with self.read() as tx:
                row = tx.row("SELECT extract(epoch FROM clock_timestamp())::float8")
            self._offset = float(row[0]) - lease_clock() if row else 0.0
            self._offset_at = time.monotonic()
        return lease_clock() + self._offset

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        with self._errors():
            if not self._opened:
                with self._pool_guard:
                    if not self._opened:
                        psycopg.connect(self._url, connect_timeout=max(int(self._timeout), 2)).close()  # fails at once
                        self._pool.open()
                        self._opened = True
            with self._pool.connection() as connection:
                yield connection
                self._used[connection] = time.monotonic()

    def _check(self, connection: Any) -> None:
        """Find out whether a connection that was idle for a while still leads anywhere."""
        if time.monotonic() - self._used.get(connection, 0.0) > _CHECK_AFTER:
            ConnectionPool.check_connection(connection)

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A transaction that sees one snapshot."""
        with self._connection() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield _tx(connection)
            finally:
                if not connection.closed:
                    connection.execute("ROLLBACK")

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Tx]:
        """A read-committed transaction; rows are locked where a decision depends on them."""
        with self._connection() as connection:
            connection.execute("BEGIN" if durable else "BEGIN; SET LOCAL synchronous_commit = off")
            tx = _tx(connection)
            try:
                yield tx
                connection.execute("COMMIT")
            except BaseException:
                if not connection.closed:
                    connection.execute("ROLLBACK")
                raise
            if tx.topics:
                self.bells.ring(connection, tx.topics)

    @contextmanager
    def single(self) -> Iterator[Tx]:
        """The connections commit by themselves, so that one statement needs no BEGIN and no COMMIT."""
        with self._connection() as connection:
            tx = _tx(connection)
            yield tx
            if tx.topics:
                self.bells.ring(connection, tx.topics)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.Error, PoolTimeout) as error:
            raise _translated(error) from error

    def _version(self, tx: Tx) -> int:
        row = tx.row("SELECT to_regclass('alembic_version') IS NOT NULL")
        if not row or not row[0]:
            return 0
        stamp = tx.row("SELECT version_num FROM alembic_version")
        known = {name: number for number, name in enumerate(schema.VERSIONS, 1)}
        return known.get(stamp[0], schema.LATEST + 1) if stamp else 0

    def migrate(self) -> None:
        """Make or upgrade the schema, one process at a time."""
        with self.read() as tx:
            if self._version(tx) == schema.LATEST:
                return
        with self.write() as tx:
            tx.row("SELECT pg_advisory_xact_lock(?)", _MIGRATION_LOCK)
            found = self._version(tx)
            if found > schema.LATEST:
                schema.expect(found, "the database")
            if found == 0:
                for version in schema.VERSIONS:
                    for statement in schema.statements(version, "postgresql"):
                        tx.run(statement)
                tx.run("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
                tx.run("INSERT INTO alembic_version VALUES (?)", schema.VERSIONS[-1])
            elif found < schema.LATEST:
                self._upgrade()

    def _upgrade(self) -> None:
        from sqlalchemy import create_engine

        from windlass_metastore_sql.migrations import upgrade

        # Alembic works on a connection of its own, while the advisory lock of ours keeps everybody else out.
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(self._url))
        with engine.begin() as connection:
            upgrade(connection)
        engine.dispose()

    def take_back(self, version: int) -> None:
        """See `Database.take_back`."""
        with self.write() as tx:
            tx.row("SELECT pg_advisory_xact_lock(?)", _MIGRATION_LOCK)
            schema.take_back(tx.run, self._version(tx), version, "postgresql")

    def check(self) -> None:
        """Raise unless the schema is this version's; a database without any is given one."""
        with self.read() as tx:
            found = self._version(tx)
        if found == 0:
            self.migrate()
        else:
            schema.expect(found, "the database")

    def listen(self) -> Any:
        """A connection of its own for the bells: waiting and working on the same one loses wake-ups."""
        connection = psycopg.connect(self._url, autocommit=True, application_name="windlass-bells")
        connection.execute(f"LISTEN {_CHANNEL}")
        return connection

    def close(self) -> None:
        """Close the pool and the bells. May be repeated."""
        self.bells.close()
        if self._opened:
            self._pool.close()
            self._opened = False


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
        with self._database._errors():
            connection = self._database.listen()
        self._thread = threading.Thread(target=self._receive, args=(connection,), name="windlass-bells", daemon=True)
        self._thread.start()

    def _receive(self, connection: Any) -> None:
        while not self._closed:
            try:
                for note in connection.notifies(timeout=2.0):
                    self.rang(note.payload.split("\n"))
                    if self._closed:
                        break
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
            except psycopg.Error:
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
            with self._database._connection() as connection:
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
        connection.execute(
            f"SELECT {RELAXED}, pg_notify('{_CHANNEL}', %s)", (payload if len(payload.encode()) < 7900 else ALL,)
        )
    except psycopg.Error:
        _log.debug("could not ring", exc_info=True)


def _tx(connection: Any) -> Tx:
    def execute(sql: str, values: Any) -> Any:
        cursor = connection.execute(_translate(sql), values)
        return cursor if cursor.rownumber is not None else _NoRows(cursor.rowcount)

    def many(sql: str, rows: Any) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(_translate(sql), list(rows))

    def each(sql: str, rows: Any) -> Any:
        with connection.cursor() as cursor:  # all are sent before the first answer is read
            cursor.executemany(_translate(sql), rows, returning=True)
            found = [cursor.fetchone()]
            while cursor.nextset():
                found.append(cursor.fetchone())
            return found

    return Tx(execute, many, each=each, locks=True)


class _NoRows:
    def __init__(self, rowcount: int) -> None:
        self.rowcount = rowcount

    def fetchall(self) -> list[Any]:
        return []


@cache
def _translate(sql: str) -> str:
    text = sql.replace("%", "%%").replace("?", "%s")
    return text.replace("{lock}", "FOR UPDATE").replace("{skip}", "FOR UPDATE SKIP LOCKED")


def _translated(error: Exception) -> WindlassError:
    text = str(error).strip().partition("\n")[0]
    if isinstance(error, psycopg.errors.DiskFull):
        return NoSpaceError(
            "the database server's disk is full; nothing was changed", hint="Make room, then try again."
        )
    if isinstance(error, psycopg.errors.InvalidPassword | psycopg.errors.InvalidAuthorizationSpecification):
        return StoreError(f"PostgreSQL refused us: {text}", where="WINDLASS_BASE_URL", hint="Check user and password.")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | PoolTimeout):
        return StoreUnavailableError(f"PostgreSQL is out of reach: {text}", hint="Is it running? Try again.")
    if isinstance(error, psycopg.DataError | UnicodeEncodeError):
        return UsageError(f"the database cannot store this: {text}", hint="Texts may hold no NUL character.")
    return StoreError(f"the database failed: {text}")
