"""The storages of one App: made when a URI of theirs is met, with the config and credentials that belong to them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from windlass.errors import ConfigError, Problem, SecretError
from windlass.plugins.lookup import storage_name

if TYPE_CHECKING:
    from windlass.config.document import Document
    from windlass.environments import Environment
    from windlass.plugins.app import App
    from windlass.storage import Storage

FILE = "storage.yaml"
"""In ``WINDLASS_HOME``: one mapping per storage plugin, e.g. ``s3: {endpoint-url: http://127.0.0.1:9000}``."""


class Storages:
    """Storages by plugin name, kept open.

    Args:
        app: Where their plugins are looked up.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._open: dict[str, Storage] = {}
        self._configs: Mapping[str, Any] | None = None
        self._where = "$"
        self._file: Document | None = None
        self._environment: Environment | None = None
        self._given: frozenset[str] = frozenset()

    def configure(self, configs: Mapping[str, Any], environment: Environment | None, where: str) -> None:
        """Use these configs, by plugin name, and these credentials for storages that are made from now on.

        Raises:
            ConfigError: A name that no installed storage plugin has, or a config that is no mapping.
        """
        checked = _checked(self._app, configs, where)
        self._configs = {**self._from_file(), **checked}
        self._where = where
        self._given = frozenset(checked)
        self._environment = environment

    def check(self) -> tuple[str, ...]:
        """Read the settings of all storages that have some, and follow their secrets; the names of these storages.

        Raises:
            ConfigError: All that does not fit.
        """
        from windlass.config.secrets import references_in

        if self._configs is None:
            self._configs = self._from_file()
        problems: list[Problem] = []
        for name, config in self._configs.items():
            where, document = self._place(name)
            try:
                settings = self._app.read_settings("storage", name, config, where=where, document=document)
            except ConfigError as error:
                problems += error.problems or [Problem(error.message, where=error.where, hint=error.hint)]
                continue
            secrets = self._app.context(self._environment, kind="storage", name=name).secrets
            for place, reference in references_in(settings, where):
                try:
                    secrets.resolve(reference, where=document.place(place) if document else place)
                except SecretError as error:
                    problems.append(Problem(error.message, where=error.where, hint=error.hint))
        if problems:
            raise ConfigError("the storage configuration does not fit", where=self._where, problems=problems)
        return tuple(self._configs)

    def get(self, uri: str) -> Storage:
        """The storage that serves a URI. See `App.storage_for`."""
        name = storage_name(self._app, uri)
        with self._lock:
            found = self._open.get(name)
        if found is not None:
            return found
        made = self._make(name)
        with self._lock:
            kept = self._open.setdefault(name, made)
        if kept is not made:  # another thread was faster
            made.close()
        return kept

    def _make(self, name: str) -> Storage:
        if name.startswith("fsspec:"):
            from windlass.artifacts.fsspec_storage import FsspecStorage

            return FsspecStorage(name.removeprefix("fsspec:"))
        if self._configs is None:
            self._configs = self._from_file()
        config = self._configs.get(name, {})
        where, document = self._place(name)
        made = self._app.create(
            "storage", name, config, environment=self._environment, where=where, document=document
        )  # fmt: skip
        return cast("Storage", made)

    def _place(self, name: str) -> tuple[str, Document | None]:
        """Where the config of a storage stands: in the file, or in what `configure` was given."""
        if self._file is not None and name not in self._given:
            return f"$.{name}", self._file
        return f"{self._where}.{name}", None

    def _from_file(self) -> Mapping[str, Any]:
        path = self._app.settings.home / FILE
        if not path.is_file():
            return {}
        from windlass.config.document import load

        document = load(path)
        checked = _checked(self._app, document.data, str(path))
        self._file, self._where = document, str(path)
        return checked

    def close(self) -> None:
        """Close what was opened. May be repeated."""
        with self._lock:
            storages, self._open = self._open, {}
        for storage in storages.values():
            storage.close()


def _checked(app: App, configs: Any, where: str) -> dict[str, Any]:
    if not isinstance(configs, Mapping):
        raise ConfigError("expected a mapping of storage plugins to their configs", where=where)
    installed = app.storage.names()
    problems = [
        Problem(f"no storage plugin is called '{name}'", where=where, hint=f"installed: {', '.join(installed)}")
        for name in configs
        if name not in installed
    ]
    problems += [
        Problem("expected a mapping", where=f"{where}.{name}")
        for name, c in configs.items()
        if not isinstance(c, Mapping)
    ]
    if problems:
        raise ConfigError("the storage configuration does not fit", where=where, problems=problems)
    return dict(configs)
