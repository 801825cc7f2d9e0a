"""Copying a whole database into an empty one: SQLite to PostgreSQL, or back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from windlass.errors import ConflictError
from windlass_metastore_sql.database import Database, Row, Tx, marks

_TABLES: dict[str, tuple[str, ...]] = {
    "queues": ("id",),
    "runs": ("seq",),
    "tracked": ("run_id",),
    "metrics": ("run_id", "step"),
    "logs": ("run_id",),
    "log_chunks": ("run_id", "pos"),
    "log_cursors": ("run_id", "source"),
    "items": ("run_id",),
    "item_needs": ("run_id", "needs"),
    "turns": ("queue_id", "author"),
    "agents": ("seq",),
    "collections": ("id",),
    "versions": ("seq",),
    "aliases": ("collection_id", "alias"),
    "edges": ("run", "version", "kind"),
    "uploads": ("id",),
    "parts": ("entity", "project", "name", '"group"', "part"),
    "users": ("name",),
    "api_keys": ("id",),
    "run_tokens": ("hash",),
    "members": ("entity", '"user"'),
    "triggers": ("id",),
    "occurrences": ("trigger_id", "key"),
    "budgets": ("entity", '"user"', "unit"),
    "spending": ("entity", "month", '"user"'),
}
"""Tables and their keys. `facts` belong to the database itself."""

_SERIAL = {"queues": "id", "runs": "seq", "agents": "seq", "collections": "id", "versions": "seq", "triggers": "id"}
_PAGE = 500


def copy(source: Database, target: Database, *, postgresql: bool) -> dict[str, int]:
    """Copy all rows, as they are at one moment, in one transaction; returns how many of each table.

    Args:
        source: What is copied.
        target: Where to; of the same schema version.
        postgresql: The target is PostgreSQL, whose counters must be told where to go on.

    Raises:
        ConflictError: The target is not empty. Nothing was changed.
    """
    counts: dict[str, int] = {}
    with source.read() as old, target.write() as new:
        full = [table for table in _TABLES if new.row(f"SELECT 1 FROM {table} LIMIT 1")]
        if full:
            raise ConflictError(
                f"the target is not empty: there are {', '.join(full)}", hint="Copy into a new database."
            )
        for table, key in _TABLES.items():
            counts[table] = 0
            for page in _pages(old, table, key):
                new.many(f"INSERT INTO {table} VALUES ({marks(len(page[0]))})", page)
                counts[table] += len(page)
        if postgresql:
            for table, column in _SERIAL.items():
                new.row(
                    f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), "
                    f"(SELECT coalesce(max({column}), 1) FROM {table}), EXISTS (SELECT 1 FROM {table}))"
                )
    return counts


def _pages(tx: Tx, table: str, key: Sequence[str]) -> Iterator[list[Row]]:
    columns = ", ".join(f"{table}.{name}" for name in key)
    last: Row = ()
    while True:
        where = f"WHERE ({columns}) > ({marks(len(key))}) " if last else ""
        rows = tx.rows(f"SELECT {columns}, {table}.* FROM {table} {where}ORDER BY {columns} LIMIT {_PAGE}", *last)
        if not rows:
            return
        yield [tuple(row[len(key) :]) for row in rows]
        last = tuple(rows[-1][: len(key)])
