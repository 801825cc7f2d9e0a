"""Rows from models and back, derived from the type hints: no column is written down twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache, cached_property, lru_cache
from itertools import compress
from operator import attrgetter, ne
from types import NoneType, UnionType
from typing import Any, Generic, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from windlass import wire

T = TypeVar("T")
_MARK = "\x1f"
"""Between columns that are sent as one text. JSON has it escaped."""


class _Field(NamedTuple):
    """A field of a model; without default and factory it must be given."""

    name: str
    hint: Any
    default: Any
    factory: Callable[[], Any] | None

    @property
    def required(self) -> bool:
        return self.default is msgspec.NODEFAULT and self.factory is None

    @property
    def make(self) -> Callable[[], Any]:
        """Makes the default; None for what must be given."""
        return self.factory or (lambda: None if self.required else self.default)


class Mapper(Generic[T]):
    """Maps a model to columns of the same names.

    Plain values are stored as they are; everything structured is JSON text, with ``''`` for the field's default, so
    that the usual row costs no parsing.

    Args:
        kind: The model: an attrs class, or a msgspec struct.
        skip: Fields that are kept elsewhere.
    """

    def __init__(self, kind: type[T], *, skip: Sequence[str] = ()) -> None:
        fields = [field for field in _fields(kind) if field.name not in skip]
        self.kind = kind
        self.names = tuple(f.name for f in fields)
        self.columns = ", ".join(f'"{name}"' for name in self.names)
        self._loads = {f.name: _loader(f) for f in fields}
        self._dumps = {f.name: _dumper(f) for f in fields}
        self._get = attrgetter(*self.names)
        self._plan = tuple((i, name, load) for i, name in enumerate(self.names) if (load := self._loads[name]))
        self._fields = fields

    @cached_property
    def _packing(self) -> list[_Field]:
        """The fields in the order of `packed`."""
        return sorted(self._fields, key=lambda field: field.hint is str)

    @cached_property
    def _packed_names(self) -> list[str]:
        return [f.name for f in self._packing]

    @cached_property
    def _usual(self) -> list[str]:
        return [_usual(f) for f in self._packing]

    @cached_property
    def _reads(self) -> dict[str, Callable[[str], Any]]:
        return {f.name: read for f in self._fields if (read := _reader(f.hint, self._loads[f.name]))}

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

        The server and the driver have more work with each column of a result than with a part of a text, and the
        server has several times as much with a field of a JSON object. What a user may write comes last.
        """
        sent = ", ".join(_sent(f).replace("{table}", table) for f in self._packing)
        return f"concat_ws('{_MARK}', {sent})"

    def unpack(self, text: str) -> T | None:
        """The model of a row that was selected as `packed`; None when a text in it holds the mark between columns."""
        parts = text.split(_MARK)
        if len(parts) != len(self._usual):
            return None
        columns = zip(self._packed_names, parts, strict=True)
        values: dict[str, Any] = dict(compress(columns, map(ne, parts, self._usual)))
        for name, read in self._reads.items():
            if name in values:
                values[name] = read(values[name])
        return self.kind(**values)

    def peek(self, text: str, name: str) -> Any:
        """One column of a row that was selected as `packed`: any but texts, or the first text."""
        part = text.split(_MARK)[self._packed_names.index(name)]
        return self._reads[name](part) if name in self._reads else part

    def prefixed(self, table: str) -> str:
        """The columns, each with a table name."""
        return ", ".join(f'{table}."{name}"' for name in self.names)


def assignments(columns: Sequence[str]) -> str:
    """``"a" = ?, "b" = ?``."""
    return ", ".join(f'"{name}" = ?' for name in columns)


def _fields(kind: type[Any]) -> list[_Field]:
    if issubclass(kind, msgspec.Struct):
        return [_Field(f.name, f.type, f.default, _given(f.default_factory)) for f in msgspec.structs.fields(kind)]
    import attrs  # commands that only look at artifacts do without

    hints, made = get_type_hints(kind), []
    for field in attrs.fields(kind):
        default = msgspec.NODEFAULT if field.default is attrs.NOTHING else field.default
        factory = getattr(default, "factory", None)
        made.append(_Field(field.name, hints[field.name], msgspec.NODEFAULT if factory else default, factory))
    return made


def _given(factory: Any) -> Callable[[], Any] | None:
    return None if factory is msgspec.NODEFAULT else factory


def _plain(hint: Any) -> type[Any] | None:
    if get_origin(hint) in (Union, UnionType):
        rest = [arg for arg in get_args(hint) if arg is not NoneType]
        return rest[0] if len(rest) == 1 and rest[0] in (str, int, float) else None
    return hint if isinstance(hint, type) and (hint in (str, int, float, bool) or issubclass(hint, Enum)) else None


def _sent(field: _Field) -> str:
    """A column among those that are put together, which leaves out what is NULL."""
    column = f'{{table}}."{field.name}"'
    return column if _plain(field.hint) in (None, field.hint) else f"coalesce({column}::text, '')"


def _usual(field: _Field) -> str:
    """The text of the default; what no text can be when there is none."""
    if field.required:
        return _MARK
    default = field.default
    if _plain(field.hint) is None or default is None:
        return ""
    return str(default.value) if isinstance(default, Enum) else default if isinstance(default, str) else f"{default:g}"


def _reader(hint: Any, load: Callable[[Any], Any] | None) -> Callable[[str], Any] | None:
    """Makes a value of a column's text. None when it is that text."""
    plain = _plain(hint)
    if plain is not hint and plain is not None:
        kind = plain
        return lambda text: kind(text) if text else None
    if plain is bool:
        return "1".__eq__
    return plain if plain in (int, float) else load


def _loader(field: _Field) -> Callable[[Any], Any] | None:
    hint = field.hint
    plain = _plain(hint)
    if plain in (str, int, float):
        return None
    if plain is bool:
        return bool
    if plain is not None:
        return {member.value: member for member in plain}.__getitem__

    @cache  # made with the first text: most fields of most rows have none
    def decoder() -> Callable[[Any], Any]:
        decode: Callable[[Any], Any] = wire.decoder(hint).decode
        models = [arg for arg in (hint, *get_args(hint)) if hasattr(arg, "__attrs_attrs__")]
        return lru_cache(maxsize=256)(decode) if models else decode  # what nobody can change, many rows may share

    make = field.make
    return lambda text: decoder()(text) if text else make()


def _dumper(field: _Field) -> Callable[[Any], Any]:
    plain = _plain(field.hint)
    if plain in (str, int, float):
        return lambda value: value
    if plain is bool:
        return int
    if plain is not None:
        return lambda value: value.value
    default = field.make()
    return lambda value: "" if value is None or value == default else wire.encode_stored(value, field.name)
