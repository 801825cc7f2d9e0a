"""The artifact as people use it: put together, logged, found again, downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Self

from windlass.artifacts.building import ArtifactBuilding
from windlass.artifacts.digest import algorithm_of, artifact_digest
from windlass.artifacts.entry import ArtifactEntry
from windlass.artifacts.manifest import Entry
from windlass.artifacts.names import check_alias, check_tag
from windlass.errors import IntegrityError, UsageError
from windlass.models import artifact as models
from windlass.models.artifact import EdgeKind

__all__ = ["Artifact"]


class Artifact(ArtifactBuilding):
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
        """Where `download` writes by default: ``<WINDLASS_ARTIFACT_DIR>/<name>:<version>``.

        ``@<digest>`` is added where another content of that name was written before, as from another project.
        """
        return self._default_root(claim=False)

    def target(self, root: str | os.PathLike[str] | None = None) -> str:
        """Absolute path of a folder that is going to be written. The default one is this content's from now on."""
        return os.path.abspath(os.fspath(root)) if root is not None else self._default_root(claim=True)

    def _default_root(self, *, claim: bool) -> str:
        from windlass.artifacts.roots import default_root

        mark = "-" if os.name == "nt" else ":"
        folder = os.path.abspath(self._logged_engine().settings.artifact_dir)
        return default_root(folder, f"{self._name}{mark}{self.version}", self.digest, claim=claim)

    def download(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        path_prefix: str = "",
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        allow_missing_references: bool = False,
    ) -> str:
        """Write the content to a folder and return the folder. Every byte is verified.

        Files that are there already with the right content stay; files that are not of the artifact stay too (see
        `checkout`).

        Args:
            root: Folder. Default: `default_root`.
            path_prefix: Only what is at or below this path.
            include: Globs, or one; only matching paths.
            exclude: Lines (or one) as in ``.gitignore``; matching paths are left out.
            allow_missing_references: Go on when the target of a reference is gone.

        Raises:
            IntegrityError: Bytes are not what was recorded.
            ObjectNotFoundError, ObjectChangedError: The target of a reference is gone, or is another.
        """
        engine = self._logged_engine()
        engine.look_for(self.manifest, path_prefix)  # before a folder is claimed
        target = self.target(root)
        engine.download(
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

    def get(self, name: str, *, allow_code: bool | None = None) -> Any:
        """The object that was added under a name, as what it was.

        Args:
            name: As given to `add`, or the path of its entry.
            allow_code: Read formats that run code (pickle) also when another entity wrote them. Default: what
                ``WINDLASS_ALLOW_CODE`` says.

        Raises:
            ArtifactNotFoundError: There is no such object.
            AccessError: It would run code of another entity.
            UsageError: The entry is a plain file.
        """
        from windlass.artifacts.objects import find_object, load_object

        return load_object(self._logged_engine(), self, find_object(self, name), allow_code=allow_code)

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def checkout(self, root: str | os.PathLike[str] | None = None) -> str:
        """Make a folder equal to the artifact: as `download`, and then files that are not of it are deleted."""
        target = self.target(root)
        self._logged_engine().checkout(self.manifest, target)
        return target

    def verify(self, root: str | os.PathLike[str] | None = None) -> None:
        """Compare a folder with the artifact; all bytes are read.

        Raises:
            IntegrityError: Files are missing, additional or different; names them.
        """
        target = os.path.abspath(os.fspath(root)) if root is not None else self.default_root()
        self._logged_engine().verify(self.manifest, target)

    def check_manifest(self) -> None:
        """Prove that the manifest is the one that the (signed) artifact digest stands for. Raises `IntegrityError`."""
        found = artifact_digest(self.manifest, algorithm_of(self.digest), facts=self.manifest.has_facts)
        if found != self.digest:
            raise IntegrityError(
                f"the manifest is not that of the artifact: expected {self.digest}, found {found}", where=self.path
            )

    def link(self, target_path: str, aliases: str | Sequence[str] = ()) -> Artifact:
        """Make it a version of another collection, too. See `Run.link_artifact`.

        The active run does it, or a run that is made for it.
        """
        from windlass.sdk.globals import acting_run

        with acting_run() as run:
            return run.link_artifact(self, target_path, aliases)

    # -- labels and life

    def save(self) -> Self:
        """Store changed description, metadata, tags and life time of a logged artifact.

        One that is not logged yet is logged by the active run, or by a run that is made for it.
        """
        if not self.logged:
            from windlass.sdk.globals import acting_run

            with acting_run() as run:
                run.log_artifact(self)
            return self
        return self._update(
            models.VersionUpdate(
                description=self.description or "",
                metadata=self.plain_metadata(),
                add_tags=tuple(tag for tag in self.tags if tag not in self.info.tags),
                remove_tags=tuple(tag for tag in self.info.tags if tag not in self.tags),
                ttl_seconds=-1.0 if self.ttl_seconds is None else self.ttl_seconds,
            )
        )

    def add_aliases(self, *aliases: str) -> Self:
        """Point aliases at this version; they move away from the version that had them."""
        return self._update(models.VersionUpdate(add_aliases=tuple(check_alias(alias) for alias in aliases)))

    def remove_aliases(self, *aliases: str) -> Self:
        """Take aliases away."""
        return self._update(models.VersionUpdate(remove_aliases=aliases))

    def add_tags(self, *tags: str) -> Self:
        """Add tags."""
        return self._update(models.VersionUpdate(add_tags=tuple(check_tag(tag) for tag in tags)))

    def remove_tags(self, *tags: str) -> Self:
        """Remove tags."""
        return self._update(models.VersionUpdate(remove_tags=tags))

    def _update(self, changes: models.VersionUpdate) -> Self:
        engine = self._logged_engine()
        self.bind(engine, engine.store.artifacts.update(self.id, changes))
        return self

    def delete(self, delete_aliases: bool = False) -> None:
        """Delete the version; it can be restored until garbage collection purges it.

        Args:
            delete_aliases: Also when it has aliases other than ``latest``.

        Raises:
            ConflictError: It has aliases, or a protected one.
        """
        self._logged_engine().store.artifacts.delete(self.id, delete_aliases)

    def used_by(self) -> list[str]:
        """Ids of the runs that use it."""
        edges = self._logged_engine().store.artifacts.edges(version_id=self.id, kind=EdgeKind.INPUT)
        return [edge.run for edge in edges]

    def logged_by(self) -> str:
        """Id of the run that logged it, or empty."""
        return self.info.run

    def interchange_digest(self) -> str:
        """The MD5 manifest digest that other tools compute; reads all content that is stored."""
        return self._logged_engine().interchange_digest(self.manifest)

    def wait(self, timeout: float | None = None) -> Self:
        """Return at once: logging is finished when `log_artifact` returns."""
        _ = self.info
        return self
