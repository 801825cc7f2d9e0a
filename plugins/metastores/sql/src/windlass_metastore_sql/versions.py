"""Rows of artifact versions and what points at them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from windlass import wire
from windlass.errors import ArtifactNotFoundError
from windlass.models import artifact as models
from windlass.models.artifact import ArtifactRef, ArtifactVersion, EdgeKind
from windlass_metastore_sql import shelf
from windlass_metastore_sql.database import Row, Tx, marks
from windlass_metastore_sql.rows import Mapper, assignments

_OF_COLLECTION = ("entity", "project", "name", "type")
VERSIONS = Mapper(ArtifactVersion, skip=(*_OF_COLLECTION, "aliases"))
_SELECT = (
    f"SELECT {VERSIONS.prefixed('versions')}, "
    f"{', '.join(f'collections.{name}' for name in _OF_COLLECTION)}, versions.collection_id "
    "FROM versions JOIN collections ON collections.id = versions.collection_id "
)
_NUMBER = re.compile(r"v([0-9]{1,18})")


def find(tx: Tx, ref: ArtifactRef) -> ArtifactVersion:
    """The version that a path names."""
    number, collection = shelf.find(tx, ref.entity, ref.project, ref.name)
    where, value = "versions.id = (SELECT version_id FROM aliases WHERE collection_id = ? AND alias = ?)", ref.selector
    numbered: Sequence[object] = (number, value)
    if match := _NUMBER.fullmatch(ref.selector):
        where, numbered = "versions.collection_id = ? AND versions.version = ?", (number, int(match[1]))
    elif ":" in ref.selector:
        where, numbered = "versions.collection_id = ? AND versions.digest = ?", (number, ref.selector)
    rows = tx.rows(f"{_SELECT}WHERE versions.deleted_at = 0 AND {where}", *numbered)
    if rows:
        return _with_aliases(tx, rows)[0]
    aliases = [a for (a,) in tx.rows("SELECT alias FROM aliases WHERE collection_id = ? ORDER BY alias", number)]
    there = ", ".join(aliases) or "no alias"
    hint = f"There: {there}; {collection.versions} versions, the last is v{collection.latest}."
    if not collection.versions:
        hint = "No version of it is left."
    deleted = tx.row("SELECT max(version) FROM versions WHERE collection_id = ? AND deleted_at <> 0", number)
    if deleted and deleted[0] is not None:
        name = f"{ref.entity}/{ref.project}/{ref.name}"
        hint += f" Deleted ones can be restored: 'windlass artifact restore {name}:v{deleted[0]}'."
    raise ArtifactNotFoundError(
        f"there is no '{ref.selector}' of '{ref.entity}/{ref.project}/{ref.name}'",
        hint=hint,
        context={"selector": ref.selector, "aliases": aliases, "versions": collection.versions},
    )


def by_id(tx: Tx, version_id: str) -> ArtifactVersion:
    """The version with that id, deleted ones included."""
    return _by_id(tx, version_id)[1]


def lock(tx: Tx, version_id: str) -> tuple[int, ArtifactVersion]:
    """Its collection's number and the version; the collection is locked until the end of the transaction."""
    number, _ = _by_id(tx, version_id)
    tx.row("SELECT id FROM collections WHERE id = ? {lock}", number)
    return _by_id(tx, version_id)


def _by_id(tx: Tx, version_id: str) -> tuple[int, ArtifactVersion]:
    rows = tx.rows(_SELECT + "WHERE versions.id = ?", version_id)
    if not rows:
        raise ArtifactNotFoundError(f"there is no artifact version with id '{version_id}'", hint="It may be purged.")
    return rows[0][-1], _with_aliases(tx, rows)[0]


def search(tx: Tx, where: models.ArtifactFilter) -> tuple[ArtifactVersion, ...]:
    """Versions, newest first."""
    tests = [f"versions.deleted_at {'>' if where.deleted else '='} 0"]
    values: list[object] = []
    for name in _OF_COLLECTION:
        if wanted := getattr(where, name):
            tests.append(f"collections.{name} = ?")
            values.append(wanted)
    if where.alias:
        tests.append("versions.id IN (SELECT version_id FROM aliases WHERE alias = ?)")
        values.append(where.alias)
    for tag in where.tags:
        tests.append("replace(versions.tags, ?, '') <> versions.tags")
        values.append(wire.encode(tag).decode())
    if where.before:
        tests.append("versions.seq < (SELECT seq FROM versions WHERE id = ?)")
        values.append(where.before)
    rows = tx.rows(f"{_SELECT}WHERE {' AND '.join(tests)} ORDER BY versions.seq DESC LIMIT ?", *values, where.limit)
    return tuple(_with_aliases(tx, rows))


def _with_aliases(tx: Tx, rows: Sequence[Row]) -> list[ArtifactVersion]:
    aliases: dict[str, list[str]] = {row[0]: [] for row in rows}
    wanted = list(aliases)
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        sql = f"SELECT version_id, alias FROM aliases WHERE version_id IN ({marks(len(part))}) ORDER BY alias"
        for version_id, alias in tx.rows(sql, *part):
            aliases[version_id].append(alias)
    width = len(VERSIONS.names)
    return [
        VERSIONS.load(
            row, aliases=tuple(aliases[row[0]]), **dict(zip(_OF_COLLECTION, row[width : width + 4], strict=True))
        )
        for row in rows
    ]


def save(tx: Tx, old: ArtifactVersion, new: ArtifactVersion) -> None:
    """Write the columns that differ."""
    if changed := VERSIONS.changed(old, new):
        tx.run(f"UPDATE versions SET {assignments(list(changed))} WHERE id = ?", *changed.values(), old.id)


def point(tx: Tx, number: int, version_id: str, aliases: Iterable[str]) -> list[str]:
    """Make aliases point at a version, away from where they did; returns those that did not point there before."""
    return [
        alias
        for alias in dict.fromkeys(aliases)
        if tx.run(
            "INSERT INTO aliases (collection_id, alias, version_id) VALUES (?, ?, ?) "
            "ON CONFLICT (collection_id, alias) DO UPDATE SET version_id = excluded.version_id "
            "WHERE aliases.version_id <> excluded.version_id",
            number,
            alias,
            version_id,
        )
    ]


def renew_latest(tx: Tx, number: int) -> None:
    """Let ``latest`` point at the newest version that is left, if it points at none."""
    if tx.row("SELECT 1 FROM aliases WHERE collection_id = ? AND alias = 'latest'", number):
        return
    newest = tx.row(
        "SELECT id FROM versions WHERE collection_id = ? AND deleted_at = 0 ORDER BY version DESC LIMIT 1", number
    )
    if newest:
        point(tx, number, newest[0], ("latest",))


def link(tx: Tx, kind: EdgeKind, run_id: str, version_id: str, now: float) -> None:
    """Record a lineage edge once."""
    tx.run(
        "INSERT INTO edges (kind, run, version, created_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (run, version, kind) DO NOTHING",
        kind.value,
        run_id,
        version_id,
        now,
    )


def expired(tx: Tx, before: float) -> list[tuple[str, int]]:
    """Ids and collection numbers of versions that were deleted, or whose life time ended, before a time."""
    found = list(tx.rows("SELECT id, collection_id FROM versions WHERE deleted_at > 0 AND deleted_at < ?", before))
    out = tx.rows(
        _SELECT + "WHERE versions.deleted_at = 0 AND versions.ttl_seconds IS NOT NULL "
        "AND versions.created_at + versions.ttl_seconds < ?",
        before,
    )
    for row, version in zip(out, _with_aliases(tx, out), strict=True):
        _, collection = shelf.find(tx, version.entity, version.project, version.name)
        if not set(version.aliases) & set(collection.protected_aliases):
            found.append((version.id, row[-1]))
    return [(version_id, number) for version_id, number in found]


def held_by_expired(tx: Tx, before: float) -> set[str]:
    """Manifests that no version and no part holds but those that `expired` gives."""
    gone = [version_id for version_id, _ in expired(tx, before)]
    found: set[str] = set()
    held: dict[str, int] = {}
    for start in range(0, len(gone), 500):
        part = gone[start : start + 500]
        for (manifest,) in tx.rows(f"SELECT manifest FROM versions WHERE id IN ({marks(len(part))})", *part):
            held[manifest] = held.get(manifest, 0) + 1
    names = list(held)
    for start in range(0, len(names), 500):
        part = names[start : start + 500]
        counted = tx.rows(
            "SELECT manifest, count(*) FROM "
            "(SELECT manifest FROM versions UNION ALL SELECT manifest FROM parts) AS users "
            f"WHERE manifest IN ({marks(len(part))}) GROUP BY manifest",
            *part,
        )
        found.update(manifest for manifest, count in counted if count == held[manifest])
    return found
