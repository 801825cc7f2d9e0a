"""The index of artifacts: versions, aliases, lineage, uploads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import inf
from typing import Any

from msgspec.structs import replace

from windlass import ids
from windlass.artifacts.names import check_alias, check_tag
from windlass.errors import ConflictError, StoreUnavailableError, UsageError
from windlass.metastore import ArtifactStore
from windlass.models import artifact as models
from windlass.models.artifact import ArtifactRef, ArtifactVersion, Collection, EdgeKind
from windlass_metastore_sql import shelf, versions
from windlass_metastore_sql.database import Database, Row, Tx, marks
from windlass_metastore_sql.occurrences import note_aliases
from windlass_metastore_sql.rows import Mapper, assignments

UPLOAD_SECONDS = 600.0
"""An upload session ends so long after its last renewal."""


class SqlArtifacts(ArtifactStore):
    """Artifacts in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def commit(self, new: models.NewVersion) -> models.Committed:
        """See `ArtifactStore.commit`. Raises `ConflictError` when the upload session has ended meanwhile."""
        from windlass_metastore_sql.commits import commit  # who only gets makes no class of what is committed

        with self._db.write() as tx:
            if new.upload and not _live_upload(tx, new.upload, self._db.now()):
                raise ConflictError(
                    "the upload session has ended; its blobs may have been collected",
                    hint="Begin a new session, ask which blobs are missing, and commit again.",
                )
            committed = commit(tx, new, self._db.now())
            noted = bool(tx.topics)
        if noted:
            self._fire()
        return committed

    def _fire(self) -> None:
        """Put the requests of triggers on their queues at once; if that fails, the next claim does."""
        import logging

        from windlass_metastore_sql.tending import fire

        try:
            with self._db.write() as tx:
                fire(tx, self._db.now())
        except StoreUnavailableError:
            logging.getLogger(__name__).debug("triggers wait for the next claim", exc_info=True)

    def get(self, ref: ArtifactRef) -> ArtifactVersion:
        """See `ArtifactStore.get`."""
        with self._db.read() as tx:
            return versions.find(tx, ref)

    def get_by_id(self, version_id: str) -> ArtifactVersion:
        """See `ArtifactStore.get_by_id`."""
        with self._db.read() as tx:
            return versions.by_id(tx, version_id)

    def list(self, where: models.ArtifactFilter) -> tuple[ArtifactVersion, ...]:
        """See `ArtifactStore.list`."""
        with self._db.read() as tx:
            return versions.search(tx, where)

    def collection(self, entity: str, project: str, name: str) -> Collection:
        """See `ArtifactStore.collection`."""
        with self._db.read() as tx:
            return shelf.find(tx, entity, project, name)[1]

    def collections(self, entity: str = "", project: str = "", type: str = "") -> tuple[Collection, ...]:
        """See `ArtifactStore.collections`."""
        with self._db.read() as tx:
            return shelf.search(tx, {"entity": entity, "project": project, "type": type})

    def update_collection(self, entity: str, project: str, name: str, changes: models.CollectionUpdate) -> Collection:
        """See `ArtifactStore.update_collection`."""
        for tag in changes.tags or ():
            check_tag(tag)
        for alias in changes.protected_aliases or ():
            check_alias(alias)
        with self._db.write() as tx:
            number, old = shelf.find(tx, entity, project, name, lock=True)
            values: dict[str, Any] = {
                field: value
                for field in ("description", "tags", "protected_aliases")
                if (value := getattr(changes, field)) is not None
            }
            new = replace(old, updated_at=self._db.now(), **values)
            changed = shelf.COLLECTIONS.changed(old, new)
            tx.run(f"UPDATE collections SET {assignments(list(changed))} WHERE id = ?", *changed.values(), number)
            return new

    def update(self, version_id: str, changes: models.VersionUpdate) -> ArtifactVersion:
        """See `ArtifactStore.update`."""
        for alias in changes.add_aliases:
            check_alias(alias)
        for tag in changes.add_tags:
            check_tag(tag)
        if "latest" in changes.remove_aliases:
            raise UsageError(
                "'latest' cannot be removed", hint="It always points at a version; move it to another one."
            )
        with self._db.write() as tx:
            number, old = versions.lock(tx, version_id)
            if old.deleted_at and changes.add_aliases:
                raise ConflictError(f"{old.path} is deleted; it takes no alias", hint="Restore it first.")
            values: dict[str, Any] = {
                "tags": tuple(
                    tag for tag in dict.fromkeys((*old.tags, *changes.add_tags)) if tag not in changes.remove_tags
                ),
                "signatures": old.signatures + tuple(s for s in changes.add_signatures if s not in old.signatures),
                "updated_at": self._db.now(),
            }
            for field in ("description", "metadata"):
                if (value := getattr(changes, field)) is not None:
                    values[field] = value
            if changes.ttl_seconds is not None:
                values["ttl_seconds"] = changes.ttl_seconds if changes.ttl_seconds >= 0 else None
            versions.save(tx, old, replace(old, **values))
            for alias in changes.remove_aliases:
                tx.run("DELETE FROM aliases WHERE version_id = ? AND alias = ?", version_id, alias)
            moved = versions.point(tx, number, version_id, changes.add_aliases)
            version = versions.by_id(tx, version_id)
            note_aliases(tx, version, moved, changes.run)
            noted = bool(tx.topics)
        if noted:
            self._fire()
        return version

    def delete(self, version_id: str, force: bool = False) -> ArtifactVersion:
        """See `ArtifactStore.delete`. May be repeated."""
        with self._db.write() as tx:
            number, version = versions.lock(tx, version_id)
            if version.deleted_at:
                return version
            shelf.check_unprotected(tx, number, version)
            held = [alias for alias in version.aliases if alias != "latest"]
            if held and not force:
                raise ConflictError(
                    f"{version.path} has the alias {', '.join(held)}",
                    hint="Remove the alias, or force it: --force, delete_aliases=True.",
                )
            tx.run("UPDATE versions SET deleted_at = ? WHERE id = ?", self._db.now(), version_id)
            tx.run("DELETE FROM aliases WHERE version_id = ?", version_id)
            versions.renew_latest(tx, number)
            return versions.by_id(tx, version_id)

    def restore(self, version_id: str) -> ArtifactVersion:
        """See `ArtifactStore.restore`. May be repeated.

        Raises `ConflictError` when the collection holds another version with the same content by now.
        """
        with self._db.write() as tx:
            number, version = versions.lock(tx, version_id)
            if not version.deleted_at:
                return version
            twin = tx.row(
                "SELECT version FROM versions WHERE collection_id = ? AND digest = ? AND deleted_at = 0",
                number,
                version.digest,
            )
            if twin:
                raise ConflictError(
                    f"{version.path} cannot come back: v{twin[0]} has the same content", hint="Use that."
                )
            tx.run("UPDATE versions SET deleted_at = 0 WHERE id = ?", version_id)
            newest = tx.row("SELECT max(version) FROM versions WHERE collection_id = ? AND deleted_at = 0", number)
            if newest and newest[0] == version.version:
                versions.point(tx, number, version_id, ("latest",))
            return versions.by_id(tx, version_id)

    def use(self, run_id: str, version_id: str, attempt: int | None = None) -> None:
        """See `ArtifactStore.use`."""
        from windlass_metastore_sql.run_table import get_run
        from windlass_metastore_sql.runs import check_holder

        with self._db.write(durable=False) as tx:
            check_holder(get_run(tx, run_id), None, attempt)
            versions.by_id(tx, version_id)
            versions.link(tx, EdgeKind.INPUT, run_id, version_id, self._db.now())

    def edges(
        self, run_id: str = "", version_id: str = "", kind: EdgeKind | None = None, collected: bool = False
    ) -> tuple[models.LineageEdge, ...]:
        """See `ArtifactStore.edges`."""
        wanted = {"run": run_id, "version": version_id, "kind": kind.value if kind else ""}
        if not run_id and not version_id:
            raise UsageError("lineage of what?", hint="Give a run or a version.")
        tests = {f"{name} = ?": value for name, value in wanted.items() if value}
        where = " AND ".join([*tests, *(() if collected else ("collected = ''",))])
        sql = f"SELECT kind, run, version, created_at, collected FROM edges WHERE {where} ORDER BY created_at, version"
        with self._db.read() as tx:
            rows = tx.rows(sql, *tests.values())
        return tuple(
            models.LineageEdge(kind=EdgeKind(k), run=r, version=v, created_at=t, collected=c) for k, r, v, t, c in rows
        )

    def begin_upload(self, owner: str) -> str:
        """See `ArtifactStore.begin_upload`."""
        upload, now = ids.new_id(), self._db.now()
        with self._db.write() as tx:
            tx.run("DELETE FROM uploads WHERE renewed_at < ?", now - UPLOAD_SECONDS)
            tx.run("INSERT INTO uploads (id, owner, began_at, renewed_at) VALUES (?, ?, ?, ?)", upload, owner, now, now)
        return upload

    def renew_upload(self, upload: str) -> None:
        """See `ArtifactStore.renew_upload`. Raises `ConflictError` when it has ended."""
        now = self._db.now()
        with self._db.write(durable=False) as tx:
            if not _live_upload(tx, upload, now):
                raise ConflictError("the upload session has ended", hint="Begin a new one and check the blobs again.")
            tx.run("UPDATE uploads SET renewed_at = ? WHERE id = ?", now, upload)

    def end_upload(self, upload: str) -> None:
        """See `ArtifactStore.end_upload`."""
        with self._db.write(durable=False) as tx:
            tx.run("DELETE FROM uploads WHERE id = ?", upload)

    def oldest_upload(self) -> float:
        """See `ArtifactStore.oldest_upload`."""
        with self._db.read() as tx:
            row = tx.row("SELECT min(began_at) FROM uploads WHERE renewed_at >= ?", self._db.now() - UPLOAD_SECONDS)
        return row[0] if row and row[0] is not None else inf

    def roots(self, after: str = "", limit: int = 10000, without: float = 0.0) -> tuple[models.ManifestRoot, ...]:
        """See `ArtifactStore.roots`. One for each manifest, also when several versions share it."""
        with self._db.read() as tx:
            left_out = versions.held_by_expired(tx, without) if without else set()
            while rows := self._roots(tx, after, limit):
                if kept := [row for row in rows if row[0] not in left_out]:
                    return tuple(models.ManifestRoot(manifest=m, version=v, deleted_at=d) for m, v, d in kept)
                after = rows[-1][0]
        return ()

    @staticmethod
    def _roots(tx: Tx, after: str, limit: int) -> tuple[Row, ...]:
        return tuple(
            tx.rows(
                "SELECT manifest, max(version), min(deleted_at) FROM ("
                "SELECT manifest, id AS version, deleted_at FROM versions WHERE manifest > ? UNION ALL "
                "SELECT manifest, '', 0.0 FROM parts WHERE manifest > ?) AS all_roots "
                "GROUP BY manifest ORDER BY manifest LIMIT ?",
                after,
                after,
                limit,
            )
        )

    def purge(self, deleted_before: float, dry_run: bool = False) -> tuple[str, ...]:
        """See `ArtifactStore.purge`."""
        if dry_run:
            with self._db.read() as tx:
                return tuple(version_id for version_id, _ in versions.expired(tx, deleted_before))
        with self._db.write() as tx:
            gone = versions.expired(tx, deleted_before)
            for start in range(0, len(gone), 500):
                part = gone[start : start + 500]
                purged = [version_id for version_id, _ in part]
                tx.run(
                    "UPDATE edges SET collected = (SELECT c.entity || '/' || c.project || '/' || c.name || ':v' || "
                    "v.version FROM versions v JOIN collections c ON c.id = v.collection_id "
                    f"WHERE v.id = edges.version) WHERE version IN ({marks(len(purged))})",
                    *purged,
                )
                for table, column in (("aliases", "version_id"), ("versions", "id")):
                    tx.run(f"DELETE FROM {table} WHERE {column} IN ({marks(len(purged))})", *purged)
            for number in {number for _, number in gone}:
                versions.renew_latest(tx, number)
        return tuple(version_id for version_id, _ in gone)

    def add_part(self, part: models.DistributedPart) -> None:
        """See `ArtifactStore.add_part`."""
        rows = _part_rows()
        sql = (
            f"INSERT INTO parts ({rows.columns}) VALUES ({marks(len(rows.names))}) "
            'ON CONFLICT (entity, project, name, "group", part) '
            "DO UPDATE SET manifest = excluded.manifest, type = excluded.type, origins = excluded.origins"
        )
        with self._db.write() as tx:
            tx.run(sql, *rows.dump(part))

    def take_parts(
        self, entity: str, project: str, name: str, group: str, remove: bool = False
    ) -> tuple[models.DistributedPart, ...]:
        """See `ArtifactStore.take_parts`."""
        where = 'WHERE entity = ? AND project = ? AND name = ? AND "group" = ?'
        values: Sequence[str] = (entity, project, name, group)
        parts = _part_rows()
        with self._db.write() if remove else self._db.read() as tx:
            rows = tx.rows(f"SELECT {parts.columns} FROM parts {where} ORDER BY part", *values)
            if remove:
                tx.run(f"DELETE FROM parts {where}", *values)
        return tuple(parts.load(row) for row in rows)


@cache
def _part_rows() -> Mapper[models.DistributedPart]:
    return Mapper(models.DistributedPart)


def _live_upload(tx: Tx, upload: str, now: float) -> bool:
    row = tx.row("SELECT 1 FROM uploads WHERE id = ? AND renewed_at >= ? {lock}", upload, now - UPLOAD_SECONDS)
    return row is not None
