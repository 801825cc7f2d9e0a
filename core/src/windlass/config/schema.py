"""JSON Schema, tables and help from config classes."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, get_args, get_origin

import attrs

__all__ = ["KeyInfo", "json_schema", "keys"]

_Names = Mapping[type[Any], str]
"""Classes that stand in ``$defs``, by their names there."""


@attrs.frozen(kw_only=True)
class KeyInfo:
    """One key of a config class, for people.

    Attributes:
        name: Key in YAML.
        type: ``text``, ``number``, ``list of text`` …
        required: There is no default.
        default: Default as plain data, None if there is none.
        help: One sentence.
    """

    name: str
    type: str
    required: bool
    default: Any
    help: str


def keys(cls: type[Any]) -> tuple[KeyInfo, ...]:
    """All keys of a config class in order."""
    hints = typing.get_type_hints(cls)
    return tuple(
        KeyInfo(
            name=a.metadata.get("key") or a.name,
            type=_word(hints[a.name]),
            required=a.default is attrs.NOTHING,
            default=_default(a),
            help=a.metadata.get("help", ""),
        )
        for a in attrs.fields(cls)
        if a.init
    )


def json_schema(cls: type[Any], title: str = "") -> dict[str, Any]:
    """The JSON Schema (2020-12) of a config class. Classes that hold themselves are in ``$defs``."""
    names = _recursive(cls)
    schema = _class_schema(cls, names)
    if names:
        schema["$defs"] = {name: _structure_schema(kind, names) for kind, name in names.items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title or cls.__name__, **schema}


def _recursive(kind: Any) -> dict[type[Any], str]:
    """Classes that hold themselves, among those that a type hint leads to, with names of their own."""
    held: dict[type[Any], list[type[Any]]] = {}
    todo = list(_structures(kind))
    while todo:
        cls = todo.pop()
        if cls not in held:
            held[cls] = [part for hint in typing.get_type_hints(cls).values() for part in _structures(hint)]
            todo += held[cls]

    def leads_back(cls: type[Any]) -> bool:
        seen: set[type[Any]] = set()
        ahead = list(held[cls])
        while ahead:
            if (part := ahead.pop()) not in seen:
                seen.add(part)
                ahead += held[part]
        return cls in seen

    found = [cls for cls in held if leads_back(cls)]
    same = {cls.__name__ for cls in found if sum(other.__name__ == cls.__name__ for other in found) > 1}
    return {cls: f"{cls.__module__}.{cls.__qualname__}" if cls.__name__ in same else cls.__name__ for cls in found}


def _structures(hint: Any) -> Iterator[type[Any]]:
    """The attrs classes and dataclasses in a type hint."""
    if isinstance(hint, type) and (attrs.has(hint) or dataclasses.is_dataclass(hint)):
        yield hint
    for part in get_args(hint):
        yield from _structures(part)


def _structure_schema(kind: type[Any], names: _Names) -> dict[str, Any]:
    return _class_schema(kind, names) if attrs.has(kind) else _dataclass_schema(kind, names)


def _class_schema(cls: type[Any], names: _Names) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for a in attrs.fields(cls):
        if not a.init:
            continue
        key = a.metadata.get("key") or a.name
        part = _type_schema(hints[a.name], names)
        if a.metadata.get("help"):
            part["description"] = a.metadata["help"]
        if a.metadata.get("choices"):
            target = part["items"] if "array" in _kinds(part) else part
            target["enum"] = [*a.metadata["choices"], *([None] if "null" in _kinds(target) else [])]
        for name, word in (("minimum", "minimum"), ("maximum", "maximum"), ("pattern", "pattern")):
            if a.metadata.get(name) not in (None, ""):
                part[word] = a.metadata[name]
        if a.default is attrs.NOTHING:
            required.append(key)
        elif _default(a) is not None:
            part["default"] = _default(a)
        properties[key] = part
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    return schema


def _dataclass_schema(cls: type[Any], names: _Names) -> dict[str, Any]:
    """Of a dataclass that a config class holds; code of users mixes the two."""
    hints = typing.get_type_hints(cls)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for found in dataclasses.fields(cls):
        if not found.init:
            continue
        part = properties[found.name] = _type_schema(hints[found.name], names)
        if isinstance(found.default, (str, int, float, bool)) and not isinstance(found.default, enum.Enum):
            part["default"] = found.default
        if found.default is dataclasses.MISSING and found.default_factory is dataclasses.MISSING:
            required.append(found.name)
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that takes null, too. What it says of other values stays where it is."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [*_kinds(schema), "null"]} if "type" in schema else schema


def _kinds(schema: dict[str, Any]) -> list[str]:
    kinds = schema.get("type", [])
    return kinds if isinstance(kinds, list) else [kinds]


_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", Path: "string"}
_TIMES = {datetime: "date-time", date: "date", time: "time"}


def _type_schema(kind: Any, names: _Names) -> dict[str, Any]:
    if kind in _SIMPLE:
        return {"type": _SIMPLE[kind]}
    if kind in _TIMES:
        return {"type": "string", "format": _TIMES[kind]}
    if isinstance(kind, type) and kind in names:
        return {"$ref": f"#/$defs/{names[kind]}"}
    if isinstance(kind, type) and (attrs.has(kind) or dataclasses.is_dataclass(kind)):
        return _structure_schema(kind, names)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    origin, args = get_origin(kind), get_args(kind)
    if origin is typing.Literal:
        return {"enum": list(args)}
    if origin in (typing.Union, types.UnionType):
        options = [_type_schema(arg, names) for arg in args if arg is not type(None)]
        made = options[0] if len(options) == 1 else {"anyOf": options}
        return _nullable(made) if type(None) in args else made
    if origin in (tuple, list, set, frozenset):
        return {"type": "array", "items": _type_schema(args[0], names) if args else {}}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        value = _type_schema(args[1], names) if len(args) == 2 else {}
        return {"type": "object", "additionalProperties": value or True}
    return {}


_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
    "null": "nothing",
}
"""The words of error messages, so that the table of keys and the complaint about one speak alike."""


def _word(kind: Any) -> str:
    return _schema_word(_type_schema(kind, _recursive(kind)))


def _schema_word(schema: dict[str, Any]) -> str:
    kinds = _kinds(schema)
    if len(kinds) > 1:  # that a key may be null goes without saying: it may be left out
        kinds = [kind for kind in kinds if kind != "null"]
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"] if value is not None)
    if kinds == ["array"]:
        return f"list of {_schema_word(schema['items'])}"
    if "anyOf" in schema:
        return " or ".join(_schema_word(part) for part in schema["anyOf"] if part != {"type": "null"})
    return "mapping" if "$ref" in schema else _WORDS.get("".join(kinds), "value")


def _default(a: attrs.Attribute[Any]) -> Any:
    from windlass.config.converter import unstructure

    if a.default is attrs.NOTHING:
        return None
    default: Any = a.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = None if default.takes_self else default.factory()
    if isinstance(default, (date, time)):
        return default.isoformat()
    return unstructure(default)
