"""What time and events bring, done by whoever claims next: items that waited too long, and triggers."""

from __future__ import annotations

from attrs import evolve

from windlass import wire
from windlass.errors import WindlassError
from windlass.models.artifact import ArtifactVersion
from windlass.models.reason import Reason
from windlass.models.run import Run, RunState, RunUpdate
from windlass.models.schedule import Occurrence, Trigger
from windlass.schedule.triggers import alias_moved, cron_due, new_version, next_due, request, run_id_of
from windlass_metastore_sql.arrivals import enqueue
from windlass_metastore_sql.bells import ALL
from windlass_metastore_sql.database import Tx
from windlass_metastore_sql.items import EXPIRING
from windlass_metastore_sql.rows import Mapper, assignments
from windlass_metastore_sql.runs import change_run, get_run

TRIGGERS = Mapper(Trigger)
_AT_ONCE = 100


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
    rows = tx.rows(f'SELECT trigger_id, key, "values" FROM occurrences LIMIT {_AT_ONCE} {{skip}}')
    for number, key, values in rows:
        tx.run("DELETE FROM occurrences WHERE trigger_id = ? AND key = ?", number, key)
        found = tx.row(f"SELECT {TRIGGERS.columns} FROM triggers WHERE id = ? {{lock}}", number)
        if found is not None:
            occurrence = Occurrence(key=key, values=wire.decode(values, dict))
            made += _fire(tx, number, TRIGGERS.load(found), occurrence, now)
    return made


def _fire(tx: Tx, number: int, trigger: Trigger, event: Occurrence, now: float) -> list[Run]:
    changed = evolve(trigger, next_at=next_due(trigger, now), last_at=now)
    made: list[Run] = []
    try:
        made = list(enqueue(tx, [request(trigger, event)], now))
        changed = evolve(changed, fired=trigger.fired + 1, last_run=run_id_of(trigger, event.key), error="")
    except WindlassError as error:  # its queue is gone: the event is over, and the trigger tells why
        changed = evolve(changed, error=f"{event.key}: {error.message}")
    columns = TRIGGERS.changed(trigger, changed)
    tx.run(f"UPDATE triggers SET {assignments(list(columns))} WHERE id = ?", *columns.values(), number)
    return made


def note_version(tx: Tx, version: ArtifactVersion) -> None:
    """Record the events of a version that was made just now."""
    for number, trigger in _waiting(tx, version.entity, "version"):
        if event := new_version(trigger, version):
            _note(tx, number, event)


def note_aliases(tx: Tx, version: ArtifactVersion, moved: list[str], move: str) -> None:
    """Record the events of aliases that point at this version now and did not before."""
    for number, trigger in _waiting(tx, version.entity, "alias") if moved else ():
        for alias in moved:
            if event := alias_moved(trigger, version, alias, move):
                _note(tx, number, event)


def _waiting(tx: Tx, entity: str, event: str) -> list[tuple[int, Trigger]]:
    rows = tx.rows(
        f"SELECT {TRIGGERS.columns}, id FROM triggers WHERE entity = ? AND event = ? AND paused = 0", entity, event
    )
    return [(row[-1], TRIGGERS.load(row)) for row in rows]


def _note(tx: Tx, number: int, event: Occurrence) -> None:
    tx.run(
        'INSERT INTO occurrences (trigger_id, key, "values") VALUES (?, ?, ?) ON CONFLICT (trigger_id, key) DO NOTHING',
        number,
        event.key,
        wire.encode(event.values).decode(),
    )
    tx.topics.add(ALL)
