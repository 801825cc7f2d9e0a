"""Collections: all versions of one name."""

from __future__ import annotations

from collections.abc import Mapping

from windlass.errors import ArtifactNotFoundError, ConflictError
from windlass.models.artifact import ArtifactVersion, Collection
from windlass_metastore_sql.database import Tx
from windlass_metastore_sql.rows import Mapper

COLLECTIONS = Mapper(Collection, skip=("versions", "latest"))
_COUNTS = (
    "(SELECT count(*) FROM versions WHERE collection_id = collections.id AND deleted_at = 0), "
    "(SELECT versions.version FROM aliases JOIN versions ON versions.id = aliases.version_id "
    "WHERE aliases.collection_id = collections.id AND aliases.alias = 'latest'), id"
)
_SELECT = f"SELECT {COLLECTIONS.columns}, {_COUNTS} FROM collections "


def find(tx: Tx, entity: str, project: str, name: str, *, lock: bool = False) -> tuple[int, Collection]:
    """A collection and its number. Raises `ArtifactNotFoundError` naming those there are."""
    if lock:
        tx.row("SELECT id FROM collections WHERE entity = ? AND project = ? AND name = ? {lock}", entity, project, name)
    row = tx.row(_SELECT + "WHERE entity = ? AND project = ? AND name = ?", entity, project, name)
    if row is not None:
        return int(row[-1]), _load(row)
    there = [
        other
        for (other,) in tx.rows(
            "SELECT name FROM collections WHERE entity = ? AND project = ? ORDER BY name LIMIT 20", entity, project
        )
    ]
    elsewhere = tx.rows(
        "SELECT project FROM collections WHERE entity = ? AND name = ? ORDER BY project LIMIT 5", entity, name
    )
    if elsewhere:
        hint = f"In another project: {', '.join(f'{other}/{name}' for (other,) in elsewhere)}."
    else:
        hint = f"There: {', '.join(there)}." if there else "Nothing was logged in that project yet."
    raise ArtifactNotFoundError(
        f"there is no artifact '{name}' in '{entity}/{project}'",
        hint=hint,
        context={"entity": entity, "project": project, "name": name, "there": there},
    )


def search(tx: Tx, wanted: Mapping[str, str]) -> tuple[Collection, ...]:
    """Collections by entity, project and name."""
    tests = {f"{name} = ?": value for name, value in wanted.items() if value}
    where = f"WHERE {' AND '.join(tests)} " if tests else ""
    rows = tx.rows(f"{_SELECT}{where}ORDER BY entity, project, name", *tests.values())
    return tuple(_load(row) for row in rows)


def check_unprotected(tx: Tx, number: int, version: ArtifactVersion) -> None:
    """Raise `ConflictError` when a version has a protected alias."""
    row = tx.row(f"SELECT {COLLECTIONS.columns} FROM collections WHERE id = ? {{lock}}", number)
    assert row is not None
    held = [alias for alias in version.aliases if alias in COLLECTIONS.load(row).protected_aliases]
    if held:
        raise ConflictError(
            f"{version.path} has the protected alias {', '.join(held)}",
            hint="An owner can move the alias, or lift its protection.",
        )


def _load(row: tuple[object, ...]) -> Collection:
    count, latest = row[-3], row[-2]
    return COLLECTIONS.load(row, versions=count, latest=-1 if latest is None else latest)
