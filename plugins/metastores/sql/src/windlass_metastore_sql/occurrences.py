"""What happened to artifacts, noted for the triggers that wait for it.

Nearly always none does: then the rules of triggers, and the models they need, are not even loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from windlass import ids, wire
from windlass_metastore_sql.bells import ALL
from windlass_metastore_sql.database import Tx, marks

if TYPE_CHECKING:
    from windlass.models.artifact import ArtifactVersion
    from windlass.models.schedule import Occurrence, Trigger


def note_version(tx: Tx, version: ArtifactVersion) -> None:
    """Record the events of a version that was made just now."""
    for number, trigger, chain in _waiting(tx, version, "version", version.run):
        from windlass.schedule.triggers import new_version

        if event := new_version(trigger, version, chain):
            _note(tx, number, event)


def note_aliases(tx: Tx, version: ArtifactVersion, moved: list[str], run: str) -> None:
    """Record the events of aliases that point at this version now and did not before; `run` has moved them, if any."""
    move = ids.new_id()
    for number, trigger, chain in _waiting(tx, version, "alias", run) if moved else ():
        from windlass.schedule.triggers import alias_moved

        for alias in moved:
            if event := alias_moved(trigger, version, chain, alias, move):
                _note(tx, number, event)


def _waiting(tx: Tx, version: ArtifactVersion, event: str, run: str) -> list[tuple[int, Trigger, tuple[str, ...]]]:
    """Triggers of the version's entity, and which ones have led to the run that did this."""
    numbers = tx.rows("SELECT id FROM triggers WHERE entity = ? AND event = ? AND paused = 0", version.entity, event)
    if not numbers:
        return []
    from windlass.schedule.triggers import chain_of
    from windlass_metastore_sql.tending import TRIGGERS

    row = tx.row("SELECT config FROM runs WHERE id = ?", run) if run else None
    chain = chain_of(wire.decode(row[0], dict)) if row is not None and row[0] else ()
    rows = [tx.row(f"SELECT {TRIGGERS.columns} FROM triggers WHERE id = ?", number) for (number,) in numbers]
    return [(n, TRIGGERS.load(row), chain) for (n,), row in zip(numbers, rows, strict=True) if row is not None]


def _note(tx: Tx, number: int, event: Occurrence) -> None:
    from windlass_metastore_sql.tending import OCCURRENCES

    tx.run(
        f"INSERT INTO occurrences (trigger_id, {OCCURRENCES.columns}) VALUES ({marks(len(OCCURRENCES.names) + 1)}) "
        "ON CONFLICT (trigger_id, key) DO NOTHING",
        number,
        *OCCURRENCES.dump(event),
    )
    tx.topics.add(ALL)
