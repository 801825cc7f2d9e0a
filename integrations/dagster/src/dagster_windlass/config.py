"""What `windlass_artifact_configuration` may hold, for outputs and for inputs."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from attrs import frozen

from dagster_windlass.errors import WindlassArtifactsIOManagerError
from windlass.artifacts.files import SYMLINKS
from windlass.config import option
from windlass.config.converter import structure
from windlass.errors import ConfigError, PluginError, WindlassError

if TYPE_CHECKING:
    from windlass.plugins.app import App

__all__ = [
    "ARGUMENTS_KEY",
    "CONFIGURATION_KEY",
    "EXTERNAL_KEY",
    "ReadConfiguration",
    "SerializationModule",
    "WindlassArtifactConfiguration",
    "WriteConfiguration",
    "configuration_in",
    "read_configuration",
    "write_configuration",
]

T = TypeVar("T")

CONFIGURATION_KEY = "windlass_artifact_configuration"
"""Key in the metadata of assets, outputs and inputs."""
ARGUMENTS_KEY = "windlass_artifact_arguments"
"""Another spelling of it, read with a warning."""
EXTERNAL_KEY = "windlass_artifact"
"""Key in the metadata of external assets: which artifact it is."""


def _links(which: str) -> str:
    made: str = option(default="error", choices=SYMLINKS, help=f"{which} are refused, followed or left out.")
    return made


@frozen(kw_only=True)
class AddFile:
    """One of `add_files`."""

    local_path: str = option(help="The file; relative to the working directory.")
    name: str = option(default="", help="Path in the artifact. Default: the file's own name.")
    is_tmp: bool = option(default=False, help="Name it by its content: `<name>-<digest><suffix>`.")
    policy: str = option(default="immutable", choices=("immutable", "mutable"), help="mutable: a copy is made.")
    overwrite: bool = option(default=False, help="Replace an entry of that path.")


@frozen(kw_only=True)
class AddDirectory:
    """One of `add_dirs`."""

    local_path: str = option(help="The folder; relative to the working directory.")
    name: str = option(default="", help="Folder in the artifact. Default: its top.")
    include: tuple[str, ...] = option(default=(), help="Globs; only matching files.")
    exclude: tuple[str, ...] = option(default=(), help="Lines as in .gitignore.")
    symlinks: str = _links("Links")
    policy: str = option(default="immutable", choices=("immutable", "mutable"), help="mutable: copies are made.")
    overwrite: bool = option(default=False, help="Replace entries of the same paths.")


@frozen(kw_only=True)
class AddReference:
    """One of `add_references`."""

    uri: str = option(help="s3://, gs://, https://, file:// …: an object or a folder of objects.")
    name: str = option(default="", help="Path of the object, or folder of many.")
    checksum: bool = option(default=True, help="Record what identifies the bytes.")
    max_objects: int = option(default=10_000, minimum=1, help="More objects than this are an error.")
    symlinks: str = _links("Links below a file:// folder")
    overwrite: bool = option(default=False, help="Replace entries of the same paths.")


@frozen(kw_only=True)
class Serialization:
    """`serialization_module`."""

    name: str = option(help="Name of a serializer: pickle, dill, cloudpickle, joblib, json …")
    parameters: dict[str, Any] = option(factory=dict, help="For the serializer.")


@frozen(kw_only=True)
class WriteConfiguration:
    """How an output is stored."""

    name: str = option(default="", help="Name of the artifact; for ops only.")
    type: str = option(default="", help="dataset, model … Default: artifact.")
    description: str = option(default="", help="Markdown.")
    aliases: tuple[str, ...] = option(default=(), help="Aliases beside latest.")
    tags: tuple[str, ...] = option(default=(), help="Tags of the version.")
    metadata: dict[str, Any] = option(factory=dict, help="More metadata of the artifact.")
    add_dirs: tuple[AddDirectory, ...] = option(default=(), help="Folders that are stored with the value.")
    add_files: tuple[AddFile, ...] = option(default=(), help="Files that are stored with the value.")
    add_references: tuple[AddReference, ...] = option(default=(), help="Addresses that are recorded with the value.")
    serialization_module: Serialization | None = option(default=None, help="Serializer of the value.")
    partition_dimensions: tuple[str, ...] = option(
        default=(), help="Order of the dimensions in names of partitions. Default: by name, as Dagster sorts them."
    )


@frozen(kw_only=True)
class PartitionRead:
    """What is read of one partition."""

    get: str = option(default="", help="Object in the artifact.")
    get_path: str = option(default="", help="File in the artifact; gives its local path.")
    version: str = option(default="", help="v0, v1 …")
    alias: str = option(default="", help="An alias. Default: latest.")

    @property
    def selector(self) -> str:
        """Version or alias."""
        return self.version or self.alias


@frozen(kw_only=True)
class ReadConfiguration(PartitionRead):
    """What an input loads."""

    name: str = option(default="", help="Name of the artifact; for ops only.")
    partitions: dict[str, PartitionRead] = option(factory=dict, help="By partition key; * is for all others.")


_WRITE = frozenset(field.name for field in WriteConfiguration.__attrs_attrs__)
_READ = frozenset(field.name for field in ReadConfiguration.__attrs_attrs__)
_PARTITION = frozenset(field.name for field in PartitionRead.__attrs_attrs__)


class SerializationModule(TypedDict, total=False):
    """`serialization_module`: the name of a serializer and its parameters."""

    name: str
    parameters: dict[str, Any]


if TYPE_CHECKING:

    class WindlassArtifactConfiguration(TypedDict, total=False):
        """See the class below."""

        name: str
        type: str
        description: str
        aliases: list[str]
        tags: list[str]
        metadata: dict[str, Any]
        add_dirs: list[dict[str, Any]]
        add_files: list[dict[str, Any]]
        add_references: list[dict[str, Any]]
        serialization_module: SerializationModule
        partition_dimensions: list[str]
        get: str
        get_path: str
        version: str
        alias: str
        partitions: dict[str, dict[str, str]]

else:

    class WindlassArtifactConfiguration(dict):
        """The configuration of an output or an input: a dict that is checked when it is made.

        Type checkers see a `TypedDict`, so dict literals can be annotated with it, too; those are checked when a run
        starts to read or write, and by `validate_definitions`.

        Raises:
            WindlassArtifactsIOManagerError: An unknown key (names the nearest known one), a value that does not fit, an
                unknown serializer, `version` with `alias`, `get` with `get_path`.
        """

        def __init__(self, *args: Mapping[str, Any], **values: Any) -> None:
            super().__init__(*args, **values)
            check_configuration(self)


def check_configuration(data: Mapping[str, Any], where: str = CONFIGURATION_KEY) -> None:
    """Check a configuration of which it is not known whether it is for an output or an input.

    Raises:
        WindlassArtifactsIOManagerError: It fits neither.
    """
    for_reading = bool(set(data) & (_READ - _WRITE))
    unknown = sorted(set(data) - _WRITE - _READ)
    if unknown:
        raise _unknown(unknown[0], _WRITE | _READ, "unknown-read-key" if for_reading else "unknown-write-key", where)
    if for_reading:
        read_configuration(data, where)
    else:
        write_configuration(data, where)


def configuration_in(metadata: Mapping[str, Any] | None, where: str) -> Mapping[str, Any]:
    """The configuration in the metadata of an asset, output or input; empty when there is none.

    Raises:
        WindlassArtifactsIOManagerError: A key that looks like it, but is not.
    """
    metadata = metadata or {}
    for key in metadata:
        if key.startswith("windlass_artifact") and key not in (CONFIGURATION_KEY, ARGUMENTS_KEY, EXTERNAL_KEY):
            raise _unknown(key, {CONFIGURATION_KEY}, "unknown-metadata-key", where)
    if ARGUMENTS_KEY in metadata and CONFIGURATION_KEY not in metadata:
        warnings.warn(f"{where}: '{ARGUMENTS_KEY}' is read as '{CONFIGURATION_KEY}'; please rename it", stacklevel=2)
    found = metadata.get(CONFIGURATION_KEY, metadata.get(ARGUMENTS_KEY, {}))
    found = getattr(found, "value", found)  # a MetadataValue
    if not isinstance(found, Mapping):
        raise WindlassArtifactsIOManagerError(
            f"expected a mapping, not {type(found).__name__}", code="bad-configuration", where=where
        )
    return found


def write_configuration(data: Mapping[str, Any], where: str) -> WriteConfiguration:
    """The configuration of an output. Raises `WindlassArtifactsIOManagerError`."""
    unknown = sorted(set(data) - _WRITE)
    if unknown:
        only = " It is for inputs only." if unknown[0] in _READ else ""
        raise _unknown(unknown[0], _WRITE, "unknown-write-key", where, only)
    found = _structure(data, WriteConfiguration, where)
    if found.serialization_module is not None:
        _check_serializer(found.serialization_module, where)
    return found


def read_configuration(data: Mapping[str, Any], where: str) -> ReadConfiguration:
    """The configuration of an input. Raises `WindlassArtifactsIOManagerError`."""
    unknown = sorted(set(data) - _READ)
    if unknown:
        only = " It is for outputs only." if unknown[0] in _WRITE else ""
        raise _unknown(unknown[0], _READ, "unknown-read-key", where, only)
    partitions = data.get("partitions")
    if isinstance(partitions, Mapping):
        for key, entry in partitions.items():
            _check_partition(key, entry, f"{where}.partitions.{key}")
    found = _structure(data, ReadConfiguration, where)
    _check_exclusive(found, where, "")
    return found


def _check_partition(key: str, entry: Any, where: str) -> None:
    if not isinstance(entry, Mapping):
        return
    if not entry:
        raise WindlassArtifactsIOManagerError(
            "the configuration is empty",
            code="partition-empty",
            where=where,
            partition=key,
            hint="Leave the partition out, or give get, get_path, version or alias.",
        )
    unknown = sorted(set(entry) - _PARTITION)
    if unknown:
        raise _unknown(unknown[0], _PARTITION, "partition-unknown-key", where, partition=key)
    _check_exclusive(_structure(entry, PartitionRead, where), where, "partition-", partition=key)


def _check_exclusive(found: PartitionRead, where: str, prefix: str, partition: str = "") -> None:
    for one, other, code in (("version", "alias", "version-and-alias"), ("get", "get_path", "get-and-path")):
        if getattr(found, one) and getattr(found, other):
            raise WindlassArtifactsIOManagerError(
                f"both '{one}' and '{other}' are given",
                code=f"{prefix}{code}",
                where=where,
                partition=partition,
                hint="Give one of them.",
            )


def _structure(data: Mapping[str, Any], kind: type[T], where: str) -> T:
    try:
        return structure(_plain(data), kind, where=where)
    except ConfigError as error:
        raise WindlassArtifactsIOManagerError(str(error), code="bad-configuration", hint=error.hint) from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _unknown(
    key: str, known: frozenset[str] | set[str], code: str, where: str, more: str = "", partition: str = ""
) -> WindlassArtifactsIOManagerError:
    near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(sorted(known))}."
    return WindlassArtifactsIOManagerError(
        f"unknown key '{key}'.{more}", code=code, where=where, hint=hint, partition=partition
    )


@cache
def _catalog() -> App:
    from windlass.plugins.app import App

    return App()


def _check_serializer(chosen: Serialization, where: str) -> None:
    app = _catalog()
    known = sorted(info.name for info in app.serializers.infos())
    if chosen.name not in known:
        near = difflib.get_close_matches(chosen.name, known, n=1, cutoff=0.5)
        raise WindlassArtifactsIOManagerError(
            f"there is no serializer '{chosen.name}'" + (f"; did you mean '{near[0]}'?" if near else ""),
            code="unknown-serializer",
            where=f"{where}.serialization_module.name",
            hint=f"Installed: {', '.join(known)}; others: pip install windlass-serializer-<name>.",
        )
    try:
        app.create_serializer(chosen.name, chosen.parameters)
    except PluginError as error:
        raise WindlassArtifactsIOManagerError(
            f"the serializer '{chosen.name}' cannot be used", code="serializer-not-installed", where=where, cause=error
        ) from error
    except WindlassError as error:
        raise WindlassArtifactsIOManagerError(
            f"the parameters of '{chosen.name}' do not fit: {error}",
            code="bad-configuration",
            where=f"{where}.serialization_module.parameters",
        ) from error
