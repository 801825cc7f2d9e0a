"""What an artifact is: its names and facts, before and after it is logged."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from windlass.artifacts.draft import Draft
from windlass.artifacts.manifest import Manifest
from windlass.artifacts.metadata import clean_metadata
from windlass.artifacts.names import check_name, check_reserved, check_type
from windlass.errors import UsageError
from windlass.models import LONGEST

if TYPE_CHECKING:
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.models.artifact import ArtifactVersion
    from windlass.plugins.app import App

__all__ = ["ArtifactFacts"]


_LONGEST = timedelta(seconds=LONGEST)


class ArtifactFacts:
    """A named, typed collection of files, objects and references; every change makes a new version.

    Args:
        name: Name of the collection.
        type: What it is: ``dataset``, ``model`` …; the first version fixes it for the collection.
        description: Free text, Markdown.
        metadata: JSON object with at most 100 keys.
        incremental: The new version holds all of the latest version plus what is added here.

    Attributes:
        new_version: False when it was logged and the collection had its content already.
        app: Finds storages and serializers before the artifact is logged. None: what is installed, unconfigured.

    Raises:
        UsageError: The name or type is not valid, or reserved.
    """

    def __init__(
        self,
        name: str,
        type: str,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        incremental: bool = False,
    ) -> None:
        check_reserved(check_name(name), check_type(type))
        self._start(name, type, description, metadata)
        self.incremental = incremental

    def plain_metadata(self) -> dict[str, Any]:
        """The metadata, which may have been changed in place, as the JSON that is recorded. Raises `UsageError`."""
        return clean_metadata(self.metadata)

    def _start(self, name: str, type: str, description: str | None, metadata: Mapping[str, Any] | None) -> None:
        self._name = name
        self.type = type
        if description is not None and not isinstance(description, str):
            raise UsageError(f"a description is text, not {description!r}", where=f"artifact '{name}'")
        self.description = description
        self.metadata: dict[str, Any] = {} if metadata is None else metadata  # type: ignore[assignment]
        self.metadata = self.plain_metadata()
        self.incremental = False
        self.tags: tuple[str, ...] = ()
        self.ttl_seconds: float | None = None
        self._entity = self._project = ""
        self.draft = Draft()
        self._engine: ArtifactEngine | None = None
        self.app: App | None = None
        self.new_version = True
        self._final = False
        self._taken_from: tuple[str, ...] = ()
        self._version: ArtifactVersion | None = None
        self._manifest: Manifest | None = None

    @classmethod
    def internal(
        cls, name: str, type: str, description: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Self:
        """An artifact of a type that only Windlass itself makes (jobs, logged code)."""
        made = cls.__new__(cls)
        made._start(check_name(name), check_type(type), description, metadata)
        return made

    @classmethod
    def of(cls, engine: ArtifactEngine, version: ArtifactVersion) -> Self:
        """The artifact for a version of the index."""
        made = cls.__new__(cls)
        made._start(version.name, version.type, None, None)
        made.bind(engine, version)
        return made

    def bind(self, engine: ArtifactEngine, version: ArtifactVersion) -> None:
        """Become this logged version. Called by the engine."""
        self._engine, self._version, self._manifest = engine, version, None
        self._entity, self._project = version.entity, version.project
        self.description = version.description
        self.metadata = dict(version.metadata)
        self.tags = version.tags
        self.ttl_seconds = version.ttl_seconds
        self.draft = Draft()

    def content(self) -> Draft:
        """What it holds: of a version all its entries."""
        return Draft(self.manifest) if self.logged else self.draft

    # -- facts

    @property
    def origins(self) -> tuple[str, ...]:
        """Entities that content of it was taken over from: of a version its own and those it took from itself."""
        return self._taken_from if self._version is None else (self._version.entity, *self._version.origins)

    def take_over(self, *entities: str) -> None:
        """Remember entities that content of it comes from; what runs code is trusted as theirs."""
        self._taken_from = (*self._taken_from, *entities)

    @property
    def name(self) -> str:
        """Name of the collection."""
        return self._name

    @property
    def entity(self) -> str:
        """Owner; empty before it is logged."""
        return self._entity

    @property
    def project(self) -> str:
        """Project; empty before it is logged."""
        return self._project

    @property
    def logged(self) -> bool:
        """True for a version, False for one that is being put together."""
        return self._version is not None

    @property
    def info(self) -> ArtifactVersion:
        """All that the index knows of the version. Raises `UsageError` before it is logged."""
        if self._version is None:
            raise UsageError(
                f"the artifact '{self._name}' is not logged yet", hint="Log it with run.log_artifact(artifact)."
            )
        return self._version

    @property
    def id(self) -> str:
        """Opaque id of the version."""
        return self.info.id

    @property
    def version(self) -> str:
        """``v0``, ``v1`` …"""
        return f"v{self.info.version}"

    @property
    def digest(self) -> str:
        """``<algorithm>:<hex>`` over all that it is: paths, contents, where references lead, how objects are read."""
        return self.info.digest

    @property
    def size(self) -> int:
        """Sum of the sizes of its entries in bytes; -1 when that of a reference is not known."""
        if self._version is not None:
            return self._version.size
        return sum(item.size for item in self.draft.items.values()) if self.draft.sized else -1

    @property
    def aliases(self) -> list[str]:
        """``latest`` and chosen ones."""
        return list(self.info.aliases)

    @property
    def path(self) -> str:
        """``entity/project/name:v<N>``."""
        return self.info.path

    @property
    def qualified_name(self) -> str:
        """The same as `path`."""
        return self.info.path

    @property
    def created_at(self) -> float:
        """Seconds since the epoch."""
        return self.info.created_at

    @property
    def ttl(self) -> timedelta | None:
        """Life time from creation, None for ever."""
        return None if self.ttl_seconds is None else timedelta(seconds=self.ttl_seconds)

    @ttl.setter
    def ttl(self, value: timedelta | None) -> None:
        if value is not None and (not isinstance(value, timedelta) or not timedelta(0) < value <= _LONGEST):
            raise UsageError(
                f"a life time must be a positive timedelta of at most {_LONGEST.days} days, not {value!r}",
                hint="artifact.ttl = timedelta(days=30); None is for ever",
            )
        self.ttl_seconds = None if value is None else value.total_seconds()

    @property
    def manifest(self) -> Manifest:
        """The version's manifest, read lazily."""
        if self._manifest is None:
            self._manifest = self._logged_engine().manifest(self.info)
        return self._manifest

    def _logged_engine(self) -> ArtifactEngine:
        _ = self.info
        assert self._engine is not None
        return self._engine

    def __repr__(self) -> str:
        what = self.info.path if self._version else f"{self._name} (not logged)"
        return f"<Artifact {what} {self.type}>"

    def __len__(self) -> int:
        return self.info.entries if self._version else len(self.draft.items)

    def __contains__(self, path: str) -> bool:
        return path in (self.manifest if self._version else self.draft.items)

    def finalize(self) -> None:
        """Take no more content: from here on it can be logged, but not changed. Logging does the same.

        Description, metadata, tags and life time may still change. May be repeated.
        """
        self._final = True

    def _open_draft(self) -> Draft:
        if self._final and self._version is None:
            raise UsageError(
                f"the artifact '{self._name}' is final and cannot change",
                hint="Change it before finalize(), or log it and make a new version of it: artifact.new_draft().",
            )
        if self._version is not None:
            raise UsageError(
                f"'{self._version.path}' is logged and cannot change",
                hint="Make a new version: draft = artifact.new_draft(); change it; log it.",
            )
        return self.draft
