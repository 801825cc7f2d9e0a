"""Budgets: what was used this month, and who may start nothing more."""

from __future__ import annotations

from windlass.clock import month_of, start_of_month
from windlass.models.schedule import Budget, BudgetUnit
from windlass_metastore_sql.database import Tx
from windlass_metastore_sql.items import CLAIMED

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
    start = start_of_month(now)
    spent = tx.row(
        "SELECT sum(hours), sum(money) FROM spending WHERE entity = ? AND month = ? AND (? = '' OR \"user\" = ?)",
        entity,
        month_of(now),
        user,
        user,
    )
    at_work = tx.row(
        "SELECT sum(hours), sum(hours * rate) FROM ("
        "SELECT (? - CASE WHEN began_at < ? THEN ? ELSE began_at END) / 3600 AS hours, rate FROM items "
        f"WHERE status = {CLAIMED} AND began_at > 0 AND {HELD}) AS at_work",
        now,
        start,
        start,
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
