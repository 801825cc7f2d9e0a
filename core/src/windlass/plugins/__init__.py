"""The plugin contract. Plugin authors import from here, from the interface modules and from `windlass.errors`."""

from windlass.plugins.app import App
from windlass.plugins.events import ArtifactCommitted, ImageBuilt, RunChanged, RunFinished, RunSubmitted
from windlass.plugins.hookspec import hookimpl
from windlass.plugins.types import (
    BuilderPlugin,
    Context,
    EnvironmentPlugin,
    MetastorePlugin,
    PluginInfo,
    RegistryPlugin,
    RunnerPlugin,
    SerializerPlugin,
    StoragePlugin,
)

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
