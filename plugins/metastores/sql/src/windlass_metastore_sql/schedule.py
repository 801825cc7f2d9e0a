"""Triggers and budgets."""

from __future__ import annotations

from attrs import evolve

from windlass.errors import ConflictError, NotFoundError
from windlass.metastore import ScheduleStore
from windlass.models.schedule import Budget, Trigger
from windlass.schedule.costs import check_budget
from windlass.schedule.triggers import check_trigger, next_due
from windlass_metastore_sql import budgets
from windlass_metastore_sql.bells import ALL
from windlass_metastore_sql.claims import find_queue
from windlass_metastore_sql.database import Database, Tx, marks
from windlass_metastore_sql.tending import TRIGGERS


class SqlSchedule(ScheduleStore):
    """Triggers and budgets in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def create_trigger(self, trigger: Trigger) -> Trigger:
        """See `ScheduleStore.create_trigger`."""
        check_trigger(trigger)
        now = self._db.now()
        trigger = evolve(
            trigger, next_at=next_due(trigger, now), fired=0, last_run="", last_at=0.0, error="", created_at=now,
            updated_at=now,
        )  # fmt: skip
        with self._db.write() as tx:
            find_queue(tx, trigger.queue)
            count = tx.run(
                f"INSERT INTO triggers ({TRIGGERS.columns}) VALUES ({marks(len(TRIGGERS.names))}) "
                "ON CONFLICT (entity, name) DO NOTHING",
                *TRIGGERS.dump(trigger),
            )
            if not count:
                raise ConflictError(
                    f"there is a trigger '{trigger.name}' in '{trigger.entity}' already", hint="Choose another name."
                )
            tx.topics.add(ALL)  # waiting agents must know when it is due
        return trigger

    def get_trigger(self, entity: str, name: str) -> Trigger:
        """See `ScheduleStore.get_trigger`."""
        with self._db.read() as tx:
            return _find(tx, entity, name)

    def triggers(self, entity: str = "") -> tuple[Trigger, ...]:
        """See `ScheduleStore.triggers`."""
        where, values = ("WHERE entity = ? ", (entity,)) if entity else ("", ())
        with self._db.read() as tx:
            rows = tx.rows(f"SELECT {TRIGGERS.columns} FROM triggers {where}ORDER BY entity, name", *values)
        return tuple(TRIGGERS.load(row) for row in rows)

    def pause_trigger(self, entity: str, name: str, paused: bool) -> Trigger:
        """See `ScheduleStore.pause_trigger`."""
        now = self._db.now()
        with self._db.write() as tx:
            old = _find(tx, entity, name, lock=True)
            new = evolve(old, paused=paused, updated_at=now)
            new = evolve(new, next_at=next_due(new, now))
            tx.run(
                "UPDATE triggers SET paused = ?, next_at = ?, updated_at = ? WHERE entity = ? AND name = ?",
                int(paused),
                new.next_at,
                now,
                entity,
                name,
            )
            tx.topics.add(ALL)
        return new

    def delete_trigger(self, entity: str, name: str) -> None:
        """See `ScheduleStore.delete_trigger`."""
        with self._db.write() as tx:
            _find(tx, entity, name)
            tx.run(
                "DELETE FROM occurrences WHERE trigger_id IN (SELECT id FROM triggers WHERE entity = ? AND name = ?)",
                entity,
                name,
            )
            tx.run("DELETE FROM triggers WHERE entity = ? AND name = ?", entity, name)

    def set_budget(self, budget: Budget) -> Budget:
        """See `ScheduleStore.set_budget`."""
        check_budget(budget)
        key = (budget.entity, budget.user, budget.unit.value)
        with self._db.write() as tx:
            if budget.limit < 0:
                tx.run('DELETE FROM budgets WHERE entity = ? AND "user" = ? AND unit = ?', *key)
            else:
                tx.run(
                    'INSERT INTO budgets (entity, "user", unit, "limit") VALUES (?, ?, ?, ?) '
                    'ON CONFLICT (entity, "user", unit) DO UPDATE SET "limit" = excluded."limit"',
                    *key,
                    budget.limit,
                )
            tx.topics.add(ALL)
            found = budgets.budgets(tx, self._db.now(), budget.entity)
        return next((b for b in found if (b.entity, b.user, b.unit.value) == key), budget)

    def budgets(self, entity: str = "") -> tuple[Budget, ...]:
        """See `ScheduleStore.budgets`."""
        with self._db.read() as tx:
            return tuple(budgets.budgets(tx, self._db.now(), entity))


def _find(tx: Tx, entity: str, name: str, *, lock: bool = False) -> Trigger:
    sql = f"SELECT {TRIGGERS.columns} FROM triggers WHERE entity = ? AND name = ?{' {lock}' if lock else ''}"
    row = tx.row(sql, entity, name)
    if row is not None:
        return TRIGGERS.load(row)
    names = [n for (n,) in tx.rows("SELECT name FROM triggers WHERE entity = ? ORDER BY name LIMIT 20", entity)]
    raise NotFoundError(
        f"there is no trigger '{name}' in '{entity}'",
        hint=f"Triggers there: {', '.join(names)}." if names else "Make one: windlass trigger create …",
        context={"trigger": name, "entity": entity, "there": names},
    )
