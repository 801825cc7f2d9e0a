"""A subset of JSON Schema: inferred from values, made from classes, checked against values.

Keywords: ``type``, ``properties``, ``required``, ``additionalProperties``, ``items``, ``enum``, ``const``, ``minimum``,
``maximum``, ``exclusiveMinimum``, ``exclusiveMaximum``, ``minLength``, ``maxLength``, ``minItems``, ``maxItems``,
``uniqueItems``, ``format`` (``date``, ``time``, ``date-time``), ``anyOf``, ``oneOf``, ``allOf``, ``$ref`` into
``$defs``. Others are for display.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

import attrs

from windlass.errors import ConfigError, Problem, UsageError
from windlass.launch.paths import KeyPath, covered, dotted
from windlass.launch.schema_references import written_out
from windlass.models import JSON

__all__ = ["at_path", "bounds_text", "infer_schema", "infer_types", "schema_of", "type_word", "validate"]

_WORDS = {"integer": "int", "number": "float", "string": "str", "boolean": "bool", "array": "list", "object": "dict",
          "null": "None"}  # fmt: skip
_FORMATS: dict[str, tuple[type[date | time], str]] = {  # a datetime is a date, too
    "date-time": (datetime, "2026-01-31T10:30:00Z"),
    "date": (date, "2026-01-31"),
    "time": (time, "10:30:00"),
}
_BEYOND = {"exclusiveMinimum": ">", "exclusiveMaximum": "<"}
_COUNTED = {"Length": "characters", "Items": "items"}


def _kind(value: JSON) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, (str, date, time)):  # TOML has dates; overrides, which are JSON, write them as texts
        return "string"
    return "object" if isinstance(value, Mapping) else "array"


def infer_types(tree: Mapping[str, JSON]) -> dict[str, JSON]:
    """The types of a config, nested as it is: ``{"trainer": {"learning_rate": "float"}}``."""
    return {
        str(key): infer_types(value) if isinstance(value, Mapping) and value else _WORDS[_kind(value)]
        for key, value in tree.items()
    }


def infer_schema(value: JSON) -> dict[str, JSON]:
    """A schema that accepts values like this one. Of a mapping, exactly its keys may be set."""
    if value is None:
        return {}
    kind = _kind(value)
    if kind == "object":
        properties = {str(key): infer_schema(item) for key, item in value.items()}
        return {"type": "object", "properties": properties, "additionalProperties": not properties}
    schema: dict[str, JSON] = {"type": kind, **_format_of(value)}
    if kind == "array" and value:
        kinds = {_kind(item) for item in value}
        if kinds == {"integer", "number"}:
            kinds = {"number"}
        if len(kinds) == 1 and (only := kinds.pop()) not in ("object", "array", "null"):
            formats = [_format_of(item) for item in value]
            schema["items"] = {"type": only, **(formats[0] if all(f == formats[0] for f in formats) else {})}
    return schema


def _format_of(value: JSON) -> dict[str, JSON]:
    """Of a date or time, which TOML has: what takes its place is a text, and has to be one as well."""
    return next(({"format": word} for word, (kind, _) in _FORMATS.items() if isinstance(value, kind)), {})


def schema_of(source: object) -> dict[str, JSON]:
    """A schema from a JSON Schema (a dict with ``type``, ``properties`` …), from values, or from a class.

    Of a class exactly its fields may be set, so that a misspelled one is refused: of a Pydantic model too, whatever
    `extra` says, unless that is ``allow``. A JSON Schema means what it says.

    Raises:
        UsageError: Nothing a schema can be made from.
        ConfigError: A JSON Schema with mistakes.
    """
    if isinstance(source, Mapping):
        if not _is_schema(source):
            return infer_schema(source)
        schema: dict[str, JSON] = written_out(source, source.get("$defs") or source.get("definitions") or {})
        if problems := check_schema(schema):
            raise ConfigError("the schema has mistakes", where="schema", problems=problems)
        return schema
    maker: Callable[[], Any] | None = getattr(source, "model_json_schema", None)  # Pydantic, class or instance
    if callable(maker):
        made: Mapping[str, JSON] = maker()
        return schema_of(_closed(made))
    cls = source if isinstance(source, type) else type(source)
    if attrs.has(cls):
        from windlass.config.schema import json_schema

        return schema_of(json_schema(cls))
    import dataclasses

    if dataclasses.is_dataclass(cls):
        import msgspec

        try:
            (root,), parts = msgspec.json.schema_components([cls], ref_template="#/$defs/{name}")
        except TypeError as error:
            raise UsageError(
                f"no schema can be made from {cls.__name__}: {error}",
                where="schema",
                hint="Use simple types, lists, mappings and dataclasses in it, or give a JSON Schema.",
            ) from None
        return schema_of(_closed({**root, "$defs": parts}))
    raise UsageError(
        f"no schema can be made from {cls.__name__}",
        where="schema",
        hint="Give a JSON Schema, an attrs class, a dataclass or a Pydantic model.",
    )


def _closed(schema: JSON) -> JSON:
    """A schema of classes that refuses what is no field of them, where it does not say otherwise."""
    if not isinstance(schema, Mapping):
        return schema
    made = dict(schema)
    for word in ("properties", "$defs", "definitions"):
        if isinstance(made.get(word), Mapping):
            made[word] = {name: _closed(part) for name, part in made[word].items()}
    for word in ("anyOf", "oneOf"):
        if isinstance(made.get(word), list):
            made[word] = [_closed(part) for part in made[word]]
    for word in ("items", "additionalProperties"):
        if word in made:
            made[word] = _closed(made[word])
    if "properties" in made:
        made.setdefault("additionalProperties", False)
    return made


def _is_schema(value: Mapping[str, JSON]) -> bool:
    return "$ref" in value or (
        value.get("type") in ("object", ["object"]) and isinstance(value.get("properties", {}), Mapping)
    ) or any(isinstance(value.get(word), list) and value[word] for word in ("anyOf", "oneOf", "allOf"))  # fmt: skip


def check_schema(schema: JSON, where: str = "$") -> list[Problem]:
    """Mistakes in a schema: unknown types, parts of the wrong kind."""
    if isinstance(schema, bool):
        return []
    if not isinstance(schema, Mapping):
        return [Problem("expected a mapping", where=where)]
    problems = []
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind not in _WORDS:
            near = difflib.get_close_matches(str(kind), _WORDS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"one of {', '.join(_WORDS)}"
            problems.append(Problem(f"unknown type {kind!r}", where=f"{where}.type", hint=hint))
    for word in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems",
                 "maxItems"):  # fmt: skip
        value = schema.get(word)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            problems.append(Problem(f"expected a number, got {value!r}", where=f"{where}.{word}"))
    if "enum" in schema and not isinstance(schema["enum"], list):
        problems.append(Problem("expected a list", where=f"{where}.enum"))
    properties = schema.get("properties", {})
    if not isinstance(properties, Mapping):
        return [*problems, Problem("expected a mapping", where=f"{where}.properties")]
    for key, part in properties.items():
        problems += check_schema(part, f"{where}.properties.{key}")
    if "items" in schema:
        problems += check_schema(schema["items"], f"{where}.items")
    for word in ("anyOf", "oneOf", "allOf"):
        for i, part in enumerate(schema.get(word, ())):
            problems += check_schema(part, f"{where}.{word}[{i}]")
    return problems


def validate(value: JSON, schema: JSON, where: str = "$", *, partial: bool = True) -> list[Problem]:
    """What is wrong with a value.

    Args:
        value: Overrides, or a whole config.
        schema: See above.
        where: JSON path of the value, for messages.
        partial: Keys may be missing, as overrides need not give all.
    """
    if schema is False:
        return [Problem("nothing is allowed here", where=where)]
    if not isinstance(schema, Mapping) or not schema:
        return []
    problems: list[Problem] = []
    kinds = schema.get("type")
    if kinds is not None:
        allowed = kinds if isinstance(kinds, list) else [kinds]
        if not any(_is(value, kind) for kind in allowed):
            words = " or ".join(_WORDS.get(kind, str(kind)) for kind in allowed)
            return [Problem(f"expected {words}, got {value!r}", where=where)]
    if "enum" in schema and not any(_same(value, item) for item in schema["enum"]):
        problems.append(Problem(f"{value!r} is not allowed", where=where, hint=f"one of {schema['enum']}"))
    if "const" in schema and not _same(value, schema["const"]):
        problems.append(Problem(f"must be {schema['const']!r}", where=where))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        problems += _bounds(value, schema, where)
    if isinstance(value, (str, list, tuple)):
        problems += _lengths(value, schema, where)
    if isinstance(value, str) and schema.get("format") in _FORMATS:
        kind, example = _FORMATS[schema["format"]]
        try:
            kind.fromisoformat(value)
        except ValueError:
            word = schema["format"].replace("-", " and ")
            problems.append(Problem(f"expected a {word}, got {value!r}", where=where, hint=f"e.g. {example}"))
    if isinstance(value, Mapping):
        problems += _object(value, schema, where, partial)
    if isinstance(value, (list, tuple)) and "items" in schema:
        for i, item in enumerate(value):
            problems += validate(item, schema["items"], f"{where}[{i}]", partial=False)
    for part in schema.get("allOf", ()):
        problems += validate(value, part, where, partial=partial)
    for word in ("anyOf", "oneOf"):
        parts = schema.get(word)
        if parts:
            results = [validate(value, part, where, partial=partial) for part in parts]
            if all(results):
                nearest: list[Problem] = min(results, key=len)
                problems += nearest
    return problems


def _is(value: JSON, kind: str) -> bool:
    actual = _kind(value)
    if kind == "number":
        return actual in ("integer", "number")
    if kind == "integer":
        return actual == "integer" or (isinstance(value, float) and math.isfinite(value) and value.is_integer())
    return actual == kind


def _same(one: JSON, other: JSON) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _bounds(value: float, schema: Mapping[str, JSON], where: str) -> list[Problem]:
    tests: tuple[tuple[str, str, Callable[[float, float], bool]], ...] = (
        ("minimum", "at least", lambda v, b: v >= b),
        ("maximum", "at most", lambda v, b: v <= b),
        ("exclusiveMinimum", "greater than", lambda v, b: v > b),
        ("exclusiveMaximum", "less than", lambda v, b: v < b),
    )
    return [
        Problem(f"must be {words} {schema[key]}, got {value!r}", where=where)
        for key, words, test in tests
        if schema.get(key) is not None and not test(value, schema[key])
    ]


def _lengths(value: Sequence[JSON], schema: Mapping[str, JSON], where: str) -> list[Problem]:
    text = isinstance(value, str)
    low, high = ("minLength", "maxLength") if text else ("minItems", "maxItems")
    unit = "characters" if text else "items"
    problems = []
    if low in schema and len(value) < schema[low]:
        problems.append(Problem(f"needs at least {schema[low]} {unit}, has {len(value)}", where=where))
    if high in schema and len(value) > schema[high]:
        problems.append(Problem(f"may have at most {schema[high]} {unit}, has {len(value)}", where=where))
    if not text and schema.get("uniqueItems") and any(item in value[:i] for i, item in enumerate(value)):
        problems.append(Problem("items must not repeat", where=where))
    return problems


def _object(value: Mapping[str, JSON], schema: Mapping[str, JSON], where: str, partial: bool) -> list[Problem]:
    problems = []
    properties = schema.get("properties") or {}
    others = schema.get("additionalProperties", True)
    named = [key for key, part in properties.items() if part is not False]
    for key, item in value.items():
        place = f"{where}.{dotted((key,))}"
        part = properties.get(key, others)
        if part is False:
            near = difflib.get_close_matches(key, named, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"inputs: {', '.join(named) or 'none'}"
            problems.append(Problem(f"there is no input '{key}'", where=place, hint=hint))
        else:
            problems += validate(item, part, place, partial=partial)
    required = schema.get("required")
    if not partial and isinstance(required, list):
        missing = [dotted((key,)) for key in required if key not in value]
        problems += [Problem("required key is missing", where=f"{where}.{key}") for key in missing]
    return problems


def restricted(
    schema: JSON, include: Sequence[KeyPath], exclude: Sequence[KeyPath], above: KeyPath = ()
) -> dict[str, JSON]:
    """A schema in which only what lies below `include` (empty: all) and not below `exclude` is allowed."""
    schema = schema if isinstance(schema, Mapping) else {}
    outside = bool(include) and not covered(above, include)
    inner = [path for path in exclude if path[: len(above)] == above]
    inner += [path for path in include if path[: len(above)] == above] if outside else []
    names = [path[len(above)] for path in inner if len(path) > len(above)]
    if not names:
        return dict(schema)
    parts: dict[str, JSON] = {}
    given = schema.get("properties") or {}
    for key in dict.fromkeys((*given, *names)):
        here = (*above, key)
        part = given.get(key, schema.get("additionalProperties", True))
        wanted = not include or covered(here, include) or any(path[: len(here)] == here for path in include)
        open_ = part is not False and wanted and not covered(here, exclude)
        parts[key] = restricted(part, include, exclude, here) if open_ else False
    result = {**schema, "properties": parts} | ({"additionalProperties": False} if outside else {})
    if isinstance(schema.get("required"), list):
        result["required"] = [key for key in schema["required"] if parts.get(key, True) is not False]
    return result


def at_path(schema: JSON, path: Sequence[str]) -> dict[str, JSON]:
    """The part of a schema that describes a path; empty if it says nothing."""
    for key in path:
        schema = (schema.get("properties") or {}).get(key) if isinstance(schema, Mapping) else None
    return dict(schema) if isinstance(schema, Mapping) else {}


def type_word(schema: Mapping[str, JSON]) -> str:
    """The type of a schema in Python's words, ``date`` and the like for texts that are one; empty if it names none."""
    if schema.get("format") in _FORMATS:
        return str(schema["format"])
    kinds = schema.get("type", [])
    words = [_WORDS.get(kind, str(kind)) for kind in (kinds if isinstance(kinds, list) else [kinds])]
    words += [type_word(part) for part in _choices(schema)]
    return " | ".join(dict.fromkeys(filter(None, words)))


def bounds_text(schema: Mapping[str, JSON]) -> str:
    """Bounds of a schema for people: ``1 … 10``, ``> 0``, ``one of a, b``, ``2 … 5 items``."""
    if schema.get("enum"):
        return "one of " + ", ".join(map(str, schema["enum"]))
    found = [_range(schema, "minimum", "maximum", "")]
    found += [f"{sign} {schema[word]}" for word, sign in _BEYOND.items() if schema.get(word) is not None]
    found += [_range(schema, f"min{word}", f"max{word}", unit) for word, unit in _COUNTED.items()]
    found += [bounds_text(part) for part in _choices(schema)]
    return ", ".join(dict.fromkeys(filter(None, found)))


def _choices(schema: Mapping[str, JSON]) -> list[Mapping[str, JSON]]:
    return [part for word in ("anyOf", "oneOf") for part in schema.get(word) or () if isinstance(part, Mapping)]


def _range(schema: Mapping[str, JSON], least: str, most: str, unit: str) -> str:
    low, high = schema.get(least), schema.get(most)
    text = "" if low is None and high is None else f"{'' if low is None else low} … {'' if high is None else high}"
    return f"{text.strip()} {unit}".strip() if text else ""
