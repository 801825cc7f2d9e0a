"""The artifact as people use it: put together, logged, found again, downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any

from windlass.artifacts.draft import Draft, writing
from windlass.artifacts.entry import ArtifactEntry
from windlass.artifacts.manifest import Entry, Manifest
from windlass.artifacts.metadata import clean_metadata
from windlass.artifacts.names import check_name, check_reserved, check_type
from windlass.errors import UsageError

if TYPE_CHECKING:
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.models.artifact import ArtifactVersion

__all__ = ["Artifact"]


class Artifact:
    """A named, typed collection of files, objects and references; every change makes a new version.

    Args:
        name: Name of the collection.
        type: What it is: ``dataset``, ``model`` …; the first version fixes it for the collection.
        description: Free text, Markdown.
        metadata: JSON object with at most 100 keys.
        incremental: The new version holds all of the latest version plus what is added here.

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

    def _start(self, name: str, type: str, description: str | None, metadata: Mapping[str, Any] | None) -> None:
        self._name = name
        self.type = type
        self.description = description
        self.metadata: dict[str, Any] = clean_metadata(metadata)
        self.incremental = False
        self.tags: tuple[str, ...] = ()
        self.ttl_seconds: float | None = None
        self._entity = self._project = ""
        self.draft = Draft()
        self._engine: ArtifactEngine | None = None
        self._version: ArtifactVersion | None = None
        self._manifest: Manifest | None = None

    @classmethod
    def internal(
        cls, name: str, type: str, description: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Artifact:
        """An artifact of a type that only Windlass itself makes (jobs, logged code)."""
        made = cls.__new__(cls)
        made._start(check_name(name), check_type(type), description, metadata)
        return made

    @classmethod
    def of(cls, engine: ArtifactEngine, version: ArtifactVersion) -> Artifact:
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

    # -- facts

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
        """``<algorithm>:<hex>`` over paths and entry digests."""
        return self.info.digest

    @property
    def size(self) -> int:
        """Sum of the sizes of its entries in bytes."""
        return self.info.size if self._version else sum(max(item.size, 0) for item in self.draft.items.values())

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
        if value is not None and value <= timedelta(0):
            raise UsageError(f"a life time must be positive, not {value}")
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

    # -- putting together

    def add_file(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        *,
        policy: str = "immutable",
        overwrite: bool = False,
    ) -> str:
        """Add a file; returns its path in the artifact. It is read when the artifact is logged.

        Args:
            local_path: The file.
            name: Path in the artifact. Default: the file's own name.
            policy: ``immutable``: the file stays as it is until then (checked); ``mutable``: a copy is made now.
            overwrite: Replace an entry of that path.

        Raises:
            UsageError: No such file, or the path is taken by other content.
        """
        local = os.fspath(local_path)
        return self._open_draft().add_file(local, name or os.path.basename(local), policy=policy, overwrite=overwrite)

    def add_dir(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        follow_symlinks: bool = True,
        policy: str = "immutable",
        merge: bool = False,
        overwrite: bool = False,
    ) -> int:
        """Add the files below a folder; returns how many.

        Args:
            local_path: The folder. A ``.windlassignore`` in it is obeyed (lines as in ``.gitignore``).
            name: Folder in the artifact. Default: its top.
            include: Globs; only matching files are taken.
            exclude: Lines as in ``.gitignore``, after those of ``.windlassignore``.
            follow_symlinks: Take what links lead to; with False a link is an error.
            policy: See `add_file`.
            merge: The same as `overwrite`.
            overwrite: Replace entries of the same paths.

        Raises:
            UsageError: No such folder, a path that is taken by other content, a name that is not UTF-8.
        """
        return self._open_draft().add_dir(
            os.fspath(local_path),
            name or "",
            include=include,
            exclude=exclude,
            follow=follow_symlinks,
            policy=policy,
            overwrite=overwrite or merge,
        )

    def new_file(self, name: str, mode: str = "x", encoding: str | None = None) -> AbstractContextManager[IO[Any]]:
        """Open a new file for writing; it becomes an entry when the ``with`` block ends without an exception.

        Args:
            name: Path in the artifact.
            mode: ``x``: it must be new; ``w``: replace; with ``b`` for bytes.
            encoding: Default UTF-8.
        """
        return writing(self._open_draft(), name, mode, encoding)

    def remove(self, item: str | os.PathLike[str] | ArtifactEntry) -> None:
        """Remove an entry or all below a folder. Raises `ArtifactNotFoundError`."""
        self._open_draft().remove(item.path if isinstance(item, ArtifactEntry) else os.fspath(item))

    def _open_draft(self) -> Draft:
        if self._version is not None:
            raise UsageError(
                f"'{self._version.path}' is logged and cannot change",
                hint="Make a new version: draft = artifact.new_draft(); change it; log it.",
            )
        return self.draft

    def new_draft(self) -> Artifact:
        """A new artifact with all entries of this version, to be changed and logged as the next version."""
        made = Artifact.internal(self._name, self.type, self.description, self.metadata)
        made._entity, made._project, made._engine = self._entity, self._project, self._logged_engine()
        made.draft = Draft(self.manifest)
        return made

    # -- reading

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Facts about the entries, in the order of their paths; with `prefix` those at or below that folder."""
        return self.manifest.iterate(prefix)

    def get_entry(self, name: str) -> ArtifactEntry:
        """One entry. Raises `ArtifactNotFoundError` naming entries that are there."""
        return ArtifactEntry(self, self.manifest[name], self._logged_engine())

    def files(self, names: Sequence[str] | None = None) -> Iterator[ArtifactEntry]:
        """The entries (or those named), one by one."""
        chosen = self.manifest if names is None else (self.manifest[name] for name in names)
        return (ArtifactEntry(self, entry, self._logged_engine()) for entry in chosen)

    def default_root(self) -> str:
        """Where `download` writes by default: ``<WINDLASS_ARTIFACT_DIR>/<name>:<version>``."""
        mark = "-" if os.name == "nt" else ":"
        folder = self._logged_engine().settings.artifact_dir
        return os.path.join(os.path.abspath(folder), f"{self._name}{mark}{self.version}")

    def download(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        path_prefix: str = "",
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        allow_missing_references: bool = False,
    ) -> str:
        """Write the content to a folder and return the folder. Every byte is verified.

        Files that are there already with the right content stay; files that are not of the artifact stay too (see
        `checkout`).

        Args:
            root: Folder. Default: `default_root`.
            path_prefix: Only what is at or below this path.
            include: Globs; only matching paths.
            exclude: Lines as in ``.gitignore``; matching paths are left out.
            allow_missing_references: Go on when the target of a reference is gone.

        Raises:
            IntegrityError: Bytes are not what was recorded.
            ObjectNotFoundError, ObjectChangedError: The target of a reference is gone, or is another.
        """
        target = os.path.abspath(os.fspath(root)) if root is not None else self.default_root()
        self._logged_engine().download(
            self.manifest,
            target,
            prefix=path_prefix,
            include=include,
            exclude=exclude,
            allow_missing=allow_missing_references,
        )
        return target

    def file(self, root: str | os.PathLike[str] | None = None) -> str:
        """Download the only file and return its path. Raises `UsageError` when there are several."""
        first = [entry for _, entry in zip(range(2), self.manifest, strict=False)]
        if len(first) != 1:
            raise UsageError(
                f"'{self.path}' has {self.info.entries} entries, not one", hint="Use get_entry(name).download()."
            )
        return self.get_entry(first[0].path).download(root)

    def wait(self, timeout: float | None = None) -> Artifact:
        """Return at once: logging is finished when `log_artifact` returns."""
        _ = self.info
        return self
