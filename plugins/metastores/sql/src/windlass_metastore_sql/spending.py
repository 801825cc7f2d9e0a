"""What was spent: the bill of an attempt that is over."""

from __future__ import annotations

from windlass.clock import month_of
from windlass_metastore_sql.database import Row, Tx

ACCOUNT = "owner, author, rate, began_at"
"""Columns of an item that `charge` takes."""


def bill(tx: Tx, run_id: str, now: float) -> float:
    """Close the account of the attempt at work, and return its cost."""
    row = tx.row(f"SELECT {ACCOUNT} FROM items WHERE run_id = ? AND began_at > 0", run_id)
    if row is None:
        return 0.0
    tx.run("UPDATE items SET began_at = 0 WHERE run_id = ?", run_id)
    return charge(tx, row, now)


def charge(tx: Tx, account: Row | None, now: float) -> float:
    """Add an attempt that is over to what was spent, and return its cost."""
    if account is None or not account[3]:
        return 0.0
    owner, author, rate, began_at = account
    hours = max(now - began_at, 0.0) / 3600
    tx.run(
        'INSERT INTO spending (entity, month, "user", hours, money) VALUES (?, ?, ?, ?, ?) '
        'ON CONFLICT (entity, month, "user") DO UPDATE SET hours = spending.hours + excluded.hours, '
        "money = spending.money + excluded.money",
        owner,
        month_of(now),
        author,
        hours,
        hours * rate,
    )
    return float(hours * rate)
