"""The catalog: names to descriptors, one generic class for all kinds."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from types import ModuleType
from typing import Any, Generic, TypeVar

import pluggy

from windlass.config.options import is_config
from windlass.errors import (
    PluginConflictError,
    PluginError,
    PluginInvalidError,
    PluginNotFoundError,
)
from windlass.plugins import hookspec, types
from windlass.plugins.loading import TooSlow, import_module, in_time, only, other_version
from windlass.plugins.lookup import how_to_install
from windlass.plugins.types import PluginInfo

P = TypeVar("P")

REGISTERED = "(registered)"
_TEXTS = ("schemes", "hosts", "extensions", "handles")


class Catalog(Generic[P]):
    """The plugins of one kind: listed from metadata, loaded one by one when asked for.

    Args:
        kind: ``runner`` …
        hook: Name of the provider hook.
        descriptor: Name of the class, in `windlass.plugins.types`, that the hook must yield.
        installed: Returns what the metadata lists (of all kinds); called once.
    """

    def __init__(self, kind: str, hook: str, descriptor: str, installed: Callable[[], Iterable[PluginInfo]]) -> None:
        self.kind = kind
        self._hook = hook
        self._descriptor_name = descriptor
        self._installed = installed
        self._infos: dict[str, list[PluginInfo]] | None = None
        self._loaded: dict[str, P] = {}
        self._lock = threading.RLock()

    @cached_property
    def descriptor(self) -> type[P]:
        """The class that the hook must yield."""
        found: type[P] = getattr(types, self._descriptor_name)
        return found

    def _listed(self) -> dict[str, list[PluginInfo]]:
        with self._lock:
            if self._infos is None:
                self._infos = {}
                for info in self._installed():
                    if info.kind == self.kind:
                        self._infos.setdefault(info.name, []).append(info)
            return self._infos

    def names(self) -> tuple[str, ...]:
        """Names of all plugins of this kind, sorted. Imports nothing."""
        return tuple(sorted(self._listed()))

    def infos(self) -> tuple[PluginInfo, ...]:
        """What is known of all plugins of this kind without importing them; a conflict shows as two entries."""
        return tuple(info for name in self.names() for info in self._listed()[name])

    def info(self, name: str) -> PluginInfo:
        """What is known of one plugin without importing it.

        Raises:
            PluginNotFoundError: Not installed. Names what is, and how to install it.
            PluginConflictError: Two distributions offer it. Names both.
        """
        infos = self._listed().get(name, [])
        if not infos:
            raise self._not_found(name)
        return only(infos)

    def get(self, name: str) -> P:
        """The descriptor of one plugin; imports its module, and no other, the first time.

        Raises:
            PluginNotFoundError, PluginConflictError, PluginImportError, PluginInvalidError: See `windlass.errors`.
        """
        with self._lock:
            if name in self._loaded:
                return self._loaded[name]
        info = self.info(name)
        module = import_module(info)
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._describe(module, info)
            return self._loaded[name]

    def get_all(self) -> Iterator[tuple[PluginInfo, P | PluginError]]:
        """Every plugin with its descriptor, or with the error that keeps it from being used."""
        for name in self.names():
            try:
                yield self.info(name), self.get(name)
            except PluginError as error:
                yield self._listed()[name][0], error

    def register(self, descriptor: P, *, source: str = "") -> None:
        """Add a descriptor that no distribution ships. Replaces nothing: a taken name is a conflict."""
        if not isinstance(descriptor, self.descriptor):
            raise PluginInvalidError(
                f"a {self.kind} must be registered as {self.descriptor.__name__}, got {type(descriptor).__name__}"
            )
        name = self._checked_name(descriptor)
        if problem := _wrong_field(descriptor):
            raise PluginInvalidError(f"the {self.kind} '{name}' is not well formed: {problem}")
        info = PluginInfo(
            kind=self.kind,
            name=name,
            target=source,
            summary=getattr(descriptor, "summary", ""),
            distribution=REGISTERED,
        )
        with self._lock:
            infos = self._listed()
            if name in infos:
                other = infos[name][0]
                raise PluginConflictError(
                    f"the {self.kind} '{name}' exists already: {other.distribution} {other.version} ({other.target})",
                    hint="Choose another name.",
                )
            infos[name] = [info]
            self._loaded[name] = descriptor

    def register_module(self, module: ModuleType, source: str) -> int:
        """Add all descriptors of a module that is not packaged; returns how many."""
        info = PluginInfo(kind=self.kind, name=module.__name__, target=source, distribution=source)
        descriptors = self._provided(module, info)
        for descriptor in descriptors:
            self.register(descriptor, source=source)
        return len(descriptors)

    def _not_found(self, name: str) -> PluginNotFoundError:
        names = self.names()
        import difflib

        near = difflib.get_close_matches(name, names, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else how_to_install(self.kind, name)
        return PluginNotFoundError(
            f"there is no {self.kind} '{name}'; installed: {', '.join(names) or 'none'}",
            hint=hint,
            context={"kind": self.kind, "name": name, "installed": list(names)},
        )

    def _describe(self, module: ModuleType, info: PluginInfo) -> P:
        found = {self._checked_name(d, info): d for d in self._provided(module, info)}
        if info.name not in found:
            raise _invalid(
                info,
                f"its hook {self._hook}() yields {', '.join(sorted(found)) or 'nothing'}, "
                f"but the entry point is called '{info.name}'",
            )
        return found[info.name]

    def _provided(self, module: ModuleType, info: PluginInfo) -> list[P]:
        check_hooks(module, info)
        implementation = getattr(module, self._hook, None)
        if implementation is None:
            return []
        try:
            descriptors: list[P] = in_time(lambda: list(implementation()), f"hook {info.target}")
        except TooSlow as error:
            raise _invalid(info, f"its hook {self._hook}() {error}") from None
        except (Exception, SystemExit) as error:
            hint = other_version(info) if isinstance(error, (TypeError, AttributeError, ImportError)) else ""
            message = f"its hook {self._hook}() raised {type(error).__name__}: {error}"
            raise _invalid(info, message, hint=hint) from error
        for descriptor in descriptors:
            if not isinstance(descriptor, self.descriptor):
                raise _invalid(
                    info,
                    f"its hook {self._hook}() yielded {type(descriptor).__name__}, not {self.descriptor.__name__}",
                )
            if problem := _wrong_field(descriptor):
                raise _invalid(info, problem)
        return descriptors

    def _checked_name(self, descriptor: P, info: PluginInfo | None = None) -> str:
        name = getattr(descriptor, "name", None)
        if isinstance(name, str) and name and name.replace("-", "").replace("_", "").isalnum() and name.islower():
            return name
        message = f"a {self.kind} is called {name!r}; names are lower-case letters, digits and dashes"
        if info is None:
            raise PluginInvalidError(message)
        raise _invalid(info, message)


class HookCatalog:
    """Event hooks: plugins of the group ``windlass.hooks``, all loaded when the first event is fired."""

    def __init__(self, installed: Callable[[], Iterable[PluginInfo]], report: Callable[[PluginError], None]) -> None:
        self._installed = installed
        self._report = report
        self._plugins: list[tuple[PluginInfo, Any]] | None = None
        self._extra: list[tuple[PluginInfo, Any]] = []
        self._lock = threading.Lock()

    def register(self, plugin: Any, source: str = REGISTERED) -> None:
        """Add an object or module with event hooks."""
        name = getattr(plugin, "__name__", type(plugin).__name__)
        info = PluginInfo(kind="hook", name=name, distribution=source)
        check_hooks(plugin, info)
        self._extra.append((info, plugin))

    def implementations(self, hook: str) -> Iterator[tuple[PluginInfo, Callable[[Any], None]]]:
        """All implementations of one event hook."""
        with self._lock:
            if self._plugins is None:
                self._plugins = []
                for info in self._installed():
                    if info.kind == "hook":
                        self._load(info)
        for info, plugin in [*self._plugins, *self._extra]:
            call = getattr(plugin, hook, None)
            if callable(call):
                yield info, call

    def _load(self, info: PluginInfo) -> None:
        assert self._plugins is not None
        try:
            module = import_module(info)
            check_hooks(module, info)
            self._plugins.append((info, module))
        except PluginError as error:
            self._report(error)


def check_hooks(plugin: Any, info: PluginInfo) -> None:
    """Let pluggy check a module's hooks: known names, right arguments; and that none was left unmarked.

    Each module gets a manager of its own: pluggy takes a module once only, but one module may serve several entry
    points, and its loader drops equal names of different kinds without a word.
    """
    manager = pluggy.PluginManager("windlass")
    manager.add_hookspecs(hookspec)
    try:
        manager.register(plugin, f"{info.kind}:{info.name}")
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        raise _invalid(info, str(error).splitlines()[-1].strip()) from error
    for name in dir(plugin):
        function = getattr(plugin, name)
        if name.startswith("windlass_") and inspect.isroutine(function) and function is not vars(hookspec).get(name):
            if name not in vars(hookspec):
                raise _invalid(info, f"there is no hook {name}(){_nearest(name, vars(hookspec))}")
            if not hasattr(function, "windlass_impl"):
                raise _invalid(info, f"its {name}() is not marked with @hookimpl")


def _nearest(name: str, names: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}()?" if near else ""


def _wrong_field(descriptor: Any) -> str:
    """What is wrong with a descriptor of the right class, which would be met much later, far from its distribution."""
    for name in descriptor.__struct_fields__:
        value = getattr(descriptor, name)
        if name == "config" or (name == "resource_args" and value is not None):
            if not is_config(value):
                return f"its {name} is no attrs class but {value!r}"
        elif name == "create" and not callable(value):
            return f"its create cannot be called: {value!r}"
        elif name == "summary" and not isinstance(value, str):
            return f"its summary is no text: {value!r}"
        elif name in _TEXTS and not (isinstance(value, tuple) and all(isinstance(v, str) for v in value)):
            return f"its {name} are no tuple of texts: {value!r}"
    return ""


def _invalid(info: PluginInfo, message: str, *, hint: str = "") -> PluginInvalidError:
    return PluginInvalidError(
        f"the {info} is not well formed: {message}",
        hint=hint or f"This is a problem of {info.distribution}, not of Windlass; report it there.",
        context={"distribution": info.distribution, "version": info.version, "target": info.target},
    )
