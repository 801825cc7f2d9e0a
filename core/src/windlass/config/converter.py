"""Structure plain data into attrs classes: strict types, no unknown keys, all problems at once, each with its place."""

from __future__ import annotations

import contextlib
import difflib
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import attrs
import cattrs
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from windlass.config.document import Document
from windlass.config.secrets import is_reference
from windlass.errors import ConfigError, Problem, WindlassError, counted

T = TypeVar("T")

__all__ = ["failure", "field_keys", "structure", "structure_most", "unstructure"]


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
    result, problems = structure_most(data, cls, where=where, document=document)
    if result is not None and not problems:
        return result
    raise failure(document, problems)


def failure(document: Document | None, problems: list[Problem]) -> ConfigError:
    """The error of a configuration in which something is wrong."""
    where = document.source if document is not None else ""
    return ConfigError(f"{counted(problems)} in the configuration", where=where, problems=problems)


def structure_most(
    data: Any, cls: type[T], *, where: str = "$", document: Document | None = None
) -> tuple[T | None, list[Problem]]:
    """As `structure`, with what does not fit left out of the result, so that the caller can check the rest as well.

    Returns:
        The value, None when something is left out that it cannot be without; and all problems.
    """
    problems: list[Problem] = []
    result: T | None = None
    try:
        if not isinstance(data, Mapping) and attrs.has(cls):
            raise _Mismatch("a mapping", data)
        result = _converter().structure(data, cls)
    except Exception as error:
        _collect(error, where, document, problems)
        with contextlib.suppress(Exception):
            result = _converter().structure(_fitting(data, cls), cls)
    problems += _check_values(result, where, document)
    if document is not None:
        problems.sort(key=lambda problem: int((re.findall(r":(\d+) \(", problem.where) or ["0"])[0]))
    return result, problems


def unstructure(value: Any) -> Any:
    """The plain data of an attrs value: keys as in YAML, defaults left out, tuples as lists, enums as values."""
    return _converter().unstructure(value)


def field_keys(cls: type[Any]) -> dict[str, str]:
    """YAML key by field name of a config class; fields that the class itself fills have none."""
    return {a.name: a.metadata.get("key") or a.name for a in attrs.fields(cls) if a.init}


class _Mismatch(Exception):
    def __init__(self, expected: str, value: Any) -> None:
        super().__init__(f"expected {expected}, got {_show(value)}")


class _Several(Exception):
    """What is wrong inside a list or mapping: path behind the present one, and exception."""

    def __init__(self, parts: Sequence[tuple[str, Exception]]) -> None:
        super().__init__("several")
        self.parts = parts


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
            if isinstance(value, float) and not math.isfinite(value):
                raise _Mismatch(word, value)  # JSON has no such numbers, and they pass every comparison
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
    converter.register_structure_hook_factory(_is_sequence, lambda kind: _sequence_hook(converter, kind))
    converter.register_structure_hook_factory(_is_mapping, lambda kind: _mapping_hook(converter, kind))
    converter.register_structure_hook_factory(_is_union, lambda kind: _union_hook(converter, kind))
    return converter


def _path_hook(value: Any, _kind: Any) -> Path:
    return Path(_text(value))


def _origin(kind: Any) -> Any:
    return typing.get_origin(kind) or kind


def _is_sequence(kind: Any) -> bool:
    return _origin(kind) in (tuple, list, set, frozenset, Sequence)


def _is_mapping(kind: Any) -> bool:
    return isinstance(_origin(kind), type) and issubclass(_origin(kind), Mapping)


def _is_union(kind: Any) -> bool:
    options = [arg for arg in typing.get_args(kind) if arg is not type(None)]
    return _origin(kind) in (typing.Union, types.UnionType) and len(options) > 1


def _sequence_hook(converter: cattrs.Converter, kind: Any) -> Callable[[Any, Any], Any]:
    item = (typing.get_args(kind) or (Any,))[0]
    make = list if _origin(kind) is Sequence else _origin(kind)

    def hook(value: Any, _kind: Any) -> Any:
        if isinstance(value, str) and item is str:
            value = [value]  # one text where a list of them is wanted; a text is never taken apart
        if not isinstance(value, (list, tuple)):
            raise _Mismatch("a list", value)
        return make(_each(converter, [(f"[{i}]", part) for i, part in enumerate(value)], item))

    return hook


def _mapping_hook(converter: cattrs.Converter, kind: Any) -> Callable[[Any, Any], Any]:
    item = (*typing.get_args(kind), Any, Any)[1]

    def hook(value: Any, _kind: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _Mismatch("a mapping", value)
        parts = _each(converter, [(f".{key}", part) for key, part in value.items()], item)
        return dict(zip(map(str, value), parts, strict=True))

    return hook


def _union_hook(converter: cattrs.Converter, kind: Any) -> Callable[[Any, Any], Any]:
    options = typing.get_args(kind)

    def hook(value: Any, _kind: Any) -> Any:
        if value is None and type(None) in options:
            return None
        # A number is no text and a text no list, so at most one of the simple types takes the value.
        for option in options:
            if option is not type(None) and not (_is_sequence(option) and isinstance(value, str)):
                with contextlib.suppress(Exception):
                    return converter.structure(value, option)
        words = [_WORDS.get(_origin(o), getattr(o, "__name__", str(o))) for o in options if o is not type(None)]
        raise _Mismatch(" or ".join(words), value)

    return hook


_WORDS = {
    str: "a text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path",
    tuple: "a list", list: "a list", dict: "a mapping", Mapping: "a mapping",
}  # fmt: skip


def _each(converter: cattrs.Converter, parts: Sequence[tuple[str, Any]], item: Any) -> list[Any]:
    done, wrong = [], []
    for path, part in parts:
        try:
            done.append(converter.structure(part, item))
        except Exception as error:
            wrong.append((path, error))
    if wrong:
        raise _Several(wrong)
    return done


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
    secret = {a.metadata.get("key") or a.name for a in attrs.fields(cls) if a.metadata.get("secret")}
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
        keyed: dict[str, Any] = {}
        for key, item in value.items():
            known = renamed.get(str(key), str(key))
            if known in keyed:
                raise TypeError(f"'{known}' is given twice, once as '{key}'")
            keyed[known] = item["secret"] if known in secret and is_reference(item) else item
        return inner(keyed, kind)

    return hook


def _collect(error: Exception, where: str, document: Document | None, into: list[Problem]) -> None:
    """Turn cattrs' tree of exceptions into problems with places."""
    if isinstance(error, ClassValidationError):
        kind = error.cl
        with_notes, others = error.group_exceptions()
        for sub, note in with_notes:
            name = str(note.name)
            key = field_keys(kind).get(name, name) if attrs.has(kind) else name
            if isinstance(sub, KeyError):  # nothing else below a field raises one; what is nested comes wrapped
                sub = KeyError()
            elif attrs.has(kind) and attrs.fields_dict(kind)[name].metadata.get("secret"):
                hint = "write where it is: env/NAME, file/PATH or keyring/SERVICE/USER"
                sub = ConfigError("the value does not fit (it is secret and not shown)", hint=hint)
            _collect(sub, f"{where}.{key}", document, into)
        for sub in others:
            _collect(sub, where, document, into)
    elif isinstance(error, _Several):
        for path, sub in error.parts:
            _collect(sub, f"{where}{path}", document, into)
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
    elif isinstance(error, KeyError):
        into.append(Problem("required key is missing", where=_place(where, document)))
    else:
        into.append(Problem(str(error) or type(error).__name__, where=_place(where, document)))


def _fitting(data: Any, kind: Any) -> Any:
    """Plain data without the keys whose values do not fit. A list stays whole or goes. Raises where nothing is left."""
    if isinstance(data, Mapping) and (attrs.has(kind) or _is_mapping(kind)):
        kept: dict[str, Any] = {}
        for key, value in data.items():
            with contextlib.suppress(Exception):
                kept[key] = _fitting(value, _kind_of(kind, str(key)))
        return kept
    _converter().structure(data, kind)
    return data


def _kind_of(kind: Any, key: str) -> Any:
    """The type of what lies under a key. Raises `StopIteration` when a class has no such field."""
    if _is_mapping(kind):
        return (*typing.get_args(kind), Any, Any)[1]
    name = next(name for name, known in field_keys(kind).items() if key in (name, known))
    hint = typing.get_type_hints(kind)[name]
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    return options[0] if len(options) == 1 and type(None) in typing.get_args(hint) else hint


def _place(path: str, document: Document | None) -> str:
    return document.place(path) if document is not None else path


def _check_values(value: Any, where: str, document: Document | None) -> list[Problem]:
    """Check what `option` declares beyond types: choices, bounds, patterns."""
    problems: list[Problem] = []
    if isinstance(value, (tuple, list)):
        for index, part in enumerate(value):
            problems += _check_values(part, f"{where}[{index}]", document)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            problems += _check_values(part, f"{where}.{key}", document)
    elif attrs.has(type(value)):
        for a in attrs.fields(type(value)):
            item, path = getattr(value, a.name), f"{where}.{a.metadata.get('key') or a.name}"
            for part in item if isinstance(item, tuple) else (item,):
                message = "" if part is None else _breach(part, a.metadata)
                if message and a.metadata.get("secret"):
                    message = "the value does not fit (it is secret and not shown)"
                if message:
                    problems.append(Problem(message, where=_place(path, document)))
            problems += _check_values(item, path, document)
    return problems


def _breach(value: Any, rules: Mapping[str, Any]) -> str:
    """How a value breaks the declared rules, empty if it does not."""
    choices, low, high, pattern = (rules.get(name) for name in ("choices", "minimum", "maximum", "pattern"))
    if choices and value not in choices:
        return f"expected one of {', '.join(map(str, choices))}, got {value!r}"
    if isinstance(value, (int, float)):
        if low is not None and value < low:
            return f"must be at least {low:g}, got {value!r}"
        if high is not None and value > high:
            return f"must be at most {high:g}, got {value!r}"
    if pattern and isinstance(value, str) and value and not re.fullmatch(pattern, value):
        return f"{value!r} does not match {pattern}"
    return ""
