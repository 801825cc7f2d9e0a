"""Reading an SQLite file in a directory that cannot be written."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from windlass.errors import StoreError, StoreUnavailableError

__all__ = ["reading"]


@contextmanager
def reading(path: Path, timeout: float) -> Iterator[sqlite3.Connection]:
    """A connection in a read transaction.

    SQLite needs the ``-shm`` file of its journal, which it can make nowhere here. Where no journal is, all is in the
    file itself, and it is read as one that does not change: if it does, as others may write to it, that is found out.

    Raises:
        StoreError: A journal was left behind that can only be read where it can be written.
        StoreUnavailableError: It was changed meanwhile.
    """
    journal = path.with_name(f"{path.name}-wal")
    before = _state(path)
    alone = not os.path.exists(journal)
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
    with closing(
        sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)
    ) as connection:
        connection.execute("PRAGMA temp_store=2")
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            if alone or getattr(error, "sqlite_errorname", "") != "SQLITE_CANTOPEN":
                raise
            raise StoreError(
                "who wrote to the database last was stopped, and its journal cannot be read where it cannot be written",
                where=str(journal),
                hint="Use the home once where it can be written; any command will do.",
            ) from None
        yield connection
    if alone and (os.path.exists(journal) or _state(path) != before):
        raise StoreUnavailableError("the database was changed while it was read", where=str(path), hint="Try again.")


def _state(path: Path) -> tuple[int, int, int]:
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns
