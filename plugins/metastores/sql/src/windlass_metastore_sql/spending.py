"""What was spent: the bill of an attempt that is over."""

from __future__ import annotations

from windlass.clock import months, start_of_month
from windlass_metastore_sql.database import Database, Row, Tx
from windlass_metastore_sql.items import CLAIMED

ACCOUNT = "owner, author, rate, began_at"
"""Columns of an item that `charge` takes."""
_EARLIER = f"status = {CLAIMED} AND began_at > 0 AND began_at < ?"
_SLACK = 60.0
"""Seconds until which one that began just before the month may not be stored yet."""


def bill(tx: Tx, run_id: str, now: float) -> float:
    """Close the account of the attempt at work, and return its cost."""
    row = tx.row(f"SELECT {ACCOUNT} FROM items WHERE run_id = ? AND began_at > 0", run_id)
    if row is None:
        return 0.0
    tx.run("UPDATE items SET began_at = 0 WHERE run_id = ?", run_id)
    return charge(tx, row, now)


def charge(tx: Tx, account: Row | None, now: float) -> float:
    """Add an attempt that is over to what was spent in each month, and return its cost."""
    if account is None or not account[3]:
        return 0.0
    owner, author, rate, began_at = account
    total = 0.0
    for month, seconds in months(began_at, now).items():
        hours = seconds / 3600
        total += hours * rate
        tx.run(
            'INSERT INTO spending (entity, month, "user", hours, money) VALUES (?, ?, ?, ?, ?) '
            'ON CONFLICT (entity, month, "user") DO UPDATE SET hours = spending.hours + excluded.hours, '
            "money = spending.money + excluded.money",
            owner,
            month,
            author,
            hours,
            hours * rate,
        )
    return total


class Turn:
    """Tells which attempts at work have begun in an earlier month: their bill is more than one line.

    Most ends need not ask: once none is left of an earlier month, there will be none until the next month.
    """

    def __init__(self) -> None:
        self._passed = 0.0

    def spanned(self, database: Database, run_id: str, now: float) -> bool:
        """Whether the attempt of a run began before this month."""
        start = start_of_month(now)
        if start <= self._passed:
            return False
        with database.read() as tx:
            if not tx.row(f"SELECT 1 FROM items WHERE {_EARLIER} LIMIT 1", start):
                self._passed = start if now - start > _SLACK else 0.0
                return False
            return tx.row(f"SELECT 1 FROM items WHERE run_id = ? AND {_EARLIER}", run_id, start) is not None
