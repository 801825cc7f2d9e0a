"""The artifact engine: logs artifacts into the blob store and the index, and gets them out again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from windlass.artifacts.files import Source
from windlass.artifacts.manifest import Entry, Manifest, Row, blobs_of
from windlass.artifacts.names import check_alias, check_project, check_tag, parse_ref
from windlass.artifacts.reading import ArtifactReading
from windlass.artifacts.session import UploadSession
from windlass.artifacts.statcache import StatCache
from windlass.errors import ArtifactNotFoundError, ConflictError, FencedError, IntegrityError, UsageError
from windlass.models import artifact as models
from windlass.models.artifact import ArtifactRef, ArtifactVersion

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact
    from windlass.artifacts.draft import Draft
    from windlass.artifacts.manifest_writing import Written
    from windlass.models.artifact import NewVersion

__all__ = ["ArtifactEngine"]

_TRIES = 2
_LEAVES = 8  # of a manifest are sent at once
_TRIES_TO_ADD = 64  # an increment begins anew whenever somebody else was faster


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
        and lineage are still recorded, a description and metadata that are set replace those of the version, and it
        lives at least as long as a new one would. A version that is logged again is such content.

        Args:
            artifact: An artifact that was put together, or a version. It becomes the logged one.
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
            ConflictError: A file changed under our hands; or others went on logging increments.
            FencedError: Another attempt of the run has taken over.
            StorageError: Bytes could not be stored. Nothing is visible.
        """
        entity = check_project(entity or artifact.entity or self.settings.entity, what="entity")
        project = check_project(project or artifact.project or self.settings.project)
        wanted = tuple(dict.fromkeys(check_alias(alias) for alias in aliases if alias != "latest"))
        labels = tuple(dict.fromkeys(check_tag(tag) for tag in (*artifact.tags, *tags)))
        draft = own = artifact.content()
        ref = ArtifactRef(entity=entity, project=project, name=artifact.name)
        cache = self._stat_cache()
        new = models.NewVersion(
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
            origins=artifact.origins,
        )
        made = False
        tries = _TRIES_TO_ADD if artifact.incremental else _TRIES
        for again in range(tries):
            if artifact.incremental:
                draft, new = self._onto_latest(own, ref, new, again)
            with UploadSession(self.store.artifacts, owner=run or str(ref)) as session:
                rows, digest, same = self._settle(draft, cache, ref, session, done, again=again > 0)
                if same is not None:
                    manifest, size = same.manifest, same.size
                else:
                    manifest, size = self._write(rows)
                    size = size if draft.sized else -1
                try:
                    committed = self.store.artifacts.commit(
                        replace(
                            new,
                            digest=digest,
                            manifest=manifest,
                            size=size,
                            entries=len(draft.items),
                            upload=session.id,
                        )
                    )
                except FencedError:
                    raise
                except ConflictError:
                    # The session has ended: the machine slept, or its clock jumped. Look again which blobs are there.
                    # Or somebody has added something else to the version that this one adds to.
                    if again + 1 == tries or (not artifact.incremental and not session.id):
                        raise
                    continue
            made = made or committed.created
            if same is None or not committed.created:
                break  # else the version that had the content was collected meanwhile, and blobs with it
        cache.save()
        artifact.bind(self, self._relabel(committed.version, new) if not made else committed.version)
        artifact.new_version = made
        if made:
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
        draft = artifact.content()
        if draft.removed:
            raise UsageError(
                f"a share cannot remove '{next(iter(draft.removed))}'",
                where=f"group '{group}', part '{part}'",
                hint="Remove it from the artifact that finishes the group.",
            )
        cache = self._stat_cache()
        ref = ArtifactRef(entity=entity, project=project, name=artifact.name)
        with UploadSession(self.store.artifacts, owner=f"{group}/{part}") as session:
            session.begin()
            rows, _, same = self._settle(draft, cache, ref, session)
            made = models.DistributedPart(
                entity=entity,
                project=project,
                name=artifact.name,
                type=artifact.type,
                group=group,
                part=part,
                origins=artifact.origins,
                manifest=same.manifest if same else self._write(rows).digest,
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
            UsageError: Two parts hold different content under one path (names both), one has another type than
                `artifact`, or there is no part.
        """
        artifact = artifact.new_draft() if artifact.logged else artifact
        entity = entity or self.settings.entity
        project = project or self.settings.project
        parts = self.store.artifacts.take_parts(entity, project, artifact.name, group)
        if not parts:
            raise UsageError(f"nobody has contributed to '{artifact.name}' in the group '{group}'")
        for part in parts:
            if part.type != artifact.type:
                raise UsageError(
                    f"the part '{part.part}' of '{artifact.name}' is of type '{part.type}', not '{artifact.type}'",
                    where=f"group '{group}'",
                    hint="Let all runs give their shares, and finish them, under one type.",
                )
        artifact.take_over(*(origin for part in parts for origin in part.origins))
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

    def place(self, draft: Draft, version: ArtifactVersion) -> list[Row]:
        """Store what is not stored of a version's files that are put together once more; the rows of its manifest."""
        before = f"v{version.version - 1}"  # then the latest, whose places of content were taken over
        ref = ArtifactRef(entity=version.entity, project=version.project, name=version.name, selector=before)
        with UploadSession(self.store.artifacts, owner=version.path) as session:
            rows, _, _ = self._settle(draft, self._stat_cache(), ref, session, again=True)
            return list(rows)

    def _onto_latest(self, own: Draft, ref: ArtifactRef, new: NewVersion, again: int) -> tuple[Draft, NewVersion]:
        """A draft with its own items and the others of the latest version, on which the new version then depends."""
        time.sleep(os.urandom(1)[0] / 255 * min(0.02 * again, 1.0))  # so that those who collide do not go on doing so
        try:
            latest = self.store.artifacts.get(ref)
        except ArtifactNotFoundError:
            own.fill_up(())  # nothing is there to be removed
            return own, replace(new, base="")
        draft = own.copy()
        if again:  # whoever was faster may have removed the same
            draft.removed = dict.fromkeys(draft.removed, False)
        draft.fill_up(self.manifest(latest))
        return draft, replace(new, base=latest.id, origins=(*new.origins, *latest.origins))

    def _stat_cache(self) -> StatCache:
        return StatCache(Path(self.settings.cache_dir) / "stat", self.settings.store_url, self.algorithm)

    def _settle(
        self,
        draft: Draft,
        cache: StatCache,
        ref: ArtifactRef,
        session: UploadSession,
        done: Callable[[int], None] = lambda _: None,
        again: bool = False,
    ) -> tuple[Iterable[Row], str, ArtifactVersion | None]:
        """Store what is not stored of all items; rows of the manifest, artifact digest, a version that has it.

        With `again` the blobs are looked for though a version has the content.
        """
        items = draft.items.values()
        digest = "" if again else cache.listing(items)
        if digest and (same := self._version_with(ref, digest)) is not None:
            return [], digest, same
        draft.check_paths()
        ordered = draft.ordered()
        unread, blobs = cache.look_up(ordered)
        if not unread:
            digest = cache.artifact_digest(ordered)
            same = None if again else self._version_with(ref, digest)
            if same is not None:
                cache.remember_listing(digest)
                return [], digest, same
        session.begin()
        from windlass.artifacts.manifest_writing import KnownRows

        rows = KnownRows(cache, ordered)
        missing = self.blobs.missing(blobs | rows.blobs)
        rows.forget(missing)
        unread += self._lost(cache, ordered, missing)
        if unread:
            from windlass.artifacts.locator import Locator
            from windlass.artifacts.upload import Uploader

            unread.sort(key=lambda source: source.path)
            Uploader(self.blobs, self.algorithm, cache, Locator(self, ref)).store(unread, done)
            digest = cache.artifact_digest(ordered)
        cache.remember_listing(digest)
        return rows, digest, None if again else self._version_with(ref, digest)

    def _write(self, rows: Iterable[Row]) -> Written:
        from windlass.artifacts.manifest_writing import write_manifest  # what is unchanged writes none

        if not self.blobs.remote:
            return write_manifest(rows, self._store_leaf, self.algorithm)
        from windlass.artifacts.crew import Crew

        with Crew[None](_LEAVES, "windlass-leaf") as crew:
            written = write_manifest(rows, partial(crew.begin, self._store_leaf), self.algorithm, crew.finish)
            crew.finish()
            return written

    def _store_leaf(self, digest: str, data: bytes) -> None:
        self.blobs.put_buffer(digest, memoryview(data))

    def _version_with(self, ref: ArtifactRef, digest: str) -> ArtifactVersion | None:
        wanted = ArtifactRef(entity=ref.entity, project=ref.project, name=ref.name, selector=digest)
        try:
            return self.store.artifacts.get(wanted)
        except ArtifactNotFoundError:
            return None

    def _lost(self, cache: StatCache, items: list[Source | Entry], missing: set[str]) -> list[Source]:
        """Sources whose bytes lie in blobs that were stored once and are not any more."""
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
