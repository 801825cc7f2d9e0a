"""What a provider hook yields: one frozen descriptor per backend, with a constructor that is called late."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import field, frozen

from windlass.builders import BuilderCapabilities
from windlass.environments import EnvironmentCapabilities
from windlass.metastore import MetastoreCapabilities
from windlass.registries import RegistryCapabilities
from windlass.runners import RunnerCapabilities
from windlass.settings import Settings
from windlass.storage import StorageCapabilities

if TYPE_CHECKING:
    from windlass.builders import Builder
    from windlass.config.secrets import SecretResolver
    from windlass.environments import Environment
    from windlass.metastore import MetadataStore
    from windlass.plugins.app import App
    from windlass.registries import Registry
    from windlass.runners import Runner
    from windlass.serializers import Serializer
    from windlass.storage import Storage

C = TypeVar("C")


@frozen(kw_only=True)
class PluginInfo:
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


@frozen(kw_only=True)
class Context:
    """What a plugin's constructor gets beside its config. New facts are new fields.

    Attributes:
        settings: Settings of this process.
        app: The look-up of the other plugins.
        secrets: Resolves secret references.
        environment: Cloud credentials, when one is configured.
        logger: Logger of the plugin.
        clock: Seconds since the epoch; replaced in tests.
    """

    settings: Settings
    app: App = field(eq=False, repr=False)
    secrets: SecretResolver = field(eq=False, repr=False)
    environment: Environment | None = field(default=None, eq=False)
    logger: logging.Logger = field(factory=lambda: logging.getLogger("windlass.plugin"), eq=False, repr=False)
    clock: Callable[[], float] = field(default=__import__("time").time, eq=False, repr=False)


@frozen(kw_only=True)
class RunnerPlugin(Generic[C]):
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
    capabilities: RunnerCapabilities = RunnerCapabilities()
    resource_args: type[Any] | None = None


@frozen(kw_only=True)
class BuilderPlugin(Generic[C]):
    """Describes a builder. `config` is the ``builder:`` mapping without ``type``."""

    name: str
    summary: str
    config: type[C]
    create: Callable[[C, Context], Builder]
    capabilities: BuilderCapabilities = BuilderCapabilities()


@frozen(kw_only=True)
class RegistryPlugin(Generic[C]):
    """Describes a container registry. `config` is the ``registry:`` mapping without ``type``.

    Attributes:
        hosts: Globs of registry hosts it is meant for (``*.dkr.ecr.*.amazonaws.com``); used when no type is given.
    """

    name: str
    summary: str
    config: type[C]
    create: Callable[[C, Context], Registry]
    hosts: tuple[str, ...] = ()
    capabilities: RegistryCapabilities = RegistryCapabilities()


@frozen(kw_only=True)
class EnvironmentPlugin(Generic[C]):
    """Describes a source of cloud credentials. `config` is the ``environment:`` mapping without ``type``."""

    name: str
    summary: str
    config: type[C]
    create: Callable[[C, Context], Environment]
    capabilities: EnvironmentCapabilities = EnvironmentCapabilities()


@frozen(kw_only=True)
class StoragePlugin(Generic[C]):
    """Describes a storage scheme.

    Attributes:
        schemes: URI schemes it serves, without ``://`` (``("s3", "s3a")``); matched before fsspec is asked.
        hosts: Globs of hosts for which it takes ``https`` URIs (``*.blob.core.windows.net``).
        filesystem: fsspec filesystem as an import string (``"s3fs:S3FileSystem"``), or empty.
        options: fsspec options from the config; may hold resolved secrets, so it is called late.
        install_hint: Sentence to show when the filesystem's import fails.
    """

    name: str
    summary: str
    schemes: tuple[str, ...]
    config: type[C]
    create: Callable[[C, Context], Storage]
    hosts: tuple[str, ...] = ()
    filesystem: str = ""
    options: Callable[[C, Context], dict[str, Any]] | None = None
    install_hint: str = ""
    capabilities: StorageCapabilities = StorageCapabilities()


@frozen(kw_only=True)
class SerializerPlugin(Generic[C]):
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


@frozen(kw_only=True)
class MetastorePlugin(Generic[C]):
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
    capabilities: Mapping[str, MetastoreCapabilities] = field(factory=dict)
