"""Python objects in artifacts: written by a serializer or as media, and read back from the record kept with the entry.

The record is the entry's ``extra["object"]``: ``{"kind": "python", "name", "serializer", "parameters", "versions",
"python", "type", "executes_code"}`` or ``{"kind": "media", "name", "media", "files"}``.
"""

from __future__ import annotations

import os
import platform
import tempfile
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from windlass.artifacts.media import Media, MediaReader, MediaWriter, media_class
from windlass.artifacts.memory import fits_in_memory
from windlass.artifacts.names import check_entry_path
from windlass.errors import PluginError, SerializationError, UsageError

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact
    from windlass.artifacts.draft import Draft
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.artifacts.manifest import Entry
    from windlass.plugins.app import App
    from windlass.plugins.types import SerializerPlugin

__all__ = ["add_object", "load_object", "pick_serializer"]

DEFAULT_SERIALIZER = "pickle"
_COPIED = 1 << 20
"""Objects whose content is smaller are kept in memory until they are logged, larger ones in a file."""


def add_object(
    app: App,
    draft: Draft,
    obj: Any,
    name: str,
    *,
    serializer: str = "",
    parameters: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    borrow: bool = False,
) -> str:
    """Write an object into a draft; returns the path of its entry.

    With `borrow` large buffers of the object stay where they are and are read when the artifact is logged, so nobody
    may change the object before that.

    A serializer that was picked by the type and turns out not to hold this very object gives way to pickle.

    Raises:
        PluginNotFoundError: No such serializer.
        ConfigError: The parameters do not fit it.
        SerializationError: It cannot hold the object, and where it was picked by the type, pickle cannot either.
        UsageError: The name is taken, or cannot be a path.
    """
    check_entry_path(name)
    if isinstance(obj, Media) and not serializer:
        return MediaWriter(draft, overwrite=overwrite).add(obj, name)
    chosen = serializer or pick_serializer(app, obj)
    try:
        return _write(app, draft, obj, name, chosen, parameters, overwrite, borrow)
    except SerializationError as error:
        if serializer or parameters or chosen == DEFAULT_SERIALIZER:
            raise
        first = error
    try:
        return _write(app, draft, obj, name, DEFAULT_SERIALIZER, None, overwrite, borrow)
    except SerializationError as error:
        hints = dict.fromkeys(hint for hint in (first.hint, error.hint) if hint)
        raise SerializationError(
            f"{first.message}; and {error.message}", hint=" ".join(hints), context=error.context
        ) from first


def _write(
    app: App,
    draft: Draft,
    obj: Any,
    name: str,
    chosen: str,
    parameters: Mapping[str, Any] | None,
    overwrite: bool,
    borrow: bool,
) -> str:
    plugin = app.serializers.get(chosen)
    path = name if name.endswith(plugin.extensions) else name + plugin.extensions[0]
    backend = app.create_serializer(chosen, parameters)
    buffers = backend.dump_buffers(obj)
    if buffers is not None and not borrow:
        size = sum(memoryview(buffer).nbytes for buffer in buffers)
        buffers = [b"".join(buffers)] if size <= _COPIED else None
    file = ""
    if buffers is None:
        file = draft.new_file(path)
        with open(file, "wb", buffering=1 << 20) as stream:
            backend.dump(obj, stream)
    record = {
        "kind": "python",
        "name": name,
        "serializer": chosen,
        "parameters": dict(parameters or {}),
        "versions": backend.versions(),
        "python": platform.python_version(),
        "type": qualified_name(type(obj)),
        "media_type": plugin.media_type,
        "executes_code": plugin.executes_code,
    }
    if buffers is not None:
        draft.add_buffers(buffers, path, overwrite=overwrite, extra={"object": record})
    else:
        draft.add_staged(file, path, overwrite=overwrite, extra={"object": record})
    return path


def pick_serializer(app: App, obj: Any) -> str:
    """The serializer that names the object's type (or the nearest base) as one it handles; else pickle."""
    names = [qualified_name(kind) for kind in type(obj).__mro__[:-1]]
    best, rank = "", len(names)
    for info in app.serializers.infos():
        try:
            handles = app.serializers.get(info.name).handles
        except PluginError:  # one that is broken or uninstalled meanwhile must not keep the others from working
            continue
        found = next((index for index, name in enumerate(names) if name in handles), rank)
        if found < rank:
            best, rank = info.name, found
    return best or DEFAULT_SERIALIZER


def qualified_name(kind: type) -> str:
    """``module.Class`` of a type; names of types that moved are those users know."""
    module = kind.__module__.replace("pandas.core.frame", "pandas").replace("polars.dataframe.frame", "polars")
    return f"{module}.{kind.__qualname__}"


def load_object(engine: ArtifactEngine, artifact: Artifact, entry: Entry, *, allow_code: bool | None = None) -> Any:
    """Read an object back with the serializer that wrote it. The bytes are verified before it sees them.

    Raises:
        AccessError: The serializer runs code that the bytes name, and the policy does not permit it.
        IntegrityError: Bytes, manifest or signature are not what was recorded.
        UsageError: The entry holds no object.
        SerializationError: The bytes are not what the record says.
    """
    record = (entry.extra or {}).get("object")
    if not isinstance(record, Mapping):
        raise UsageError(f"'{entry.path}' is a file, not an object", hint="Use get_entry(name).download() or .open().")
    if record.get("kind") == "media":
        kind = media_class(str(record.get("media")))
        return MediaReader(engine, artifact.manifest).load(entry, kind)
    name = str(record.get("serializer"))
    plugin = engine.app.serializers.get(name)
    if plugin.executes_code:
        _check_may_load(engine, artifact, plugin, allow_code)
    backend = engine.app.create_serializer(name, cast("Mapping[str, Any]", record.get("parameters") or {}))
    _warn_of_versions(entry.path, record, backend.versions(), code=plugin.executes_code)
    if backend.reads_memory and entry.size >= 0 and fits_in_memory(entry.size):
        return backend.load_memory(engine.hold(entry))
    with tempfile.TemporaryFile(prefix="windlass-", dir=engine.temporary()) as file:
        stream = cast("BinaryIO", file)
        engine.copy(entry, file.fileno())
        stream.seek(0)
        return backend.load(stream)


def _check_may_load(
    engine: ArtifactEngine, artifact: Artifact, plugin: SerializerPlugin[Any], allow_code: bool | None
) -> None:
    """Ask the policy; and prove that the manifest is the one that the (signed) artifact digest stands for."""
    from windlass.trust import check_may_load, load_policy

    if allow_code is None:
        allow_code = os.environ.get("WINDLASS_ALLOW_CODE", "").lower() in ("1", "true", "yes", "all")
    policy = load_policy(engine.settings.home)
    check_may_load(artifact.info, plugin, policy=policy, own_entity=engine.settings.entity, allow=allow_code)
    artifact.check_manifest()


def _warn_of_versions(path: str, record: Mapping[str, Any], present: Mapping[str, str], *, code: bool) -> None:
    recorded = cast("Mapping[str, str]", record.get("versions") or {})
    differ = [
        f"{name} {value} (here {present[name]})"
        for name, value in recorded.items()
        if name != "protocol" and present.get(name, value) != value
    ]
    python = str(record.get("python", ""))
    if code and python and python.split(".")[:2] != platform.python_version().split(".")[:2]:
        differ.append(f"Python {python} (here {platform.python_version()})")
    if differ:
        warnings.warn(f"'{path}' was written with {', '.join(differ)}; reading it may fail", stacklevel=4)


def find_object(artifact: Artifact, name: str) -> Entry:
    """The entry of an object by the name it was added under, or by its path.

    Raises:
        ArtifactNotFoundError: There is none.
    """
    exact = artifact.manifest.find(name)
    if exact is not None:
        return exact
    for entry in artifact.manifest.starting(name + "."):
        record = (entry.extra or {}).get("object")
        if isinstance(record, Mapping) and record.get("name") == name:
            return entry
    return artifact.manifest[name]
