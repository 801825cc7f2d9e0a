"""How a config class declares its keys.

Making an attrs class takes longer than many a command, and most backends are made with all settings at their defaults.
So `options` makes a msgspec struct, which tells attrs of its fields when they are asked for: when there are settings
to be read, or documented.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import new_class
from typing import Any, TypeVar, dataclass_transform

import msgspec

T = TypeVar("T")


class _Required:
    """Stands for the default of a key that must be given."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()


class _Option:
    """A key that was declared before attrs was loaded."""

    def __init__(self, default: Any, factory: Callable[[], Any] | None, metadata: dict[str, Any]) -> None:
        self.default = default
        self.factory = factory
        self.metadata = metadata

    def field(self) -> Any:
        """The same as attrs has it."""
        import attrs

        secret = self.metadata["secret"]
        if self.factory is not None:
            return attrs.field(factory=self.factory, metadata=self.metadata, repr=not secret)
        default = attrs.NOTHING if self.default is REQUIRED else self.default
        return attrs.field(default=default, metadata=self.metadata, repr=not secret)


def option(
    *,
    help: str,
    default: Any = REQUIRED,
    factory: Callable[[], Any] | None = None,
    key: str = "",
    choices: Sequence[Any] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    pattern: str = "",
    secret: bool = False,
) -> Any:
    """Declare one key of a config class.

    Args:
        help: One sentence; shown by ``windlass plugins show`` and in the docs. Required.
        default: Value when the key is missing; without default and factory the key is required.
        factory: Makes the default of mutable types.
        key: Name in YAML when it differs from the field (``build-context-store``); both spellings are read.
        choices: Allowed values.
        minimum: Smallest allowed number.
        maximum: Largest allowed number.
        pattern: Regular expression that a text must match in full.
        secret: The value is a secret reference (``env/NAME`` …), never shown.
    """
    metadata = {
        "help": help,
        "key": key,
        "choices": tuple(choices),
        "minimum": minimum,
        "maximum": maximum,
        "pattern": pattern,
        "secret": secret,
    }
    made = _Option(default, factory, metadata)
    return made.field() if _attrs_loaded() else made


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(option,))
def options(cls: type[T]) -> type[T]:
    """Make a config class of one whose body declares its keys with `option`, as ``attrs.frozen(kw_only=True)`` does.

    Where nothing has loaded attrs yet, it is not loaded before somebody asks for the class's fields.
    """
    if _attrs_loaded():
        import attrs

        for name, value in list(vars(cls).items()):
            if isinstance(value, _Option):  # attrs came in the middle of the body
                setattr(cls, name, value.field())
        return attrs.frozen(kw_only=True)(cls)
    declared: dict[str, _Option] = {name: vars(cls)[name] for name in cls.__annotations__}
    body = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__", *declared)}
    for name, made in declared.items():
        if made.factory is not None:
            body[name] = msgspec.field(default_factory=made.factory)
        elif made.default is not REQUIRED:
            body[name] = made.default
    body["__attrs_attrs__"] = _Fields(declared)
    return new_class(
        cls.__name__, (msgspec.Struct,), {"frozen": True, "kw_only": True}, lambda names: names.update(body)
    )


class _Fields:
    """What attrs knows of a class, made when it is asked for."""

    def __init__(self, declared: dict[str, _Option]) -> None:
        self._declared = declared
        self._made: Any = None

    def __get__(self, _: Any, owner: type[Any]) -> Any:
        if self._made is None:
            import attrs

            body = {name: made.field() for name, made in self._declared.items()}
            twin = type(owner.__name__, (), {"__annotations__": owner.__annotations__, **body})
            self._made = attrs.fields(attrs.frozen(kw_only=True)(twin))
        return self._made


def default_settings(kind: type[T], given: Mapping[str, Any]) -> T | None:
    """The config object where nothing is given, or a URL only; None where that needs the converter.

    The converter takes 30 ms to load.
    """
    if not set(given) <= {"url"} or not isinstance(given.get("url", ""), str):
        return None
    try:
        return kind(**given)
    except TypeError:  # a key is missing, or is none of it: the converter says it better
        return None


def is_config(kind: Any) -> bool:
    """True for an attrs class, or one that `options` has made."""
    return isinstance(kind, type) and any("__attrs_attrs__" in vars(base) for base in kind.__mro__)


def _attrs_loaded() -> bool:
    return "attr" in sys.modules
