"""Budgets: what was used this month, who may start nothing more, and the bill of an attempt that is over."""

from __future__ import annotations

from windlass.models.schedule import Budget, BudgetUnit
from windlass.schedule.costs import month_of
from windlass_metastore_sql.database import Row, Tx

HELD = "(items.owner = ? AND (? = '' OR items.author = ?))"
"""Whether an item belongs to a budget; takes its entity and twice its user."""


def budgets(tx: Tx, now: float, entity: str = "") -> list[Budget]:
    """Budgets with what was used this month, runs at work included."""
    where, values = (" WHERE entity = ?", (entity,)) if entity else ("", ())
    rows = tx.rows(f'SELECT entity, "user", unit, "limit" FROM budgets{where} ORDER BY entity, "user", unit', *values)
    return [
        Budget(entity=owner, user=user, unit=BudgetUnit(unit), limit=limit, used=_used(tx, owner, user, unit, now))
        for owner, user, unit, limit in rows
    ]


def exhausted(tx: Tx, now: float, entity: str = "") -> list[Budget]:
    """Budgets of which nothing is left."""
    if not tx.row("SELECT 1 FROM budgets LIMIT 1"):
        return []
    return [budget for budget in budgets(tx, now, entity) if budget.used >= budget.limit]


def _used(tx: Tx, entity: str, user: str, unit: str, now: float) -> float:
    spent = tx.row(
        "SELECT sum(hours), sum(money) FROM spending WHERE entity = ? AND month = ? AND (? = '' OR \"user\" = ?)",
        entity,
        month_of(now),
        user,
        user,
    )
    at_work = tx.row(
        "SELECT sum(? - began_at) / 3600, sum((? - began_at) * rate) / 3600 FROM items "
        f"WHERE status = 1 AND began_at > 0 AND {HELD}",
        now,
        now,
        entity,
        user,
        user,
    )
    column = 0 if unit == BudgetUnit.HOURS.value else 1
    return sum(float(row[column] or 0.0) for row in (spent, at_work) if row)


def without(held: list[Budget]) -> tuple[str, list[object]]:
    """A condition that leaves out the items of these budgets, with its values."""
    values: list[object] = [value for b in held for value in (b.entity, b.user, b.user)]
    return "".join(f" AND NOT {HELD}" for _ in held), values


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
