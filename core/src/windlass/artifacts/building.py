"""Putting an artifact together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import IO, TYPE_CHECKING, Any, Self

from windlass.artifacts.draft import writing
from windlass.artifacts.facts import ArtifactFacts
from windlass.artifacts.manifest import Entry
from windlass.artifacts.names import MAX_OBJECTS

if TYPE_CHECKING:
    from windlass.artifacts.entry import ArtifactEntry
    from windlass.plugins.app import App
    from windlass.settings import Settings

__all__ = ["ArtifactBuilding"]


def default_app() -> App:
    """Plugins and their configs for artifacts that no engine has seen yet: the active run's, else this process's."""
    from windlass.sdk.globals import current_run
    from windlass.settings import Settings

    run = current_run()
    return (run.app if run is not None else None) or _app_of(Settings.from_env())


@cache
def _app_of(settings: Settings) -> App:
    from windlass.plugins.app import App

    return App(settings)


class ArtifactBuilding(ArtifactFacts):
    """An artifact's content while it is put together."""

    def add_file(
        self,
        local_path: str | os.PathLike[str],
        name: str | os.PathLike[str] | None = None,
        *,
        policy: str = "immutable",
        overwrite: bool = False,
    ) -> str:
        """Add a file; returns its path in the artifact. It is read when the artifact is logged.

        Args:
            local_path: The file.
            name: Path in the artifact. Default: the file's own name.
            policy: ``immutable``: the file stays as it is until then (checked); ``mutable``: a copy is made now.
            overwrite: Replace an entry of that path, and an object of that name.

        Raises:
            UsageError: No such file, or the path is taken by other content or is the name of an object.
        """
        local = os.fspath(local_path)
        path = os.fspath(name) if name else os.path.basename(local)
        return self._open_draft().add_file(local, path, policy=policy, overwrite=overwrite)

    def add_dir(
        self,
        local_path: str | os.PathLike[str],
        name: str | os.PathLike[str] | None = None,
        *,
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        symlinks: str = "error",
        policy: str = "immutable",
        merge: bool = False,
        overwrite: bool = False,
    ) -> int:
        """Add the files below a folder; returns how many.

        Args:
            local_path: The folder. A ``.windlassignore`` in it is obeyed (lines as in ``.gitignore``).
            name: Folder in the artifact. Default: its top.
            include: Globs, or one; only matching files are taken.
            exclude: Lines (or one) as in ``.gitignore``, after those of ``.windlassignore``.
            symlinks: What becomes of symbolic links below the folder: ``error``: the first is refused; ``follow``: what
                it leads to is taken, wherever that is; ``skip``: left out.
            policy: See `add_file`.
            merge: The same as `overwrite`.
            overwrite: Replace entries of the same paths.

        Raises:
            UsageError: No such folder; a path that is taken by other content; a name that is not UTF-8; a link that
                `symlinks` does not permit, or leads nowhere or in a circle; a FIFO, socket or device.
        """
        return self._open_draft().add_dir(
            os.fspath(local_path),
            os.fspath(name) if name else "",
            include=include,
            exclude=exclude,
            symlinks=symlinks,
            policy=policy,
            overwrite=overwrite or merge,
        )

    def new_file(
        self, name: str | os.PathLike[str], mode: str = "x", encoding: str | None = None
    ) -> AbstractContextManager[IO[Any]]:
        """Open a new file for writing; it becomes an entry when the ``with`` block ends without an exception.

        Args:
            name: Path in the artifact.
            mode: ``x``: it must be new; ``w``: replace; with ``b`` for bytes.
            encoding: Default UTF-8.
        """
        return writing(self._open_draft(), os.fspath(name), mode, encoding)

    def remove(self, item: str | os.PathLike[str] | ArtifactEntry) -> None:
        """Remove an entry, an object by its name, or all below a folder. Raises `ArtifactNotFoundError`.

        An incremental artifact leaves it out of what it takes from the latest version; it is looked for when logged.
        """
        from windlass.artifacts.entry import ArtifactEntry

        path = item.path if isinstance(item, ArtifactEntry) else os.fspath(item)
        self._open_draft().remove(path, from_base=self.incremental)

    def add(
        self,
        obj: Any,
        name: str,
        *,
        serializer: str = "",
        parameters: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> str:
        """Add a Python object; returns the path of its entry. `get` gives it back under `name`.

        Args:
            obj: A `Table`, `Image` or other media, or anything a serializer can write.
            name: Name in the artifact; an extension is added.
            serializer: Name of a serializer; by default one that knows the type, else ``pickle``.
            parameters: Passed to the serializer (``{"compress": 3}``).
            overwrite: Replace what has that name: an object, of whatever type, or a file.

        Raises:
            UsageError: The name is taken; names both entries.
            PluginNotFoundError: No such serializer. Names those that are installed.
            SerializationError: It cannot hold the object.
        """
        from windlass.artifacts.objects import add_object

        draft = self._open_draft()
        return add_object(
            self._app(), draft, obj, name, serializer=serializer, parameters=parameters, overwrite=overwrite
        )

    def __setitem__(self, name: str, obj: Any) -> None:
        self.add(obj, name, overwrite=True)

    def add_reference(
        self,
        uri: str | os.PathLike[str],
        name: str | os.PathLike[str] | None = None,
        *,
        checksum: bool = True,
        max_objects: int = MAX_OBJECTS,
        symlinks: str = "error",
        overwrite: bool = False,
    ) -> list[Entry]:
        """Add what is at a URI without copying it; returns the entries.

        Args:
            uri: An object, or a folder of objects: ``s3://``, ``gs://``, ``https://``, ``file:///`` … or any protocol
                that an installed fsspec filesystem serves.
            name: Path of the object, or folder of many. Default: the object's own name, or the top.
            checksum: Record what identifies the bytes. With False only the address is recorded.
            max_objects: More objects than this are an error.
            symlinks: What becomes of symbolic links below a ``file://`` folder; see `add_dir`.
            overwrite: Replace entries of the same paths.

        Raises:
            ObjectNotFoundError: Nothing is there.
            UsageError: Too many objects; a path that is taken by other content (names both); no scheme; a link that
                `symlinks` does not permit.
        """
        from windlass.artifacts.references import reference_entries

        draft = self._open_draft()
        entries = reference_entries(
            os.fspath(uri),
            os.fspath(name) if name else None,
            self._app().storage_for,
            checksum=checksum,
            max_objects=max_objects,
            symlinks=symlinks,
        )
        draft.add_checked(entries, overwrite=overwrite)
        return entries

    def _app(self) -> App:
        if self._engine is not None:
            return self._engine.app
        return self.app or default_app()

    def new_draft(self) -> Self:
        """A new artifact with all entries of this version, to be changed and logged as the next version."""
        made = type(self).internal(self._name, self.type, self.description, self.metadata)
        made._entity, made._project, made._engine = self._entity, self._project, self._logged_engine()
        made.draft = self.content()
        made.take_over(*self.origins)
        return made
