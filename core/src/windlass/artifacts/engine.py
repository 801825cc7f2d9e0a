"""The artifact engine: logs artifacts into the blob store and the index, and gets them out again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve

from windlass.artifacts.digest import short_form
from windlass.artifacts.files import Source
from windlass.artifacts.manifest import Entry, Manifest, Part, Row, blobs_of, write_manifest
from windlass.artifacts.names import check_alias, check_project, check_tag, parse_ref
from windlass.artifacts.reading import ArtifactReading
from windlass.artifacts.session import UploadSession
from windlass.artifacts.statcache import StatCache
from windlass.errors import ArtifactNotFoundError, ConflictError, FencedError, IntegrityError, UsageError
from windlass.models import artifact as models
from windlass.models.artifact import ArtifactRef, ArtifactVersion, NewVersion

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact
    from windlass.artifacts.draft import Draft

__all__ = ["ArtifactEngine"]

_SEARCHES = 4
"""So many contents are searched for in the latest manifest; for more all of it is decoded and kept in memory."""


class ArtifactEngine(ArtifactReading):
    """Artifacts of one metadata store. Serves several threads.

    Args:
        app: Finds storages and serializers.
        store: Index and blobs.
        settings: Entity, project and folders.
    """

    def log(
        self,
        artifact: Artifact,
        *,
        entity: str = "",
        project: str = "",
        run: str = "",
        attempt: int | None = None,
        aliases: Sequence[str] = (),
        tags: Sequence[str] = (),
        done: Callable[[int], None] = lambda _: None,
    ) -> Artifact:
        """Store an artifact and make it a version: bytes first, then the manifest, then one commit.

        Content that the collection has already makes no new version (`Artifact.new_version` says so); aliases, tags
        and lineage are still recorded, and a description and metadata that are set replace those of the version.

        Args:
            artifact: An artifact that was put together. It becomes the logged one.
            entity: Default: the settings' entity.
            project: Default: the settings' project.
            run: Id of the run that logs it.
            attempt: Attempt of that run.
            aliases: Beside ``latest``.
            tags: Labels of the version.
            done: Told the bytes of each file that was read and stored.

        Returns:
            The same artifact, now with version, digest and so on.

        Raises:
            UsageError: A name, type, alias or tag breaks the rules.
            ConflictError: A file changed under our hands.
            FencedError: Another attempt of the run has taken over.
            StorageError: Bytes could not be stored. Nothing is visible.
        """
        entity = check_project(entity or artifact.entity or self.settings.entity, what="entity")
        project = check_project(project or artifact.project or self.settings.project)
        wanted = tuple(dict.fromkeys(check_alias(alias) for alias in aliases if alias != "latest"))
        labels = tuple(dict.fromkeys(check_tag(tag) for tag in (*artifact.tags, *tags)))
        draft = artifact.draft
        ref = ArtifactRef(entity=entity, project=project, name=artifact.name)
        if artifact.incremental:
            self._add_latest(draft, ref)
        draft.check_paths()
        cache = self._stat_cache()
        new = NewVersion(
            entity=entity,
            project=project,
            name=artifact.name,
            type=artifact.type,
            digest="",
            manifest="",
            aliases=wanted,
            tags=labels,
            description=artifact.description or "",
            metadata=artifact.plain_metadata(),
            ttl_seconds=artifact.ttl_seconds,
            run=run,
            attempt=attempt,
        )
        for last in (False, True):
            with UploadSession(self.store.artifacts, owner=run or str(ref)) as session:
                rows, digest, same = self._settle(draft, cache, ref, session, done)
                if same is not None:
                    manifest, size = same.manifest, same.size
                else:
                    manifest, size = write_manifest(rows, self.blobs.put, self.algorithm)
                try:
                    committed = self.store.artifacts.commit(
                        evolve(
                            new,
                            digest=digest,
                            manifest=manifest,
                            size=size,
                            entries=len(draft.items),
                            upload=session.id,
                        )
                    )
                    break
                except FencedError:
                    raise
                except ConflictError:
                    # The session has ended: the machine slept, or its clock jumped. Look again which blobs are there.
                    if last or not session.id:
                        raise
        cache.save()
        artifact.bind(self, committed.version if committed.created else self._relabel(committed.version, new))
        artifact.new_version = committed.created
        if committed.created:
            from windlass.plugins.events import ArtifactCommitted

            self.app.fire(ArtifactCommitted(version=committed.version))
        return artifact

    def _relabel(self, version: ArtifactVersion, new: NewVersion) -> ArtifactVersion:
        """Give a version that was there already what the caller set beside the content."""
        description = new.description if new.description not in ("", version.description) else None
        metadata = new.metadata if new.metadata not in ({}, version.metadata) else None
        tags = tuple(tag for tag in new.tags if tag not in version.tags)
        if description is None and metadata is None and not tags:
            return version
        changes = models.VersionUpdate(description=description, metadata=metadata, add_tags=tags)
        return self.store.artifacts.update(version.id, changes)

    def add_part(
        self, artifact: Artifact, *, group: str, part: str, entity: str = "", project: str = ""
    ) -> models.DistributedPart:
        """Store one run's share of a version that several runs make; nothing is visible before `finish`.

        Args:
            artifact: What this run contributes.
            group: Name the runs agreed on.
            part: Who contributes; giving the same part again replaces it.
            entity: Default: the settings' entity.
            project: Default: the settings' project.
        """
        entity = check_project(entity or self.settings.entity, what="entity")
        project = check_project(project or self.settings.project)
        artifact.draft.check_paths()
        cache = self._stat_cache()
        ref = ArtifactRef(entity=entity, project=project, name=artifact.name)
        with UploadSession(self.store.artifacts, owner=f"{group}/{part}") as session:
            session.begin()
            rows, _, same = self._settle(artifact.draft, cache, ref, session)
            made = models.DistributedPart(
                entity=entity,
                project=project,
                name=artifact.name,
                type=artifact.type,
                group=group,
                part=part,
                manifest=same.manifest if same else write_manifest(rows, self.blobs.put, self.algorithm).digest,
            )
            self.store.artifacts.add_part(made)
        cache.save()
        return made

    def finish(
        self,
        artifact: Artifact,
        *,
        group: str,
        entity: str = "",
        project: str = "",
        run: str = "",
        attempt: int | None = None,
        aliases: Sequence[str] = (),
    ) -> Artifact:
        """Make one version of all parts of a group and of what `artifact` holds itself.

        Raises:
            UsageError: Two parts hold different content under one path (names both), or there is no part.
        """
        entity = entity or self.settings.entity
        project = project or self.settings.project
        parts = self.store.artifacts.take_parts(entity, project, artifact.name, group)
        if not parts:
            raise UsageError(f"nobody has contributed to '{artifact.name}' in the group '{group}'")
        origin: dict[str, str] = {}
        for part in parts:
            for entry in Manifest(self.blobs, part.manifest):
                before = artifact.draft.items.get(entry.path)
                if isinstance(before, Entry) and before.digest != entry.digest:
                    raise UsageError(
                        f"the parts '{origin.get(entry.path, '')}' and '{part.part}' hold different content",
                        where=entry.path,
                        hint="Let each run write below a folder of its own.",
                    )
                origin[entry.path] = part.part
                artifact.draft.add_entry(entry, overwrite=False)
        logged = self.log(artifact, entity=entity, project=project, run=run, attempt=attempt, aliases=aliases)
        self.store.artifacts.take_parts(entity, project, artifact.name, group, remove=True)
        return logged

    def get(self, path: str, *, type: str = "", entity: str = "", project: str = "") -> Artifact:
        """The artifact a path names.

        Args:
            path: ``[[entity/]project/]name[:alias|:v3|@digest]``.
            type: The type it must have; empty: any.
            entity: Default for the path.
            project: Default for the path.

        Raises:
            ArtifactNotFoundError: There is none; lists what is there.
            UsageError: It has another type.
        """
        ref = parse_ref(path, entity=entity or self.settings.entity, project=project or self.settings.project)
        found = self.store.artifacts.get(ref)
        if type and found.type != type:
            raise UsageError(f"'{found.path}' has the type '{found.type}', not '{type}'")
        return self.wrap(found)

    def wrap(self, version: ArtifactVersion) -> Artifact:
        """The artifact for a version of the index."""
        from windlass.artifacts.artifact import Artifact

        return Artifact.of(self, version)

    def use(self, artifact: Artifact, run: str, attempt: int | None = None) -> Artifact:
        """Record that a run uses a logged artifact."""
        self.store.artifacts.use(run, artifact.id, attempt)
        return artifact

    def _add_latest(self, draft: Draft, ref: ArtifactRef) -> None:
        """Fill a draft up with the entries of the latest version; what the draft has itself wins."""
        try:
            latest = self.store.artifacts.get(ref)
        except ArtifactNotFoundError:
            return
        draft.fill_up(self.manifest(latest))

    def _stat_cache(self) -> StatCache:
        return StatCache(Path(self.settings.cache_dir) / "stat", self.settings.store_url, self.algorithm)

    def _settle(
        self,
        draft: Draft,
        cache: StatCache,
        ref: ArtifactRef,
        session: UploadSession,
        done: Callable[[int], None] = lambda _: None,
    ) -> tuple[Iterable[Row], str, ArtifactVersion | None]:
        """Store what is not stored of all items; rows of the manifest, artifact digest, a version that has it."""
        items = draft.items.values()
        digest = cache.listing(items)
        if digest and (same := self._version_with(ref, digest)) is not None:
            return [], digest, same
        ordered = [draft.items[path] for path in sorted(draft.items)]
        unread, blobs = cache.look_up(ordered)
        if not unread:
            digest = cache.artifact_digest(ordered)
            same = self._version_with(ref, digest)
            if same is not None:
                cache.remember_listing(items, digest)
                return [], digest, same
        session.begin()
        unread += self._lost(cache, ordered, blobs)
        if unread:
            from windlass.artifacts.upload import Uploader

            unread.sort(key=lambda source: source.path)
            Uploader(self.blobs, self.algorithm, cache, _Locator(self, ref)).store(unread, done)
            digest = cache.artifact_digest(ordered)
        cache.remember_listing(items, digest)
        return cache.rows(ordered), digest, self._version_with(ref, digest)

    def _version_with(self, ref: ArtifactRef, digest: str) -> ArtifactVersion | None:
        wanted = ArtifactRef(entity=ref.entity, project=ref.project, name=ref.name, selector=digest)
        try:
            return self.store.artifacts.get(wanted)
        except ArtifactNotFoundError:
            return None

    def _lost(self, cache: StatCache, items: list[Source | Entry], blobs: set[str]) -> list[Source]:
        """Sources whose bytes were stored once and are not any more; asked under the upload session."""
        missing = self.blobs.missing(blobs)
        if not missing:
            return []
        lost = []
        for item in items:
            entry = item if isinstance(item, Entry) else cache.entry(item)  # none for what must be read anyway
            if entry is None or missing.isdisjoint(blobs_of(entry)):
                continue
            if isinstance(item, Entry):
                raise IntegrityError(
                    f"the bytes of '{item.path}' are not in the blob store any more",
                    hint="The version it was taken from was deleted and collected; add the file itself.",
                )
            lost.append(item)
        return lost


class _Locator:
    """Finds content in the collection's latest version, so that it is stored once."""

    def __init__(self, engine: ArtifactEngine, ref: ArtifactRef) -> None:
        self._engine = engine
        self._ref = ref
        self._leaves: dict[int, int] | None = None  # where which content is, by short forms: there may be a million
        self._leaf: tuple[int, dict[str, tuple[Part, ...]]] = (-1, {})
        self._asked = 0
        self._there: dict[str, bool] = {}

    def __call__(self, digest: str) -> tuple[Part, ...] | None:
        parts = self._parts(digest)
        if parts is None or not all(self._is_there(part[0]) for part in parts or ((digest, 0, 0),)):
            return None
        return parts

    def _is_there(self, blob: str) -> bool:
        """Whether a blob was not lost; each is looked for once."""
        if blob not in self._there:
            self._there[blob] = not self._engine.blobs.missing((blob,))
        return self._there[blob]

    def _parts(self, digest: str) -> tuple[Part, ...] | None:
        self._asked += 1
        if self._asked <= _SEARCHES:
            found = self._latest.with_digest(digest) if self._latest is not None else None
            return found.parts if found is not None else None
        if self._latest is None:
            return None
        if self._leaves is None:
            self._leaves = {}
            for index in range(self._latest.leaves):
                self._leaves.update((short_form(found), index) for found in self._contents(index))
        index = self._leaves.get(short_form(digest), -1)
        return self._contents(index).get(digest) if index >= 0 else None

    def _contents(self, index: int) -> dict[str, tuple[Part, ...]]:
        """The contents of a leaf and their places; the last leaf is kept, for paths are asked for in their order."""
        if self._leaf[0] != index:
            assert self._latest is not None
            entries = self._latest.leaf(index)
            self._leaf = index, {entry.digest: entry.parts for entry in entries if not entry.ref}
        return self._leaf[1]

    @cached_property
    def _latest(self) -> Manifest | None:
        try:
            return self._engine.manifest(self._engine.store.artifacts.get(self._ref))
        except ArtifactNotFoundError:
            return None
