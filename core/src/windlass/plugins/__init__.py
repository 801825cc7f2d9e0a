"""The plugin contract. Plugin authors import from here, from the interface modules and from `windlass.errors`.

A name is loaded when it is first used: a plugin that needs a descriptor and the mark of its hook loads only these.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windlass.plugins.app import App
    from windlass.plugins.events import ArtifactCommitted, ImageBuilt, RunChanged, RunFinished, RunSubmitted
    from windlass.plugins.hookspec import hookimpl
    from windlass.plugins.more_types import (
        BuilderPlugin,
        EnvironmentPlugin,
        RegistryPlugin,
        RunnerPlugin,
        SerializerPlugin,
    )
    from windlass.plugins.storage_type import StoragePlugin
    from windlass.plugins.types import Context, MetastorePlugin, PluginInfo

__all__ = [
    "App",
    "ArtifactCommitted",
    "BuilderPlugin",
    "Context",
    "EnvironmentPlugin",
    "ImageBuilt",
    "MetastorePlugin",
    "PluginInfo",
    "RegistryPlugin",
    "RunChanged",
    "RunFinished",
    "RunSubmitted",
    "RunnerPlugin",
    "SerializerPlugin",
    "StoragePlugin",
    "hookimpl",
]

_MODULES = {
    "App": "app",
    "ArtifactCommitted": "events",
    "BuilderPlugin": "more_types",
    "Context": "types",
    "EnvironmentPlugin": "more_types",
    "ImageBuilt": "events",
    "MetastorePlugin": "types",
    "PluginInfo": "types",
    "RegistryPlugin": "more_types",
    "RunChanged": "events",
    "RunFinished": "events",
    "RunSubmitted": "events",
    "RunnerPlugin": "more_types",
    "SerializerPlugin": "more_types",
    "StoragePlugin": "storage_type",
    "hookimpl": "hookspec",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
