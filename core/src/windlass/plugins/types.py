"""What a provider hook yields: one frozen descriptor per backend, with a constructor that is called late.

Metadata stores, which every command needs, are described here; storages in `windlass.plugins.storage_type` and the
others in `windlass.plugins.more_types`, which are loaded when one of them is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from time import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from windlass.settings import Settings

if TYPE_CHECKING:
    import logging

    from windlass.config.secrets import SecretResolver
    from windlass.environments import Environment
    from windlass.metastore import MetadataStore, MetastoreCapabilities
    from windlass.plugins.app import App
    from windlass.plugins.more_types import (
        BuilderPlugin,
        EnvironmentPlugin,
        RegistryPlugin,
        RunnerPlugin,
        SerializerPlugin,
    )
    from windlass.plugins.storage_type import StoragePlugin

__all__ = [
    "BuilderPlugin",
    "Context",
    "EnvironmentPlugin",
    "MetastorePlugin",
    "PluginInfo",
    "RegistryPlugin",
    "RunnerPlugin",
    "SerializerPlugin",
    "StoragePlugin",
    "nothing_special",
]

C = TypeVar("C")


def nothing_special(interface: str, name: str) -> Any:
    """The default capabilities; the interface's module is loaded with the first plugin of its kind, not before."""

    def make() -> Any:
        return getattr(import_module(f"windlass.{interface}"), name)()

    return msgspec.field(default_factory=make)


_ELSEWHERE = {
    "BuilderPlugin": "more_types",
    "EnvironmentPlugin": "more_types",
    "RegistryPlugin": "more_types",
    "RunnerPlugin": "more_types",
    "SerializerPlugin": "more_types",
    "StoragePlugin": "storage_type",
}


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"windlass.plugins.{_ELSEWHERE[name]}"), name)


class PluginInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Where a plugin comes from; known without importing it.

    Attributes:
        kind: ``builder``, ``runner``, ``registry``, ``environment``, ``storage``, ``serializer``, ``metastore`` or
            ``hook``.
        name: The value users write in YAML.
        target: Module, optionally ``:attribute``, that the entry point names.
        summary: One line.
        distribution, version: Who ships it. ``(registered)`` for one registered in this process.
    """

    kind: str
    name: str
    target: str = ""
    summary: str = ""
    distribution: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}' of {self.distribution} {self.version}".rstrip()


class Context(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a plugin's constructor gets beside its config. New facts are new fields.

    Attributes:
        settings: Settings of this process.
        app: The look-up of the other plugins.
        secrets: Resolves secret references.
        environment: Cloud credentials, when one is configured.
        clock: Seconds since the epoch; replaced in tests.
        logger_name: That of `logger`.
        place: Where a JSON path of the plugin's own config (``$.key``) stands for those who wrote it: its path in the
            whole document, with file and line where there are any. `secrets` names places so by itself.
    """

    settings: Settings
    app: App
    secrets: SecretResolver
    environment: Environment | None = None
    clock: Callable[[], float] = time
    logger_name: str = "windlass.plugin"
    place: Callable[[str], str] = str

    def __repr__(self) -> str:
        return f"Context({self.logger_name})"

    @property
    def logger(self) -> logging.Logger:
        """Logger of the plugin."""
        import logging  # most commands log nothing

        return logging.getLogger(self.logger_name)


class MetastorePlugin(msgspec.Struct, Generic[C], frozen=True, kw_only=True):
    """Describes a metadata store.

    Attributes:
        schemes: URL schemes of ``WINDLASS_BASE_URL`` it serves (``("sqlite", "postgresql")``).
        create: Gets the config, which must have a field ``url``.
    """

    name: str
    summary: str
    schemes: tuple[str, ...]
    config: type[C]
    create: Callable[[C, Context], MetadataStore]
    capabilities: Mapping[str, MetastoreCapabilities] = {}
