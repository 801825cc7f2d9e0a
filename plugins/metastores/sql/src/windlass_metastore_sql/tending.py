"""What time and events bring, done by whoever claims next: items that waited too long, and triggers."""

from __future__ import annotations

from attrs import evolve

from windlass.errors import WindlassError
from windlass.models.reason import Reason
from windlass.models.run import Run, RunState, RunUpdate
from windlass.models.schedule import Occurrence, Trigger
from windlass.schedule.triggers import cron_due, next_due, request, run_id_of
from windlass_metastore_sql.arrivals import enqueue
from windlass_metastore_sql.database import Tx
from windlass_metastore_sql.items import EXPIRING
from windlass_metastore_sql.rows import Mapper, assignments
from windlass_metastore_sql.run_table import get_run
from windlass_metastore_sql.runs import change_run

TRIGGERS = Mapper(Trigger)
OCCURRENCES = Mapper(Occurrence)
_AT_ONCE = 100
_SLACK = 60.0


def tend(tx: Tx, now: float) -> None:
    """Kill what has waited too long, and put the requests of triggers on their queues."""
    _expire(tx, now)
    fire(tx, now)


def _expire(tx: Tx, now: float) -> None:
    rows = tx.rows(
        f"SELECT run_id, deadline_at FROM items WHERE {EXPIRING} AND expires_at <= ? "
        f"ORDER BY expires_at LIMIT {_AT_ONCE} {{skip}}",
        now,
    )
    for run_id, deadline_at in rows:
        run = get_run(tx, run_id, lock=True)
        late = 0 < deadline_at <= now
        reason = Reason(
            code="deadline" if late else "queue-timeout",
            message="it was not over within its deadline"
            if late
            else "it waited in the queue for longer than its policy allows",
            hint=f"windlass run retry {run_id}",
        )
        if not run.state.is_terminal:  # it may have gone with another one that it depended on
            change_run(tx, run, RunUpdate(state=RunState.KILLED, reason=reason), now)


def fire(tx: Tx, now: float) -> list[Run]:
    """Put the requests of events on their queues. The rows of an event are locked, so nobody else does."""
    made: list[Run] = []
    rows = tx.rows(
        f"SELECT {TRIGGERS.columns}, id FROM triggers WHERE next_at > 0 AND next_at <= ? LIMIT {_AT_ONCE} {{skip}}", now
    )
    for row in rows:
        trigger = TRIGGERS.load(row)
        made += _fire(tx, row[-1], trigger, cron_due(trigger), now)
    rows = tx.rows(f"SELECT {OCCURRENCES.columns}, trigger_id FROM occurrences LIMIT {_AT_ONCE} {{skip}}")
    for row in rows:
        event, number = OCCURRENCES.load(row), row[-1]
        tx.run("DELETE FROM occurrences WHERE trigger_id = ? AND key = ?", number, event.key)
        found = tx.row(f"SELECT {TRIGGERS.columns} FROM triggers WHERE id = ? {{lock}}", number)
        if found is not None:
            made += _fire(tx, number, TRIGGERS.load(found), event, now)
    return made


def set_back(tx: Tx, now: float) -> None:
    """Reckon schedules anew that were reckoned while the clock was ahead: else they wait until it is there again."""
    rows = tx.rows(
        f"SELECT {TRIGGERS.columns}, id FROM triggers WHERE next_at > 0 AND (last_at > ? OR updated_at > ?) {{skip}}",
        now + _SLACK,
        now + _SLACK,
    )
    for row in rows:
        trigger = TRIGGERS.load(row)
        try:
            due = next_due(trigger, now)
        except WindlassError:
            continue  # no data of its time zone on this host
        tx.run("UPDATE triggers SET next_at = ?, last_at = ?, updated_at = ? WHERE id = ?",
               due, min(trigger.last_at, now), now, row[-1])  # fmt: skip


def _fire(tx: Tx, number: int, trigger: Trigger, event: Occurrence, now: float) -> list[Run]:
    made: list[Run] = []
    try:
        changed = evolve(trigger, next_at=next_due(trigger, now), last_at=now)
    except WindlassError as error:  # no data of its time zone on this host: left to others, and nobody is kept up
        changed = evolve(trigger, error=f"{event.key}: {error.message}")
    else:
        try:
            made = list(enqueue(tx, [request(trigger, event)], now))
            changed = evolve(changed, fired=trigger.fired + 1, last_run=run_id_of(trigger, event.key), error="")
        except WindlassError as error:  # its queue is gone, say: the event is over, and the trigger tells why
            changed = evolve(changed, error=f"{event.key}: {error.message}")
    if columns := TRIGGERS.changed(trigger, changed):
        tx.run(f"UPDATE triggers SET {assignments(list(columns))} WHERE id = ?", *columns.values(), number)
    return made
