"""Rows from attrs models and back, derived from the type hints: no column is written down twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache, cached_property
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import msgspec

from windlass import wire

T = TypeVar("T", bound=attrs.AttrsInstance)


class Mapper(Generic[T]):
    """Maps a model to columns of the same names.

    Plain values are stored as they are; everything structured is JSON text, with ``''`` for the field's default, so
    that the usual row costs no parsing.

    Args:
        kind: The model.
        skip: Fields that are kept elsewhere.
    """

    def __init__(self, kind: type[T], *, skip: Sequence[str] = ()) -> None:
        hints = get_type_hints(kind)
        fields = [f for f in attrs.fields(kind) if f.name not in skip]
        self.kind = kind
        self.names = tuple(f.name for f in fields)
        self.columns = ", ".join(f'"{name}"' for name in self.names)
        self._loads = {f.name: _loader(hints[f.name], f) for f in fields}
        self._dumps = {f.name: _dumper(hints[f.name], f) for f in fields}
        self._get = attrgetter(*self.names)
        self._plan = tuple((i, name, load) for i, name in enumerate(self.names) if (load := self._loads[name]))
        self._fields = tuple((f, hints[f.name]) for f in fields)

    @cached_property
    def unpack(self) -> Callable[[str], T]:
        """The model of a row that was selected as `packed`."""
        return msgspec.json.Decoder(self.kind).decode

    def load(self, row: Sequence[Any], **more: Any) -> T:
        """The model of a row selected with `columns` (further columns behind them are ignored)."""
        values = dict(zip(self.names, row, strict=False))
        for index, name, load in self._plan:
            values[name] = load(row[index])
        return self.kind(**values, **more)

    def dump(self, value: T) -> tuple[Any, ...]:
        """The values for `columns`."""
        values = list(self._get(value))
        for index, name, _ in self._plan:
            values[index] = self._dumps[name](values[index])
        return tuple(values)

    def dump_field(self, name: str, value: Any) -> Any:
        """The value for one column."""
        return self._dumps[name](value)

    def changed(self, old: T, new: T) -> dict[str, Any]:
        """Columns whose values differ, with the new values."""
        return {
            name: self._dumps[name](getattr(new, name))
            for name in self.names
            if getattr(old, name) is not getattr(new, name)
            and (getattr(old, name) != getattr(new, name) or name == "handle")
        }

    def packed(self, table: str) -> str:
        """An expression of PostgreSQL for the row as one text, see `unpack`.

        The server and the driver have more work with each column of a result than with a field of an object.
        """
        packed = ", ".join(f"'{f.name}', {_packer(hint, f)}" for f, hint in self._fields)
        return f"json_build_object({packed.replace('{table}', table)})::text"

    def prefixed(self, table: str) -> str:
        """The columns, each with a table name."""
        return ", ".join(f'{table}."{name}"' for name in self.names)


def assignments(columns: Sequence[str]) -> str:
    """``"a" = ?, "b" = ?``."""
    return ", ".join(f'"{name}" = ?' for name in columns)


def _plain(hint: Any) -> type[Any] | None:
    if get_origin(hint) in (Union, UnionType):
        rest = [arg for arg in get_args(hint) if arg is not NoneType]
        return rest[0] if len(rest) == 1 and rest[0] in (str, int, float) else None
    return hint if isinstance(hint, type) and (hint in (str, int, float, bool) or issubclass(hint, Enum)) else None


def _packer(hint: Any, field: attrs.Attribute[Any]) -> str:
    column, plain = f'{{table}}."{field.name}"', _plain(hint)
    if plain is bool:
        return f"{column} <> 0"
    if plain is not None:
        return column
    default = wire.encode(_default(field)()).decode()
    return f"CASE WHEN {column} = '' THEN json '{default}' ELSE {column}::json END"


def _loader(hint: Any, field: attrs.Attribute[Any]) -> Callable[[Any], Any] | None:
    plain = _plain(hint)
    if plain in (str, int, float):
        return None
    if plain is bool:
        return bool
    if plain is not None:
        return {member.value: member for member in plain}.__getitem__
    decoder = cache(lambda: msgspec.json.Decoder(hint))  # made with the first text: most fields of most rows have none
    make = _default(field)
    return lambda text: decoder().decode(text) if text else make()


def _dumper(hint: Any, field: attrs.Attribute[Any]) -> Callable[[Any], Any]:
    plain = _plain(hint)
    if plain in (str, int, float):
        return lambda value: value
    if plain is bool:
        return int
    if plain is not None:
        return lambda value: value.value
    default = _default(field)()
    return lambda value: "" if value is None or value == default else wire.encode(value).decode()


def _default(field: attrs.Attribute[Any]) -> Callable[[], Any]:
    default: Any = field.default
    factory = getattr(default, "factory", None)
    if factory is not None:
        made: Callable[[], Any] = factory
        return made
    return lambda: None if default is attrs.NOTHING else default
