"""The App: catalogs of all kinds, and the way from a config mapping to a working backend."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from windlass.errors import PluginInvalidError, PluginNotFoundError, WindlassError
from windlass.plugins.catalog import Catalog, HookCatalog
from windlass.plugins.loading import load_file
from windlass.plugins.scan import installed_plugins, remembered_plugins
from windlass.plugins.storages import Storages
from windlass.plugins.types import Context, PluginInfo
from windlass.settings import Settings

if TYPE_CHECKING:
    from windlass.builders import Builder
    from windlass.config.document import Document
    from windlass.environments import Environment
    from windlass.metastore import MetadataStore
    from windlass.plugins.events import Event
    from windlass.plugins.types import (
        BuilderPlugin,
        EnvironmentPlugin,
        MetastorePlugin,
        RegistryPlugin,
        RunnerPlugin,
        SerializerPlugin,
        StoragePlugin,
    )
    from windlass.registries import Registry
    from windlass.runners import Runner
    from windlass.serializers import Serializer
    from windlass.storage import Storage


_KINDS = {
    "builder": ("windlass_builders", "BuilderPlugin"),
    "runner": ("windlass_runners", "RunnerPlugin"),
    "registry": ("windlass_registries", "RegistryPlugin"),
    "environment": ("windlass_environments", "EnvironmentPlugin"),
    "storage": ("windlass_storage_schemes", "StoragePlugin"),
    "serializer": ("windlass_serializers", "SerializerPlugin"),
    "metastore": ("windlass_metastores", "MetastorePlugin"),
}
KINDS = tuple(_KINDS)
"""The kinds of plugins, in the order in which they are shown."""


class App:
    """Where consumers (command line, agent, server, SDK, orchestrators) find plugins. There is no global one.

    Args:
        settings: Settings of this process; from the environment by default.
        plugins: Python files with plugins that are not packaged.

    Attributes:
        builders, runners, registries, environments, storage, serializers, metastores: One `Catalog` each.
        hooks: Event hooks.
    """

    def __init__(self, settings: Settings | None = None, *, plugins: Iterable[str | os.PathLike[str]] = ()) -> None:
        self.settings = settings or Settings.from_env()
        self._catalogs: dict[str, Catalog[Any]] = {
            kind: Catalog(kind, hook, descriptor, self._installed) for kind, (hook, descriptor) in _KINDS.items()
        }
        self.builders: Catalog[BuilderPlugin[Any]] = self._catalogs["builder"]
        self.runners: Catalog[RunnerPlugin[Any]] = self._catalogs["runner"]
        self.registries: Catalog[RegistryPlugin[Any]] = self._catalogs["registry"]
        self.environments: Catalog[EnvironmentPlugin[Any]] = self._catalogs["environment"]
        self.storage: Catalog[StoragePlugin[Any]] = self._catalogs["storage"]
        self.serializers: Catalog[SerializerPlugin[Any]] = self._catalogs["serializer"]
        self.metastores: Catalog[MetastorePlugin[Any]] = self._catalogs["metastore"]
        self.hooks = HookCatalog(self._installed, _report)
        self._storages = Storages(self)
        for path in plugins:
            self.load(path)

    @cached_property
    def _scan(self) -> tuple[PluginInfo, ...]:
        folder = self.settings.cache_dir
        return remembered_plugins(folder / "plugins.json") if folder.is_absolute() else installed_plugins()

    def _installed(self) -> tuple[PluginInfo, ...]:
        return self._scan

    def catalog(self, kind: str) -> Catalog[Any]:
        """The catalog of a kind. Raises `PluginNotFoundError` naming the kinds there are."""
        try:
            return self._catalogs[kind]
        except KeyError:
            raise PluginNotFoundError(
                f"there is no kind of plugin called '{kind}'", hint=f"Kinds: {', '.join(KINDS)}."
            ) from None

    def installed(self) -> tuple[PluginInfo, ...]:
        """All plugins of all kinds, event hooks included. Imports nothing."""
        infos = [info for kind in KINDS for info in self._catalogs[kind].infos()]
        return (*infos, *(info for info in self._scan if info.kind not in _KINDS))

    def register(self, plugin: Any) -> None:
        """Add a descriptor, or an object with event hooks, for this process.

        Raises:
            PluginConflictError: The name is taken.
            PluginInvalidError: It is neither.
        """
        names = {cls.__name__ for cls in type(plugin).__mro__}
        for kind, (_, descriptor) in _KINDS.items():
            if descriptor in names and isinstance(plugin, self._catalogs[kind].descriptor):
                self._catalogs[kind].register(plugin)
                return
        if any(name.startswith("windlass_") for name in dir(plugin)):
            self.hooks.register(plugin)
            return
        raise PluginInvalidError(
            f"{type(plugin).__name__} is no plugin",
            hint="Register a RunnerPlugin, BuilderPlugin … or an object with windlass_… event hooks.",
        )

    def load(self, path: str | os.PathLike[str]) -> None:
        """Add all plugins of a Python file. Raises `PluginImportError` or `PluginInvalidError`."""
        path = os.fspath(path)
        module = load_file(path)
        count = sum(catalog.register_module(module, path) for catalog in self._catalogs.values())
        providers = {hook for hook, _ in _KINDS.values()}
        events = [name for name in dir(module) if name.startswith("windlass_") and name not in providers]
        if events:
            self.hooks.register(module, path)
        if not count and not events:
            raise PluginInvalidError(
                "it has no windlass_… hook", where=path, hint="Define e.g. windlass_runners(), marked with @hookimpl."
            )

    def fire(self, event: Event) -> None:
        """Tell event hooks what happened. Never raises."""
        from windlass.plugins.events import fire

        fire(self.hooks, event)

    def context(
        self,
        environment: Environment | None = None,
        *,
        kind: str = "",
        name: str = "",
        where: str = "$",
        document: Document | None = None,
    ) -> Context:
        """The context for a plugin's constructor."""
        from windlass.config.secrets import SecretResolver

        def place(path: str) -> str:
            full = where + path[1:] if path.startswith("$") else path
            return document.place(full) if document is not None and full.startswith("$") else full

        return Context(
            settings=self.settings,
            app=self,
            secrets=SecretResolver(place=place),
            environment=environment,
            logger_name=f"windlass.{kind}.{name}" if kind else "windlass.plugin",
            place=place,
        )

    def create(
        self,
        kind: str,
        name: str,
        config: Mapping[str, Any] | None = None,
        *,
        environment: Environment | None = None,
        where: str = "$",
        document: Document | None = None,
    ) -> Any:
        """Make a backend from its config mapping (without ``type``); its errors will name its distribution.

        Args:
            kind: ``runner``, ``builder`` …
            name: Name of the plugin.
            config: Its settings.
            environment: Where it gets credentials from.
            where: JSON path of `config`, for messages.
            document: The file it came from, if any; messages then give ``file:line``.

        Raises:
            PluginError: See `Catalog.get`.
            ConfigError: The mapping does not fit the plugin's config class.
        """
        settings = self.read_settings(kind, name, config, where=where, document=document)
        catalog = self.catalog(kind)
        descriptor, info = catalog.get(name), catalog.info(name)
        context = self.context(environment, kind=kind, name=name, where=where, document=document)
        try:
            backend = descriptor.create(settings, context)
        except WindlassError:
            raise
        except (Exception, SystemExit) as error:
            from windlass.plugins.guard import crashed

            raise crashed(info, "its constructor", error) from error
        if kind == "metastore":
            return backend
        from windlass.plugins.guard import guard_kind

        return guard_kind(backend, kind, info)

    def read_settings(
        self,
        kind: str,
        name: str,
        config: Mapping[str, Any] | None,
        *,
        where: str = "$",
        document: Document | None = None,
    ) -> Any:
        """The config object for a backend. Arguments and errors as of `create`."""
        from windlass.config.options import default_settings

        known, given = self.catalog(kind).get(name).config, config or {}
        settings = default_settings(known, given)
        if settings is not None:
            return settings
        from windlass.config.converter import structure

        return structure(given, known, where=where, document=document)

    def create_runner(self, name: str, config: Mapping[str, Any] | None = None, **kwargs: Any) -> Runner:
        """Make a runner. See `create`."""
        return cast("Runner", self.create("runner", name, config, **kwargs))

    def create_builder(self, name: str, config: Mapping[str, Any] | None = None, **kwargs: Any) -> Builder:
        """Make a builder. See `create`."""
        return cast("Builder", self.create("builder", name, config, **kwargs))

    def create_registry(self, name: str, config: Mapping[str, Any] | None = None, **kwargs: Any) -> Registry:
        """Make a registry. See `create`."""
        return cast("Registry", self.create("registry", name, config, **kwargs))

    def create_environment(self, name: str, config: Mapping[str, Any] | None = None, **kwargs: Any) -> Environment:
        """Make an environment. See `create`."""
        return cast("Environment", self.create("environment", name, config, **kwargs))

    def create_serializer(self, name: str, parameters: Mapping[str, Any] | None = None) -> Serializer:
        """Make a serializer for one dump or load. See `create`."""
        return cast("Serializer", self.create("serializer", name, parameters, where="$.parameters"))

    def storage_for(self, uri: str) -> Storage:
        """The storage that serves a URI, kept for the next call: a plugin by scheme or host, else any fsspec protocol.

        Raises:
            PluginNotFoundError: Neither a plugin nor an installed fsspec filesystem serves the scheme.
        """
        return self._storages.get(uri)

    def configure_storage(
        self,
        configs: Mapping[str, Any],
        *,
        environment: Environment | None = None,
        where: str = "$.storage",
        document: Document | None = None,
    ) -> None:
        """Give storages their configs (by plugin name) and cloud credentials; before they are used for the first time.

        Without this call ``<home>/storage.yaml`` is read, when it is there.

        Raises:
            ConfigError: An unknown name, or a config that is no mapping.
        """
        self._storages.configure(configs, environment, where, document)

    def check_storages(self) -> tuple[str, ...]:
        """Names of the storages that are configured. Raises `ConfigError` for settings and secrets that do not fit."""
        return self._storages.check()

    def open_store(self, url: str = "") -> MetadataStore:
        """Open the metadata store of a URL; the settings' store by default.

        Raises:
            PluginNotFoundError: No metastore plugin serves the URL's scheme.
            StoreError: It cannot be opened.
        """
        from windlass.plugins.lookup import metastore_name

        url = url or self.settings.store_url
        return cast("MetadataStore", self.create("metastore", metastore_name(self, url), {"url": url}))

    def close(self) -> None:
        """Close the storages that were opened. May be repeated."""
        self._storages.close()


def _report(error: WindlassError) -> None:
    """A hook that cannot be loaded is passed over, and logged."""
    import logging

    logging.getLogger(__name__).error("%s", error)
