"""``windlass.Api``: read and change what was recorded, from anywhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from windlass.artifacts.names import words
from windlass.errors import ArtifactNotFoundError, UsageError
from windlass.models import INTERNAL
from windlass.models.artifact import ArtifactFilter, ArtifactVersion, Collection
from windlass.models.run import Run as RunRecord
from windlass.models.run import RunFilter, RunState, RunUpdate
from windlass.sdk.operations import Operations
from windlass.sdk.session import PATIENCE, Session, patiently
from windlass.sdk.settings import Settings

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact

__all__ = ["Api", "RecordedRun"]

_PAGE = 200


class Api(Operations):
    """Everything in one metadata store. A context manager.

    Args:
        settings: Overrides of the environment.
        overrides: The same as a mapping (``{"entity": …, "project": …}``).
    """

    def __init__(self, settings: Settings | None = None, overrides: Mapping[str, Any] | None = None) -> None:
        from attrs import evolve

        chosen = settings or Settings()
        self._session = Session((evolve(chosen, **overrides) if overrides else chosen).resolve())

    @property
    def default_entity(self) -> str:
        """Entity of paths that name none."""
        return self._session.settings.entity

    @property
    def default_project(self) -> str:
        """Project of paths that name none."""
        return self._session.settings.project

    def run(self, path: str) -> RecordedRun:
        """One run by ``id``, ``project/id`` or ``entity/project/id``. Raises `RunNotFoundError`."""
        return RecordedRun(self._session, self._session.store.runs.get(path.rstrip("/").rpartition("/")[2]))

    def runs(
        self, path: str = "", *, group: str = "", queue: str = "", states: Sequence[str] = (), limit: int | None = None
    ) -> Iterator[RecordedRun]:
        """Runs of a project, newest first.

        Args:
            path: ``project`` or ``entity/project``. Default: those of the settings.
            group: Only this group.
            queue: Only this queue.
            states: Only these states.
            limit: At most so many.
        """
        entity, project = self._split(path)
        before, left = "", limit
        while left is None or left > 0:
            wanted = _PAGE if left is None else min(_PAGE, left)
            page = self._session.store.runs.list(
                RunFilter(
                    entity=entity,
                    project=project,
                    group=group,
                    queue=queue,
                    states=tuple(RunState(state) for state in states),
                    before=before,
                    limit=wanted,
                )
            )
            yield from (RecordedRun(self._session, run) for run in page)
            if len(page) < wanted:
                return
            before, left = page[-1].id, None if left is None else left - len(page)

    def artifact(self, name: str, type: str = "") -> Artifact:
        """An artifact by ``[[entity/]project/]name[:alias|:v3|@digest]``. Raises `ArtifactNotFoundError`."""
        return self._session.engine.get(name, type=type, entity=self.default_entity, project=self.default_project)

    def artifact_exists(self, name: str, type: str = "") -> bool:
        """True if `artifact` would find it."""
        try:
            self.artifact(name, type)
        except ArtifactNotFoundError:
            return False
        return True

    def artifacts(
        self, type_name: str = "", name: str = "", *, tags: str | Sequence[str] = (), limit: int | None = None
    ) -> Iterator[ArtifactVersion]:
        """Versions, newest first.

        Args:
            type_name: Only this type.
            name: ``[[entity/]project/]name`` of a collection.
            tags: Versions that have all of these tags, or this one.
            limit: At most so many.
        """
        project_path, _, collection = name.rpartition("/")
        entity, project = self._split(project_path)
        before, left = "", limit
        while left is None or left > 0:
            wanted = _PAGE if left is None else min(_PAGE, left)
            page = self._session.store.artifacts.list(
                ArtifactFilter(
                    entity=entity, project=project, name=collection, type=type_name, tags=words(tags), before=before,
                    limit=wanted,
                )
            )  # fmt: skip
            yield from page
            if len(page) < wanted:
                return
            before, left = page[-1].id, None if left is None else left - len(page)

    def artifact_types(self, project: str = "") -> tuple[str, ...]:
        """Types of the artifacts in a project."""
        entity, project = self._split(project)
        return tuple(sorted({c.type for c in self._session.store.artifacts.collections(entity, project)}))

    def artifact_collections(self, project_name: str = "", type_name: str = "") -> tuple[Collection, ...]:
        """Collections of a project (``project`` or ``entity/project``)."""
        entity, project = self._split(project_name)
        return self._session.store.artifacts.collections(entity, project, type_name)

    def artifact_collection(self, type_name: str, name: str) -> Collection:
        """One collection by ``[[entity/]project/]name``. Raises `ArtifactNotFoundError`, also for another type."""
        project_path, _, collection = name.rpartition("/")
        entity, project = self._split(project_path)
        found = self._session.store.artifacts.collection(entity, project, collection)
        if type_name and found.type != type_name:
            raise ArtifactNotFoundError(f"'{name}' has the type {found.type}, not {type_name}")
        return found

    def artifact_collection_exists(self, name: str, type: str = "") -> bool:
        """True if `artifact_collection` would find it."""
        try:
            self.artifact_collection(type, name)
        except ArtifactNotFoundError:
            return False
        return True

    def close(self) -> None:
        """Give back connections. May be repeated."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _split(self, path: str) -> tuple[str, str]:
        parts = [part for part in path.strip("/").split("/") if part]
        if len(parts) > 2:
            raise UsageError(f"'{path}' is no project", hint="Write project, or entity/project.")
        project = parts[-1] if parts else self.default_project
        return (parts[0] if len(parts) == 2 else self.default_entity), project


class RecordedRun:
    """A run as it is recorded.

    Attributes:
        record: All of it; `refresh` reads it again.
    """

    def __init__(self, session: Session, record: RunRecord) -> None:
        self._session = session
        self.record = record

    def __getattr__(self, name: str) -> Any:
        return getattr(self.record, name)  # id, name, entity, project, state, summary, tags, …

    def __repr__(self) -> str:
        return f"<Run {self.record.entity}/{self.record.project}/{self.record.id} ({self.record.state})>"

    @property
    def config(self) -> dict[str, Any]:
        """Inputs."""
        return {key: value for key, value in self.record.config.items() if key != INTERNAL}

    @property
    def metadata(self) -> dict[str, Any]:
        """Facts about where it came from: git commit, Python, host."""
        return dict(self.record.config.get(INTERNAL) or {})

    def refresh(self) -> RecordedRun:
        """Read the record again."""
        self.record = self._session.store.runs.get(self.record.id)
        return self

    def history(self, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
        """All rows of metrics; with `keys` only rows that have all of them."""
        return list(self.scan_history(keys))

    def scan_history(self, keys: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """Rows of metrics in the order of steps, with ``_step`` and ``_timestamp``."""
        after = -1
        while rows := self._session.store.runs.metrics(self.record.id, after, 1000):
            for row in rows:
                if all(key in row.values for key in keys):
                    values = {key: row.values[key] for key in keys} if keys else row.values
                    yield {"_step": row.step, "_timestamp": row.time, **values}
            after = rows[-1].step

    def logs(self, *, build: bool = True) -> Iterator[bytes]:
        """Its output so far, piece by piece; without the image's build log if `build` is False."""
        start = 0
        while (page := self._session.store.runs.read_log(self.record.id, start)).lines:
            yield from (line.data for line in page.lines if build or line.stream != "build")
            start = page.next

    def logged_artifacts(self) -> tuple[ArtifactVersion, ...]:
        """Versions it has logged."""
        return self._session.versions_of(self.record.id, "output")

    def used_artifacts(self) -> tuple[ArtifactVersion, ...]:
        """Versions it has used."""
        return self._session.versions_of(self.record.id, "input")

    def update(self, *, tags: Sequence[str] | None = None, notes: str | None = None, **summary: Any) -> RecordedRun:
        """Change labels and summary values."""
        changes = RunUpdate(tags=tuple(tags) if tags is not None else None, notes=notes, summary=summary or None)
        self.record = self._session.store.runs.update(self.record.id, changes)
        return self

    def stop(self) -> RecordedRun:
        """Ask for its end."""
        self.record = self._session.store.runs.request_stop(self.record.id)
        return self

    def delete(self) -> None:
        """Remove it with its history and logs. Raises `ConflictError` while it is not over."""
        self._session.store.runs.delete(self.record.id)

    def wait(self, timeout: float | None = None) -> RecordedRun:
        """Wait for its end, for a while also for a store that is out of reach. Raises `TimeoutError`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        delay = 0.05
        while not patiently(self.refresh, PATIENCE if timeout is None else timeout).record.state.is_terminal:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"run {self.record.id} is {self.record.state} after {timeout:g} s")
            time.sleep(delay)
            delay = min(delay * 1.5, 1.0)
        return self
