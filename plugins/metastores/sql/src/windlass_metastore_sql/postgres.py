"""PostgreSQL: a pool of connections, row locks, and statements that commit by themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import psycopg

from windlass.clock import lease_clock
from windlass.errors import NoSpaceError, StoreError, StoreUnavailableError, UsageError, WindlassError
from windlass_metastore_sql import schema
from windlass_metastore_sql.config import SqlConfig
from windlass_metastore_sql.database import Database, Tx
from windlass_metastore_sql.postgres_bells import CHANNEL, NotifyBells
from windlass_metastore_sql.postgres_link import Link
from windlass_metastore_sql.postgres_pool import Connections

_MIGRATION_LOCK = 7_446_201_553  # any number, the same in all versions
_CLOCK_EVERY = 30.0
_BY_INDEX = "SET random_page_cost = 1.1"
"""The server keeps a plan that it makes for ten rows, and would read a table whole that has become large since."""


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
        self.connections = Connections(self._connect, config.pool_size, config.timeout)
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

    def _connect(self) -> Any:
        connection = Link.connect(
            self._url,
            autocommit=True,
            application_name="windlass",
            client_encoding="utf8",
            connect_timeout=max(int(self._timeout), 2),
            prepare_threshold=1,
        )
        connection.execute(_BY_INDEX, prepare=False)
        return connection

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection, with the driver's errors as ours."""
        try:
            connection = self.connections.take()
            try:
                yield connection
            finally:
                self.connections.give_back(connection)
        except (psycopg.Error, UnicodeEncodeError) as error:
            raise _translated(error) from error

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A transaction that sees one snapshot."""
        with self.connection() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield _tx(connection)
            finally:
                if not connection.closed:
                    connection.execute("COMMIT")  # after a ROLLBACK the driver throws away what it has prepared

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Tx]:
        """A read-committed transaction; rows are locked where a decision depends on them."""
        with self.connection() as connection:
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

    def single(self) -> Single:
        """The connections commit by themselves, so that one statement needs no BEGIN and no COMMIT."""
        return Single(self)

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
        try:
            connection = psycopg.connect(self._url, autocommit=True, application_name="windlass-bells")
            connection.execute(f"LISTEN {CHANNEL}")
        except psycopg.Error as error:
            raise _translated(error) from error
        return connection

    def close(self) -> None:
        """Close the connections and the bells. May be repeated."""
        self.bells.close()
        self.connections.close()


class Single:
    """A statement that commits by itself, see `PostgresDatabase.single`. As a generator it would take twice as long."""

    __slots__ = ("_connection", "_database", "_tx")

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    def __enter__(self) -> Tx:
        try:
            self._connection = self._database.connections.take()
        except psycopg.Error as error:
            raise _translated(error) from error
        self._tx = Tx(self._connection.short, _no_many, locks=True)
        return self._tx

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None and self._tx.topics:
                self._database.bells.ring(self._connection, self._tx.topics)
        except psycopg.Error as failed:
            raise _translated(failed) from failed
        finally:
            self._database.connections.give_back(self._connection)
        if isinstance(error, psycopg.Error | UnicodeEncodeError):
            raise _translated(error) from error


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


def _no_many(_sql: str, _rows: Any) -> None:
    raise NotImplementedError("that is more than one statement")


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
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return StoreUnavailableError(f"PostgreSQL is out of reach: {text}", hint="Is it running? Try again.")
    if isinstance(error, psycopg.DataError | UnicodeEncodeError):
        return UsageError(f"the database cannot store this: {text}", hint="Texts may hold no NUL character.")
    return StoreError(f"the database failed: {text}")
