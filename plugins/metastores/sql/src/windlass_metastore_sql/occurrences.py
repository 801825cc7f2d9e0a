"""What happened to artifacts, noted for the triggers that wait for it.

Nearly always none does: then the rules of triggers, and the models they need, are not even loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from windlass import wire
from windlass_metastore_sql.bells import ALL
from windlass_metastore_sql.database import Tx

if TYPE_CHECKING:
    from windlass.models.artifact import ArtifactVersion
    from windlass.models.schedule import Occurrence, Trigger


def note_version(tx: Tx, version: ArtifactVersion) -> None:
    """Record the events of a version that was made just now."""
    for number, trigger in _waiting(tx, version, "version"):
        from windlass.schedule.triggers import new_version

        if event := new_version(trigger, version):
            _note(tx, number, event)


def note_aliases(tx: Tx, version: ArtifactVersion, moved: list[str], move: str) -> None:
    """Record the events of aliases that point at this version now and did not before."""
    for number, trigger in _waiting(tx, version, "alias") if moved else ():
        from windlass.schedule.triggers import alias_moved

        for alias in moved:
            if event := alias_moved(trigger, version, alias, move):
                _note(tx, number, event)


def _waiting(tx: Tx, version: ArtifactVersion, event: str) -> list[tuple[int, Trigger]]:
    """Triggers of the entity, but not the one whose run has made the version: it would go on for ever."""
    numbers = tx.rows("SELECT id FROM triggers WHERE entity = ? AND event = ? AND paused = 0", version.entity, event)
    if not numbers:
        return []
    from windlass.schedule.triggers import started_by
    from windlass_metastore_sql.tending import TRIGGERS

    run = tx.row("SELECT config FROM runs WHERE id = ?", version.run) if version.run else None
    own = started_by(wire.decode(run[0], dict)) if run is not None and run[0] else ""
    rows = [tx.row(f"SELECT {TRIGGERS.columns} FROM triggers WHERE id = ?", number) for (number,) in numbers]
    found = [(number, TRIGGERS.load(row)) for (number,), row in zip(numbers, rows, strict=True) if row is not None]
    return [(number, trigger) for number, trigger in found if trigger.name != own]


def _note(tx: Tx, number: int, event: Occurrence) -> None:
    tx.run(
        'INSERT INTO occurrences (trigger_id, key, "values") VALUES (?, ?, ?) ON CONFLICT (trigger_id, key) DO NOTHING',
        number,
        event.key,
        wire.encode(event.values).decode(),
    )
    tx.topics.add(ALL)
