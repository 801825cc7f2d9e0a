"""References of a JSON Schema (``$ref`` into ``$defs``), written out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define

from windlass.errors import UsageError
from windlass.models import JSON

__all__ = ["written_out"]

_DEPTH = 64
_LARGEST = 20_000
"""Parts of a schema whose references are written out."""
_TRIES = (8, 2000), (4, 2000), (2, 2000), (1, _LARGEST)
"""How often a definition is written out within itself, if it makes so many parts at most: trees grow fast."""


@define
class _Room:
    """What may still be written out: so many parts, a definition so often within itself."""

    parts: int
    times: int


def written_out(schema: JSON, definitions: Mapping[str, JSON]) -> Any:
    """Replace references by what they mean; what lies deeper within itself than can be written is "anything".

    Raises:
        UsageError: Even so it grows too large.
    """
    for times, parts in _TRIES:
        try:
            return _inline(schema, definitions, (), _Room(parts, times), 0)
        except OverflowError:
            continue
    raise UsageError(
        f"the schema has more than {_LARGEST} parts when its references are written out",
        where="schema",
        hint="Describe less of it: a part without a schema takes anything.",
    )


def _inline(schema: JSON, definitions: Mapping[str, JSON], within: tuple[str, ...], room: _Room, depth: int) -> Any:
    def inner(part: JSON, within: tuple[str, ...] = within) -> Any:
        return _inline(part, definitions, within, room, depth + 1)

    if isinstance(schema, list):
        return [inner(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    room.parts -= 1
    if room.parts < 0:
        raise OverflowError
    if depth > _DEPTH:
        return {}
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.rsplit("/", 1)[-1]
        if within.count(name) > room.times:
            return {}
        target = definitions.get(name, {})
        extra = {key: value for key, value in schema.items() if key != "$ref"}
        return inner({**target, **extra} if isinstance(target, Mapping) else extra, (*within, name))
    plain = {key: value for key, value in schema.items() if key not in ("$defs", "definitions", "$schema")}
    parts = plain.get("allOf")
    if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], Mapping):
        plain.pop("allOf")
        return inner({**parts[0], **plain})
    return {
        key: {name: inner(part) for name, part in value.items()}
        if key == "properties" and isinstance(value, Mapping)
        else inner(value)
        for key, value in plain.items()
    }
