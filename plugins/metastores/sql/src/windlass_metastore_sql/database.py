"""What SQLite and PostgreSQL have in common: transactions over hand-written SQL.

Statements are written once, with ``?`` for parameters and two marks that only PostgreSQL needs: ``{lock}`` locks the
rows that are read until the end of the transaction, ``{skip}`` does so and passes over rows that others hold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from windlass_metastore_sql.bells import Bells

Row = tuple[Any, ...]

RELAXED = "set_config('synchronous_commit', 'off', true)"
"""An expression that makes the transaction of a statement on PostgreSQL one that need not be durable."""


class KeyTakenError(Exception):
    """A `Database.single` statement was to insert a row whose key there is already; it did nothing."""


class Cursor(Protocol):
    """The part of the DB-API that is used here."""

    @property
    def rowcount(self) -> int:
        """Rows changed."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""


class Tx:
    """An open transaction.

    Attributes:
        topics: Whom to wake after the commit, see `Bells`.
        locks: Rows must be locked (always queue, then item, then run); SQLite has one writer at a time anyway.
    """

    __slots__ = ("_each", "_execute", "_many", "locks", "topics")

    def __init__(
        self,
        execute: Callable[[str, Sequence[Any]], Cursor],
        many: Callable[[str, Iterable[Sequence[Any]]], Any],
        *,
        each: Callable[[str, Sequence[Sequence[Any]]], list[Row | None]] | None = None,
        locks: bool = False,
    ) -> None:
        self.locks = locks
        self._each = each
        self._execute = execute
        self._many = many
        self.topics: set[str] = set()

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """All rows of a query (or of RETURNING)."""
        return self._execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> Row | None:
        """The first row, or None."""
        # Fetching all, not one, ends the statement: SQLite keeps an unfinished one open past the commit.
        found = self._execute(sql, values).fetchall()
        return found[0] if found else None

    def run(self, sql: str, *values: Any) -> int:
        """Execute and return how many rows were changed."""
        return self._execute(sql, values).rowcount

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute once for each row of values."""
        self._many(sql, rows)

    def each(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[Row | None]:
        """Execute once for each row of values, and give the first row that each returned."""
        return self._each(sql, rows) if self._each else [self.row(sql, *values) for values in rows]


class Database(ABC):
    """A database with its transactions and its bells.

    Attributes:
        one_writer: Those who write wait for each other.
        read_only: Nothing can be written.
    """

    bells: Bells
    one_writer: bool = True
    read_only: bool = False

    @abstractmethod
    def read(self) -> AbstractContextManager[Tx]:
        """A transaction that sees one state of the database and changes nothing."""

    @abstractmethod
    def write(self, *, durable: bool = True) -> AbstractContextManager[Tx]:
        """A transaction: all or nothing. Bells of `Tx.topics` ring after the commit.

        With `durable` it survives a power failure; without, a crash of the process or, after a power failure, its
        loss must be harmless.
        """

    def single(self) -> AbstractContextManager[Tx]:
        """A transaction of one statement, which is sent, committed and answered in one message.

        For databases with ``one_writer = False`` only. Durable, unless the statement reads `RELAXED`.
        """
        raise NotImplementedError

    @abstractmethod
    def now(self) -> float:
        """The store's clock."""

    @abstractmethod
    def migrate(self) -> None:
        """Make or upgrade the schema."""

    @abstractmethod
    def take_back(self, version: int) -> None:
        """Give the database an older version's schema; this program cannot work with it until `migrate`."""

    @abstractmethod
    def check(self) -> None:
        """Raise unless the schema is this version's."""

    @abstractmethod
    def close(self) -> None:
        """Give back connections."""


def marks(count: int) -> str:
    """``?, ?, ?``."""
    return ", ".join("?" * count)
