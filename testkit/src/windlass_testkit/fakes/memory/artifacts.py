"""The artifact index in memory."""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterable

from attrs import evolve
from msgspec.structs import replace

from windlass.artifacts.names import check_alias, check_name, check_tag, check_type
from windlass.errors import ArtifactNotFoundError, ConflictError, NotFoundError, UsageError
from windlass.ids import new_id
from windlass.metastore import ArtifactStore
from windlass.models.artifact import (
    ArtifactFilter,
    ArtifactRef,
    ArtifactVersion,
    Collection,
    CollectionUpdate,
    Committed,
    DistributedPart,
    EdgeKind,
    LineageEdge,
    ManifestRoot,
    NewVersion,
    VersionUpdate,
)
from windlass_testkit.fakes.faults import Faults, faulty
from windlass_testkit.fakes.memory.tending import note_aliases, note_version
from windlass_testkit.fakes.memory.world import Upload, World

__all__ = ["MemoryArtifacts"]

UPLOAD_LIFE = 600.0


@faulty
class MemoryArtifacts(ArtifactStore):
    """See `ArtifactStore`."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self.faults = faults

    def commit(self, new: NewVersion) -> Committed:
        _check(new)
        key = (new.entity, new.project, new.name)
        with self._world.changing(ring=True) as now:
            if new.run and new.attempt is not None:
                self._world.guarded(new.run, attempt=new.attempt)
            collection = self._world.collections.get(key)
            if collection is not None and collection.type != new.type:
                raise UsageError(
                    f"'{new.name}' is of the type '{collection.type}', not '{new.type}'", hint="Choose another name."
                )
            if collection is None:
                collection = Collection(
                    entity=new.entity, project=new.project, name=new.name, type=new.type, created_at=now, updated_at=now
                )
                self._world.collections[key] = collection
            latest = next((v.id for v in self._live(key) if "latest" in v.aliases), "")
            if new.base is not None and latest != new.base:
                raise ConflictError("somebody has logged a version meanwhile", hint="Begin with what is latest now.")
            same = [v for v in self._live(key) if v.digest == new.digest]
            version = self._prolonged(same[0], new, now) if same else self._add(new, now)
            before = version.aliases
            version = self._label(version, VersionUpdate(add_aliases=("latest", *new.aliases)), now)
            if not same:
                note_version(self._world, version, now)
            note_aliases(self._world, version, [a for a in version.aliases if a not in before], new.run, now)
            if new.run:
                self._edge(EdgeKind.OUTPUT, new.run, version.id, now)
            return Committed(version=version, created=not same)

    def get(self, ref: ArtifactRef) -> ArtifactVersion:
        with self._world.changing():
            live = self._live((ref.entity, ref.project, ref.name))
            for version in live:
                if ref.selector in (*version.aliases, f"v{version.version}", version.digest):
                    return version
            if live:
                there = sorted({name for v in live for name in (f"v{v.version}", *v.aliases)})
                raise ArtifactNotFoundError(f"there is no artifact '{ref}'", hint=f"There are: {', '.join(there)}.")
            names = sorted(
                c.name for c in self._world.collections.values() if (c.entity, c.project) == (ref.entity, ref.project)
            )
            raise ArtifactNotFoundError(
                f"there is no artifact '{ref}'",
                hint=f"Artifacts in {ref.entity}/{ref.project}: {', '.join(names) or 'none'}.",
            )

    def get_by_id(self, version_id: str) -> ArtifactVersion:
        with self._world.changing():
            return self._version(version_id)

    def list(self, where: ArtifactFilter) -> tuple[ArtifactVersion, ...]:
        with self._world.changing():
            newest = builtins.list(reversed(self._world.versions.values()))
            if where.before:
                self._version(where.before)
                newest = newest[next(i for i, v in enumerate(newest) if v.id == where.before) + 1 :]
            return tuple(v for v in newest if _matches(v, where))[: where.limit]

    def collection(self, entity: str, project: str, name: str) -> Collection:
        with self._world.changing():
            return self._shown(self._collection(entity, project, name))

    def collections(self, entity: str = "", project: str = "", type: str = "") -> tuple[Collection, ...]:
        with self._world.changing():
            wanted = (("entity", entity), ("project", project), ("type", type))
            found = (
                c for c in self._world.collections.values() if all(not v or getattr(c, name) == v for name, v in wanted)
            )
            return tuple(self._shown(c) for c in sorted(found, key=lambda c: (c.entity, c.project, c.name)))

    def update_collection(self, entity: str, project: str, name: str, changes: CollectionUpdate) -> Collection:
        with self._world.changing() as now:
            collection = self._collection(entity, project, name)
            values = {f: getattr(changes, f) for f in ("description", "tags", "protected_aliases")}
            given = {f: value for f, value in values.items() if value is not None}
            collection = replace(collection, updated_at=now, **given)
            self._world.collections[(entity, project, name)] = collection
            return self._shown(collection)

    def update(self, version_id: str, changes: VersionUpdate) -> ArtifactVersion:
        _check_labels(changes.add_aliases, changes.add_tags)
        with self._world.changing(ring=True) as now:
            before = self._version(version_id)
            version = self._label(before, changes, now)
            note_aliases(
                self._world, version, [a for a in version.aliases if a not in before.aliases], changes.run, now
            )
            return version

    def delete(self, version_id: str, force: bool = False) -> ArtifactVersion:
        with self._world.changing() as now:
            version = self._version(version_id)
            if version.deleted_at:
                return version
            protected = self._collection(version.entity, version.project, version.name).protected_aliases
            held = [a for a in version.aliases if a in protected]
            if held:
                raise ConflictError(f"{version.path} has the protected alias '{held[0]}'", hint="Move it away first.")
            named = [a for a in version.aliases if a != "latest"]
            if named and not force:
                raise ConflictError(f"{version.path} has the alias '{named[0]}'", hint="Remove it, or force.")
            was_latest = "latest" in version.aliases
            self._world.versions[version_id] = replace(version, aliases=(), deleted_at=now, updated_at=now)
            live = self._live((version.entity, version.project, version.name))
            if was_latest and live:
                self._label(max(live, key=lambda v: v.version), VersionUpdate(add_aliases=("latest",)), now)
            return self._world.versions[version_id]

    def restore(self, version_id: str) -> ArtifactVersion:
        with self._world.changing() as now:
            version = replace(self._version(version_id), deleted_at=0.0, updated_at=now)
            self._world.versions[version_id] = version
            live = self._live((version.entity, version.project, version.name))
            if not any("latest" in v.aliases and v.version > version.version for v in live):
                version = self._label(version, VersionUpdate(add_aliases=("latest",)), now)
            return version

    def use(self, run_id: str, version_id: str, attempt: int | None = None) -> None:
        with self._world.changing() as now:
            self._world.guarded(run_id, attempt=attempt)
            self._version(version_id)
            self._edge(EdgeKind.INPUT, run_id, version_id, now)

    def edges(
        self, run_id: str = "", version_id: str = "", kind: EdgeKind | None = None, collected: bool = False
    ) -> tuple[LineageEdge, ...]:
        with self._world.changing():
            return tuple(
                edge
                for edge in self._world.edges
                if run_id in ("", edge.run) and version_id in ("", edge.version) and kind in (None, edge.kind)
                if collected or not edge.collected
            )

    def begin_upload(self, owner: str) -> str:
        with self._world.changing() as now:
            upload = new_id()
            self._world.uploads[upload] = Upload(began=now, renewed=now)
            return upload

    def renew_upload(self, upload: str) -> None:
        with self._world.changing() as now:
            session = self._world.uploads.get(upload)
            if session is None or session.renewed + UPLOAD_LIFE < now:
                raise NotFoundError("the upload session has ended", hint="Begin a new one and upload again.")
            session.renewed = now

    def end_upload(self, upload: str) -> None:
        with self._world.changing():
            self._world.uploads.pop(upload, None)

    def oldest_upload(self) -> float:
        with self._world.changing() as now:
            live = (u.began for u in self._world.uploads.values() if u.renewed + UPLOAD_LIFE >= now)
            return min(live, default=math.inf)

    def roots(self, after: str = "", limit: int = 10000, without: float = 0.0) -> tuple[ManifestRoot, ...]:
        with self._world.changing():
            roots = [
                ManifestRoot(manifest=v.manifest, version=v.id, deleted_at=v.deleted_at)
                for v in self._world.versions.values()
                if not self._is_over(v, without)
            ]
            roots += [ManifestRoot(manifest=part.manifest) for part in self._world.parts.values()]
            roots = sorted((r for r in roots if r.manifest > after), key=lambda r: (r.manifest, r.version))
            page = roots[:limit]
            # The next page begins behind the last manifest, so all its roots must be on this one.
            page += [r for r in roots[limit:] if page and r.manifest == page[-1].manifest]
            return tuple(page)

    def purge(self, deleted_before: float, dry_run: bool = False) -> tuple[str, ...]:
        with self._world.changing():
            gone = [v.id for v in self._world.versions.values() if self._is_over(v, deleted_before)]
            for version_id in () if dry_run else gone:
                path = self._world.versions.pop(version_id).path
                self._world.edges = [
                    evolve(edge, collected=path) if edge.version == version_id else edge for edge in self._world.edges
                ]
            return tuple(gone)

    def add_part(self, part: DistributedPart) -> None:
        with self._world.changing():
            self._world.parts[(part.entity, part.project, part.name, part.group, part.part)] = part

    def take_parts(
        self, entity: str, project: str, name: str, group: str, remove: bool = False
    ) -> tuple[DistributedPart, ...]:
        with self._world.changing():
            keys = sorted(key for key in self._world.parts if key[:4] == (entity, project, name, group))
            found = tuple(self._world.parts[key] for key in keys)
            for key in keys if remove else ():
                del self._world.parts[key]
            return found

    def _is_over(self, version: ArtifactVersion, before: float) -> bool:
        """Deleted, or out of its life time and without a protected alias, before that time."""
        if not version.deleted_at:
            kept = self._collection(version.entity, version.project, version.name).protected_aliases
            if set(kept) & set(version.aliases):
                return False
        return 0 < _end(version) < before

    def _live(self, key: tuple[str, str, str]) -> builtins.list[ArtifactVersion]:
        return [v for v in self._world.versions.values() if (v.entity, v.project, v.name) == key and not v.deleted_at]

    def _version(self, version_id: str) -> ArtifactVersion:
        try:
            return self._world.versions[version_id]
        except KeyError:
            raise ArtifactNotFoundError(f"there is no artifact version with the id '{version_id}'") from None

    def _collection(self, entity: str, project: str, name: str) -> Collection:
        try:
            return self._world.collections[(entity, project, name)]
        except KeyError:
            raise ArtifactNotFoundError(f"there is no artifact '{entity}/{project}/{name}'") from None

    def _shown(self, collection: Collection) -> Collection:
        live = self._live((collection.entity, collection.project, collection.name))
        latest = [v.version for v in live if "latest" in v.aliases]
        return replace(collection, versions=len(live), latest=latest[0] if latest else -1)

    def _add(self, new: NewVersion, now: float) -> ArtifactVersion:
        key = (new.entity, new.project, new.name)
        number = self._world.version_numbers.get(key, 0)  # numbers of deleted versions are not given again
        self._world.version_numbers[key] = number + 1
        version = new.numbered(new_id(), number, now)
        self._world.versions[version.id] = version
        return version

    def _prolonged(self, version: ArtifactVersion, new: NewVersion, now: float) -> ArtifactVersion:
        wanted = None if new.ttl_seconds is None else now - version.created_at + new.ttl_seconds
        if version.ttl_seconds is None or (wanted is not None and wanted <= version.ttl_seconds):
            return version
        return replace(version, ttl_seconds=wanted)

    def _label(self, version: ArtifactVersion, changes: VersionUpdate, now: float) -> ArtifactVersion:
        for other in self._live((version.entity, version.project, version.name)):
            kept = tuple(a for a in other.aliases if a not in changes.add_aliases)
            if other.id != version.id and kept != other.aliases:
                self._world.versions[other.id] = replace(other, aliases=kept, updated_at=now)
        aliases = dict.fromkeys([*version.aliases, *changes.add_aliases])
        tags = dict.fromkeys([*version.tags, *changes.add_tags])
        ttl = version.ttl_seconds if changes.ttl_seconds is None else changes.ttl_seconds
        version = replace(
            version,
            aliases=tuple(sorted(a for a in aliases if a not in changes.remove_aliases)),
            tags=tuple(t for t in tags if t not in changes.remove_tags),
            description=version.description if changes.description is None else changes.description,
            metadata=version.metadata if changes.metadata is None else changes.metadata,
            ttl_seconds=None if ttl is not None and ttl < 0 else ttl,
            signatures=(*version.signatures, *changes.add_signatures),
            updated_at=now,
        )
        self._world.versions[version.id] = version
        return version

    def _edge(self, kind: EdgeKind, run: str, version: str, now: float) -> None:
        if not any((e.kind, e.run, e.version) == (kind, run, version) for e in self._world.edges):
            self._world.edges.append(LineageEdge(kind=kind, run=run, version=version, created_at=now))


def _end(version: ArtifactVersion) -> float:
    if version.deleted_at:
        return version.deleted_at
    return version.created_at + version.ttl_seconds if version.ttl_seconds is not None else 0.0


def _matches(version: ArtifactVersion, where: ArtifactFilter) -> bool:
    wanted = {name: getattr(where, name) for name in ("entity", "project", "name", "type")}
    return (
        all(not value or getattr(version, name) == value for name, value in wanted.items())
        and (not where.alias or where.alias in version.aliases)
        and set(where.tags) <= set(version.tags)
        and bool(version.deleted_at) == where.deleted
    )


def _check(new: NewVersion) -> None:
    check_name(new.name)
    check_type(new.type)
    _check_labels(new.aliases, new.tags)


def _check_labels(aliases: Iterable[str], tags: Iterable[str]) -> None:
    for alias in aliases:
        check_alias(alias)
    for tag in tags:
        check_tag(tag)
