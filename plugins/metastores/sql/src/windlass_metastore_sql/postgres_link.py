"""A connection to PostgreSQL with a short way for statements of one message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from typing import Any

import psycopg
from psycopg import generators
from psycopg.pq import ExecStatus

from windlass_metastore_sql.database import KeyTakenError

_KEPT = 100
_NUMBERS = count()
_TYPES = {int: 20, float: 701}
"""What the server is told of a value; it finds out for itself what a text means."""
_LOADERS: dict[int, Callable[[bytes], Any]] = {16: b"t".__eq__, 20: int, 21: int, 23: int, 701: float}


class Link(psycopg.Connection[Any]):
    """A connection that commits by itself."""

    def short(self, sql: str, values: Sequence[Any]) -> Short:
        """Execute a statement that is prepared and kept, and fetch all.

        A cursor of the driver, which can do everything, takes several times as long as the message and its answer.
        """
        types = tuple([_TYPES.get(type(value), 0) for value in values])
        params = [_DUMPS.get(type(value), _dump)(value) for value in values]
        if b"\0" in b" ".join(filter(None, params)):  # where the driver's C code would end the text
            raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
        try:
            return self._send(sql, types, params)
        except psycopg.errors.UniqueViolation as error:
            raise KeyTakenError(str(error)) from error
        except psycopg.errors.InvalidSqlStatementName:  # the driver, or a proxy, has thrown away what was prepared
            self._known().clear()
            return self._send(sql, types, params)

    def _send(self, sql: str, types: tuple[int, ...], params: list[bytes | None]) -> Short:
        known = self._known()
        name = known.get((sql, types))
        if name is None:
            if len(known) >= _KEPT:
                self.execute("DEALLOCATE ALL", prepare=False)
                known.clear()
            name = b"windlass_%d" % next(_NUMBERS)
            self.pgconn.send_prepare(name, _numbered(sql), param_types=types)
            self._answer()
            known[sql, types] = name
        self.pgconn.send_query_prepared(name, params)
        return Short(self._answer())

    def _known(self) -> dict[Any, bytes]:
        known: dict[Any, bytes] = self.__dict__.setdefault("_prepared_here", {})
        return known

    def _answer(self) -> Any:
        result = self.wait(generators.execute(self.pgconn))[-1]
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise psycopg.errors.error_from_result(result)
        return result


class Short:
    """An answer, with what is used of a cursor."""

    __slots__ = ("_result", "rowcount")

    def __init__(self, result: Any) -> None:
        self._result = result
        self.rowcount: int = result.command_tuples or 0

    def fetchall(self) -> list[Any]:
        """All rows."""
        result = self._result
        loads = [_LOADERS.get(result.ftype(column), bytes.decode) for column in range(result.nfields)]
        return [
            tuple(
                [
                    None if (value := result.get_value(row, column)) is None else load(value)
                    for column, load in enumerate(loads)
                ]
            )
            for row in range(result.ntuples)
        ]


def _dump(value: Any) -> bytes | None:
    if value is None:
        return None
    return value.encode() if isinstance(value, str) else repr(value).encode()


_DUMPS: dict[type, Callable[[Any], bytes | None]] = {str: str.encode, int: b"%d".__mod__, float: b"%a".__mod__}
"""The short ways of `_dump`."""


@cache
def _numbered(sql: str) -> bytes:
    """The statement with the server's own marks."""
    first, *rest = sql.replace("{skip}", "FOR UPDATE SKIP LOCKED").split("?")
    return (first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))).encode()
