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
        self._places: dict[str, tuple[str, Document | None]] = {}  # path of each config, and the file it stands in
        self._environment: Environment | None = None

    def configure(
        self, configs: Mapping[str, Any], environment: Environment | None, where: str, document: Document | None
    ) -> None:
        """Use these configs, by plugin name, and these credentials for storages that are made from now on.

        Raises:
            ConfigError: A name that no installed storage plugin has, or a config that is no mapping.
        """
        self._configs = {**self._from_file(), **_checked(self._app, configs, where, document)}
        self._places.update({name: (f"{where}.{name}", document) for name in configs})
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
            where, document = self._places[name]
            try:
                settings = self._app.read_settings("storage", name, config, where=where, document=document)
            except ConfigError as error:
                problems += error.problems or [Problem(error.message, where=error.where, hint=error.hint)]
                continue
            secrets = self._app.context(kind="storage", name=name, where=where, document=document).secrets
            for place, reference in references_in(settings, "$"):
                try:
                    secrets.resolve(reference, where=place)
                except SecretError as error:
                    problems.append(Problem(error.message, where=error.where, hint=error.hint))
        if problems:
            raise ConfigError("the storage configuration does not fit", problems=problems)
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
        where, document = self._places.get(name, ("$", None))
        made = self._app.create("storage", name, config, environment=self._environment, where=where, document=document)
        return cast("Storage", made)

    def _from_file(self) -> Mapping[str, Any]:
        path = self._app.settings.home / FILE
        if not path.is_file():
            return {}
        from windlass.config.document import load

        document = load(path)
        found = _checked(self._app, document.data, "$", document)
        self._places = {name: (f"$.{name}", document) for name in found}
        return found

    def close(self) -> None:
        """Close what was opened. May be repeated."""
        with self._lock:
            storages, self._open = self._open, {}
        for storage in storages.values():
            storage.close()


def _checked(app: App, configs: Any, where: str, document: Document | None) -> dict[str, Any]:
    place = document.place if document is not None else str
    if not isinstance(configs, Mapping):
        raise ConfigError("expected a mapping of storage plugins to their configs", where=place(where))
    installed = app.storage.names()
    problems = [
        Problem(
            f"no storage plugin is called '{name}'",
            where=place(f"{where}.{name}"),
            hint=f"installed: {', '.join(installed)}",
        )
        for name in configs
        if name not in installed
    ]
    problems += [
        Problem("expected a mapping", where=place(f"{where}.{name}"))
        for name, c in configs.items()
        if not isinstance(c, Mapping)
    ]
    if problems:
        source = document.source if document is not None else where
        raise ConfigError("the storage configuration does not fit", where=source, problems=problems)
    return dict(configs)
