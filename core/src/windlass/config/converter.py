"""Structure plain data into attrs classes: strict types, no unknown keys, all problems at once, each with its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import attrs
import cattrs
from cattrs.errors import (
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from windlass.config.document import Document
from windlass.errors import ConfigError, Problem, WindlassError

T = TypeVar("T")

__all__ = ["field_keys", "structure", "unstructure"]


def structure(data: Any, cls: type[T], *, where: str = "$", document: Document | None = None) -> T:
    """Make a `cls` from plain data.

    Args:
        data: Mappings, lists and simple values, as YAML and JSON give them.
        cls: A config class (attrs).
        where: JSON path of `data` in its file, for messages.
        document: The file the data came from; messages then give ``file:line``.

    Raises:
        ConfigError: With every problem found.
    """
    problems: list[Problem] = []
    try:
        if not isinstance(data, Mapping) and attrs.has(cls):
            raise _Mismatch("a mapping", data)
        result = _converter().structure(data, cls)
    except Exception as error:
        _collect(error, cls, where, document, problems)
    else:
        problems += _check_values(result, where, document)
        if not problems:
            return result
    source = document.source if document is not None else ""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise ConfigError(f"{count} in the configuration", where=source, problems=problems)


def unstructure(value: Any) -> Any:
    """The plain data of an attrs value: keys as in YAML, defaults left out, tuples as lists, enums as values."""
    return _converter().unstructure(value)


def field_keys(cls: type[Any]) -> dict[str, str]:
    """YAML key by field name of a config class."""
    return {a.name: a.metadata.get("key") or a.name for a in attrs.fields(cls)}


class _Mismatch(Exception):
    def __init__(self, expected: str, value: Any) -> None:
        super().__init__(f"expected {expected}, got {_show(value)}")


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return f"{value!r}"


@cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, unstruct_collection_overrides={tuple: list})

    def exact(kind: type[Any], word: str, also: tuple[type[Any], ...] = ()) -> None:
        def hook(value: Any, _kind: Any) -> Any:
            if isinstance(value, bool) and kind is not bool:
                raise _Mismatch(word, value)
            if not isinstance(value, (kind, *also)):
                raise _Mismatch(word, value)
            return kind(value)

        converter.register_structure_hook(kind, hook)

    exact(str, "a text")
    exact(int, "a whole number")
    exact(float, "a number", (int,))
    exact(bool, "true or false")
    converter.register_structure_hook(Path, _path_hook)
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook_factory(
        lambda kind: isinstance(kind, type) and issubclass(kind, Enum), lambda _kind: _enum_hook
    )
    converter.register_structure_hook_factory(attrs.has, lambda cls: _class_hook(converter, cls))
    converter.register_unstructure_hook_factory(
        attrs.has,
        lambda cls: make_dict_unstructure_fn(
            cls,
            converter,
            _cattrs_omit_if_default=True,
            **_renames(cls),
        ),
    )
    # A single value where a list of them is wanted is read as a list of one; a text is never taken apart.
    original = converter.get_structure_hook(tuple[str, ...])
    converter.register_structure_hook_func(
        lambda kind: kind == tuple[str, ...], lambda value, kind: original(_as_list(value), kind)
    )
    return converter


def _path_hook(value: Any, _kind: Any) -> Path:
    return Path(_text(value))


def _as_list(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, (list, tuple)):
        raise _Mismatch("a list", value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Mismatch("a path", value)
    return value


def _enum_hook(value: Any, kind: type[Enum]) -> Enum:
    for member in kind:
        if value == member.value or (isinstance(value, str) and value.lower() == member.name.lower()):
            return member
    names = ", ".join(str(m.value) if isinstance(m.value, str) else m.name.lower() for m in kind)
    raise _Mismatch(f"one of {names}", value)


def _renames(cls: type[Any]) -> dict[str, Any]:
    return {name: override(rename=key) for name, key in field_keys(cls).items() if name != key}


def _class_hook(converter: cattrs.Converter, cls: type[Any]) -> Any:
    renamed = {name: key for name, key in field_keys(cls).items() if name != key}
    inner = make_dict_structure_fn(
        cls,
        converter,
        _cattrs_forbid_extra_keys=True,
        **_renames(cls),
    )

    def hook(value: Any, kind: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise _Mismatch("a mapping", value)
        return inner({renamed.get(str(k), str(k)): v for k, v in value.items()}, kind)

    return hook


def _collect(error: Exception, cls: Any, where: str, document: Document | None, into: list[Problem]) -> None:
    """Turn cattrs' tree of exceptions into problems with places."""
    if isinstance(error, ClassValidationError):
        kind = error.cl
        with_notes, others = error.group_exceptions()
        for sub, note in with_notes:
            name = str(note.name)
            key = field_keys(kind).get(name, name) if attrs.has(kind) else name
            _collect(sub, note.type, f"{where}.{key}", document, into)
        for sub in others:
            _collect(sub, kind, where, document, into)
    elif isinstance(error, IterableValidationError):
        with_index, others = error.group_exceptions()
        for sub, index_note in with_index:
            _collect(sub, index_note.type, f"{where}[{index_note.index}]", document, into)
        for sub in others:
            _collect(sub, cls, where, document, into)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = list(field_keys(error.cl).values()) if attrs.has(error.cl) else []
        for key in sorted(map(str, error.extra_fields)):
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known) or 'none'}"
            into.append(Problem(f"unknown key '{key}'", where=_place(f"{where}.{key}", document), hint=hint))
    elif isinstance(error, ConfigError) and error.problems:
        into.extend(error.problems)
    elif isinstance(error, WindlassError):
        into.append(Problem(error.message, where=error.where or _place(where, document), hint=error.hint))
    elif isinstance(error, KeyError) and attrs.has(cls) and error.args:
        into.append(Problem("required key is missing", where=_place(where, document)))
    else:
        into.append(Problem(str(error) or type(error).__name__, where=_place(where, document)))


def _place(path: str, document: Document | None) -> str:
    return document.place(path) if document is not None else path


def _check_values(value: Any, where: str, document: Document | None) -> list[Problem]:
    """Check what `option` declares beyond types: choices, bounds, patterns."""
    problems: list[Problem] = []
    if not attrs.has(type(value)):
        return problems
    for a in attrs.fields(type(value)):
        item = getattr(value, a.name)
        path = f"{where}.{a.metadata.get('key') or a.name}"
        if item is None:
            continue
        if attrs.has(type(item)):
            problems += _check_values(item, path, document)
            continue
        choices = a.metadata.get("choices")
        for part in item if isinstance(item, tuple) else (item,):
            if choices and part not in choices:
                allowed = ", ".join(map(str, choices))
                problems.append(Problem(f"expected one of {allowed}, got {part!r}", where=_place(path, document)))
            low, high = a.metadata.get("minimum"), a.metadata.get("maximum")
            if isinstance(part, (int, float)) and low is not None and part < low:
                problems.append(Problem(f"must be at least {low:g}, got {part!r}", where=_place(path, document)))
            if isinstance(part, (int, float)) and high is not None and part > high:
                problems.append(Problem(f"must be at most {high:g}, got {part!r}", where=_place(path, document)))
            pattern = a.metadata.get("pattern")
            if pattern and isinstance(part, str) and part and not re.fullmatch(pattern, part):
                problems.append(Problem(f"{part!r} does not match {pattern}", where=_place(path, document)))
    return problems
