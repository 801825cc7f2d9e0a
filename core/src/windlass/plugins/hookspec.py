"""All hooks of Windlass. Providers yield descriptors; events tell what happened. There is no ``firstresult`` hook.

A plugin is a module with functions of these names, marked with `hookimpl`::

    from windlass.plugins import RunnerPlugin, hookimpl

    @hookimpl
    def windlass_runners():
        yield RunnerPlugin(name="mine", summary="…", config=MyConfig, create=_create)

and an entry point of the kind's group whose name is the descriptor's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from windlass.plugins.events import ArtifactCommitted, ImageBuilt, RunChanged, RunFinished, RunSubmitted
    from windlass.plugins.types import (
        BuilderPlugin,
        EnvironmentPlugin,
        MetastorePlugin,
        RegistryPlugin,
        RunnerPlugin,
        SerializerPlugin,
        StoragePlugin,
    )

hookspec = pluggy.HookspecMarker("windlass")
hookimpl = pluggy.HookimplMarker("windlass")

# -- providers: called once, when a name of the kind is asked for ---------------------------------------------------


@hookspec
def windlass_builders() -> Iterable[BuilderPlugin[Any]]:
    """Yield builders. Entry-point group ``windlass.builders``.

    Called when a builder of that entry point's name is asked for, once in a process. Import no SDK.
    """
    return ()


@hookspec
def windlass_runners() -> Iterable[RunnerPlugin[Any]]:
    """Yield runners. Entry-point group ``windlass.runners``.

    Called when a runner of that entry point's name is asked for, once in a process. Import no SDK.
    """
    return ()


@hookspec
def windlass_registries() -> Iterable[RegistryPlugin[Any]]:
    """Yield container registries. Entry-point group ``windlass.registries``.

    Called when a registry of that entry point's name is asked for, or when all are asked which hosts they serve.
    """
    return ()


@hookspec
def windlass_environments() -> Iterable[EnvironmentPlugin[Any]]:
    """Yield sources of cloud credentials. Entry-point group ``windlass.environments``.

    Called when an environment of that entry point's name is asked for.
    """
    return ()


@hookspec
def windlass_storage_schemes() -> Iterable[StoragePlugin[Any]]:
    """Yield storage schemes. Entry-point group ``windlass.storage``.

    Called when a URI of an unknown scheme is met for the first time.
    """
    return ()


@hookspec
def windlass_serializers() -> Iterable[SerializerPlugin[Any]]:
    """Yield serializers. Entry-point group ``windlass.serializers``.

    Called when a serializer is asked for by name, or when an object is to be written and none was named.
    """
    return ()


@hookspec
def windlass_metastores() -> Iterable[MetastorePlugin[Any]]:
    """Yield metadata stores. Entry-point group ``windlass.metastores``.

    Called when the store of ``WINDLASS_BASE_URL`` is opened.
    """
    return ()


# -- events: every implementation is called; results are ignored, exceptions are logged -----------------------------


@hookspec
def windlass_run_submitted(event: RunSubmitted) -> None:
    """A launch request was put on a queue, or a run was started here and now. Called by the submitter."""


@hookspec
def windlass_run_changed(event: RunChanged) -> None:
    """A run has another state or phase. Called by its agent."""


@hookspec
def windlass_run_finished(event: RunFinished) -> None:
    """A run is over. Called by its agent, after `windlass_run_changed`."""


@hookspec
def windlass_image_built(event: ImageBuilt) -> None:
    """An image for a run is ready. Called by its agent."""


@hookspec
def windlass_artifact_committed(event: ArtifactCommitted) -> None:
    """A new artifact version is visible. Called by the process that logged it."""
