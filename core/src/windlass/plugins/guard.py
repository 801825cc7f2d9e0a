"""Guards: a backend's exceptions and results are checked where they enter Windlass.

An exception that is not a `WindlassError` becomes `PluginCrashedError`, and a result of the wrong type
`PluginInvalidError`; both name the distribution, so that bugs are reported where they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from windlass.errors import PluginCrashedError, PluginInvalidError, WindlassError

if TYPE_CHECKING:
    from windlass.plugins.types import PluginInfo

T = TypeVar("T")

GUARDED = {
    "builder": ("windlass.builders", "Builder"),
    "runner": ("windlass.runners", "Runner"),
    "registry": ("windlass.registries", "Registry"),
    "environment": ("windlass.environments", "Environment"),
    "storage": ("windlass.storage", "Storage"),
    "serializer": ("windlass.serializers", "Serializer"),
}
"""Kinds whose backends are wrapped, and their interfaces; one is loaded with the first backend of its kind.

Metadata stores are not: they are in the hot path and ship with Windlass."""

# What methods return: names of built-in types, or of the interface's own module.
_ITEMS = {("Runner", "logs"): "LogLine", ("Storage", "list"): "ObjectInfo"}
_RESULTS = {
    ("Runner", "submit"): ("RunHandle",),
    ("Runner", "find"): ("RunHandle", "NoneType"),
    ("Runner", "poll"): ("Mapping",),
    ("Builder", "build"): ("BuiltImage",),
    ("Registry", "resolve"): ("str", "NoneType"),
    ("Registry", "credentials"): ("Credentials",),
    ("Environment", "verify"): ("dict",),
    ("Storage", "stat"): ("ObjectInfo",),
    ("Storage", "put"): ("ObjectInfo",),
    ("Serializer", "dump_buffers"): ("list", "tuple", "NoneType"),
    ("Serializer", "versions"): ("dict",),
}
_BUILT_IN: dict[str, type] = {
    "Mapping": Mapping, "NoneType": type(None), "dict": dict, "list": list, "str": str, "tuple": tuple
}  # fmt: skip


def guard_kind(backend: Any, kind: str, info: PluginInfo) -> Any:
    """Wrap a backend of a kind, if that is a guarded one. See `guard`."""
    if kind not in GUARDED:
        return backend
    module, name = GUARDED[kind]
    return guard(backend, getattr(import_module(module), name), info)


def guard(backend: T, interface: type[T], info: PluginInfo) -> T:
    """Wrap a backend so that what goes wrong in it is named.

    Raises:
        PluginInvalidError: `backend` is not an instance of the interface.
    """
    if not isinstance(backend, interface):
        raise _wrong(info, f"the {info} made a {type(backend).__name__}, which is not a {interface.__name__}")
    wrapper: T = _wrapper(interface)(backend, info)  # type: ignore[arg-type]
    return wrapper


def crashed(info: PluginInfo, doing: str, error: BaseException) -> PluginCrashedError:
    """The error that stands for an exception which a plugin should not have let out."""
    return PluginCrashedError(
        f"the {info} failed in {doing}: {type(error).__name__}: {error}",
        hint=f"This is a problem of {info.distribution} {info.version}, not of Windlass; report it there.",
        context={"distribution": info.distribution, "version": info.version, "plugin": f"{info.kind}:{info.name}"},
    )


@cache
def _wrapper(interface: type) -> Callable[..., Any]:
    def init(self: Any, backend: Any, info: PluginInfo) -> None:
        self.wrapped = backend
        self.info = info

    members: dict[str, Any] = {"__init__": init, "__doc__": interface.__doc__}
    for name, member in inspect.getmembers(interface):
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            members[name] = property(_guarded_property(name))
        elif callable(member):
            members[name] = _guarded_method(interface, name)
    return type(f"Guarded{interface.__name__}", (interface,), members)


def _guarded_property(name: str) -> Callable[[Any], Any]:
    def get(self: Any) -> Any:
        try:
            return getattr(self.wrapped, name)
        except WindlassError:
            raise
        except (Exception, SystemExit) as error:
            raise crashed(self.info, name, error) from error

    return get


def _guarded_method(interface: type, name: str) -> Callable[..., Any]:
    key = (interface.__name__, name)
    names = _BUILT_IN | vars(import_module(interface.__module__))
    item = names[_ITEMS[key]] if key in _ITEMS else None
    expected = tuple(names[result] for result in _RESULTS.get(key, ()))

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            result = getattr(self.wrapped, name)(*args, **kwargs)
        except WindlassError:
            raise
        except (Exception, SystemExit) as error:
            raise crashed(self.info, f"{name}()", error) from error
        if item is not None:
            return _guarded_iterator(self.info, name, result, item)
        if expected and not isinstance(result, expected):
            wanted = " or ".join(kind.__name__ for kind in expected)
            raise _wrong(self.info, f"{name}() of the {self.info} returned {type(result).__name__}, not {wanted}")
        if key == ("Runner", "poll"):
            _check_poll(self.info, result, *args, **kwargs)
        return result

    call.__name__ = name
    return call


def _check_poll(info: PluginInfo, answer: Mapping[Any, Any], handles: Any = ()) -> None:
    from windlass.runners import RunStatus

    for handle in handles:
        if not isinstance(answer.get(handle), RunStatus):
            raise _wrong(info, f"poll() of the {info} has no RunStatus for {handle.id}")


def _wrong(info: PluginInfo, message: str) -> PluginInvalidError:
    return PluginInvalidError(
        message,
        hint=f"This is a problem of {info.distribution}; report it there.",
        context={"distribution": info.distribution, "version": info.version, "plugin": f"{info.kind}:{info.name}"},
    )


def _guarded_iterator(info: PluginInfo, name: str, iterator: Any, kind: type) -> Iterator[Any]:
    try:
        for item in iterator:
            if not isinstance(item, kind):
                raise _wrong(info, f"{name}() of the {info} yielded {type(item).__name__}, not {kind.__name__}")
            yield item
    except WindlassError:
        raise
    except (Exception, SystemExit) as error:
        raise crashed(info, f"{name}()", error) from error
