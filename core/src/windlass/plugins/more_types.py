"""Descriptors of what jobs need: runners, builders, registries, environments, serializers.

Import the names from `windlass.plugins`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from windlass.plugins.types import Context, nothing_special

if TYPE_CHECKING:
    from windlass.builders import Builder, BuilderCapabilities
    from windlass.environments import Environment, EnvironmentCapabilities
    from windlass.registries import Registry, RegistryCapabilities
    from windlass.runners import Runner, RunnerCapabilities
    from windlass.serializers import Serializer

C = TypeVar("C")


class RunnerPlugin(msgspec.Struct, Generic[C], frozen=True, kw_only=True):
    """Describes a runner.

    Attributes:
        name: What users write (``--resource``).
        summary: One line for ``windlass plugins list``.
        config: attrs class of the agent's settings for this runner (``runners: {<name>: {…}}`` in launch-config.yaml).
        create: Makes the runner; imports the SDK inside.
        capabilities: What it can do.
        resource_args: attrs class of the queue config and ``-R`` (one key of the resource each), or None when
            any mapping is taken and the resource itself checks it.
    """

    name: str
    summary: str
    config: type[C]
    create: Callable[[C, Context], Runner]
    capabilities: RunnerCapabilities = nothing_special("runners", "RunnerCapabilities")
    resource_args: type[Any] | None = None


class BuilderPlugin(msgspec.Struct, Generic[C], frozen=True, kw_only=True):
    """Describes a builder. `config` is the ``builder:`` mapping without ``type``."""

    name: str
    summary: str
    config: type[C]
    create: Callable[[C, Context], Builder]
    capabilities: BuilderCapabilities = nothing_special("builders", "BuilderCapabilities")


class RegistryPlugin(msgspec.Struct, Generic[C], frozen=True, kw_only=True):
    """Describes a container registry. `config` is the ``registry:`` mapping without ``type``.

    Attributes:
        hosts: Globs of registry hosts it is meant for (``*.dkr.ecr.*.amazonaws.com``); used when no type is given.
    """

    name: str
    summary: str
    config: type[C]
    create: Callable[[C, Context], Registry]
    hosts: tuple[str, ...] = ()
    capabilities: RegistryCapabilities = nothing_special("registries", "RegistryCapabilities")


class EnvironmentPlugin(msgspec.Struct, Generic[C], frozen=True, kw_only=True):
    """Describes a source of cloud credentials. `config` is the ``environment:`` mapping without ``type``."""

    name: str
    summary: str
    config: type[C]
    create: Callable[[C, Context], Environment]
    capabilities: EnvironmentCapabilities = nothing_special("environments", "EnvironmentCapabilities")


class SerializerPlugin(msgspec.Struct, Generic[C], frozen=True, kw_only=True):
    """Describes a serializer. `config` holds the parameters of a dump or load (``{"compress": 3}``).

    Attributes:
        media_type: ``application/x-python-pickle`` …
        extensions: File name extensions with dot, the first is used for writing.
        handles: Qualified names of types it is the natural choice for (``"numpy.ndarray"``); ``("*",)``: anything.
        executes_code: Reading runs code that the bytes name; needs to be allowed.
    """

    name: str
    summary: str
    config: type[C]
    create: Callable[[C, Context], Serializer]
    media_type: str
    extensions: tuple[str, ...]
    handles: tuple[str, ...] = ()
    executes_code: bool = False
