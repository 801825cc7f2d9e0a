"""Making a version visible."""

from __future__ import annotations

from windlass import ids
from windlass.artifacts.names import check_alias, check_name, check_project, check_tag, check_type
from windlass.errors import ConflictError, UsageError
from windlass.models.artifact import Collection, Committed, EdgeKind, NewVersion
from windlass_metastore_sql import occurrences, versions
from windlass_metastore_sql.database import Tx, marks
from windlass_metastore_sql.shelf import COLLECTIONS


def commit(tx: Tx, new: NewVersion, now: float) -> Committed:
    """Add the version, or find the one with the same content; then aliases and lineage.

    Raises:
        ConflictError: ``latest`` is not the version any more that the new one was made from.
    """
    _check(new)
    if new.run and new.attempt is not None:
        from windlass_metastore_sql.run_table import get_run
        from windlass_metastore_sql.runs import check_holder

        check_holder(get_run(tx, new.run, lock=True), None, new.attempt)
    number, next_version = _collection(tx, new, now)
    if new.base is not None:
        latest = tx.row("SELECT version_id FROM aliases WHERE collection_id = ? AND alias = 'latest'", number)
        if (latest[0] if latest else "") != new.base:
            raise ConflictError(
                f"somebody has logged a version of '{new.name}' meanwhile",
                hint="Begin with what is the latest version now, and log again.",
            )
    same = tx.row(
        "SELECT id, created_at, ttl_seconds FROM versions WHERE collection_id = ? AND digest = ? AND deleted_at = 0",
        number,
        new.digest,
    )
    if same:
        version_id, created_at, lives = same
        wanted = None if new.ttl_seconds is None else now - created_at + new.ttl_seconds
        if lives is not None and (wanted is None or wanted > lives):
            tx.run("UPDATE versions SET ttl_seconds = ?, updated_at = ? WHERE id = ?", wanted, now, version_id)
    else:
        version_id = _insert(tx, new, number, next_version, now)
    moved = versions.point(tx, number, version_id, ("latest", *new.aliases))
    if new.run:
        versions.link(tx, EdgeKind.OUTPUT, new.run, version_id, now)
    version = versions.by_id(tx, version_id)
    if same is None:
        occurrences.note_version(tx, version)
    occurrences.note_aliases(tx, version, moved, new.run)
    return Committed(version=version, created=same is None)


def _check(new: NewVersion) -> None:
    check_project(new.entity, what="entity")
    check_project(new.project)
    check_name(new.name)
    check_type(new.type)
    for alias in new.aliases:
        check_alias(alias)
    for tag in new.tags:
        check_tag(tag)


def _collection(tx: Tx, new: NewVersion, now: float) -> tuple[int, int]:
    fresh = Collection(
        entity=new.entity, project=new.project, name=new.name, type=new.type, created_at=now, updated_at=now
    )
    tx.run(
        f"INSERT INTO collections ({COLLECTIONS.columns}) VALUES ({marks(len(COLLECTIONS.names))}) "
        "ON CONFLICT (entity, project, name) DO NOTHING",
        *COLLECTIONS.dump(fresh),
    )
    row = tx.row(
        "SELECT id, type, next_version FROM collections WHERE entity = ? AND project = ? AND name = ? {lock}",
        new.entity,
        new.project,
        new.name,
    )
    assert row is not None
    number, kind, next_version = row
    if kind != new.type:
        raise UsageError(
            f"'{new.entity}/{new.project}/{new.name}' is of type '{kind}', not '{new.type}'",
            hint="The first version fixes the type of a name. Choose another name, or that type.",
            context={"type": kind},
        )
    return number, next_version


def _insert(tx: Tx, new: NewVersion, number: int, next_version: int, now: float) -> str:
    tx.run("UPDATE collections SET next_version = ?, updated_at = ? WHERE id = ?", next_version + 1, now, number)
    version = new.numbered(ids.new_id(), next_version, now)
    tx.run(
        f"INSERT INTO versions (collection_id, {versions.VERSIONS.columns}) "
        f"VALUES ({marks(len(versions.VERSIONS.names) + 1)})",
        number,
        *versions.VERSIONS.dump(version),
    )
    return version.id
