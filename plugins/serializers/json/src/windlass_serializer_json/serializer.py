"""Strict JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO

from windlass.errors import SerializationError
from windlass.serializers import Serializer, reading, writing
from windlass_serializer_json.check import check
from windlass_serializer_json.config import JsonConfig

_BATCH = 1000


class JsonSerializer(Serializer):
    """Writes plain data such that what is read back is equal."""

    def __init__(self, config: JsonConfig) -> None:
        self._config = config

    def dump(self, obj: Any, file: BinaryIO) -> None:
        """Write `obj`, the members of the outermost list or dict in batches. See `Serializer.dump`."""
        with writing(obj, "json", hint="Data nested this deep does not fit into JSON; use another serializer."):
            check(obj, allow_nan=self._config.allow_nan)
            file.writelines(text.encode() for text in self._texts(obj))

    def load(self, file: BinaryIO) -> Any:
        """Read data. See `Serializer.load`."""
        with reading("json"):
            return json.loads(str(file.read(), "utf-8"), object_pairs_hook=_unique)

    def versions(self) -> dict[str, str]:
        """The standard that is written."""
        return {"format": "RFC 8259" if not self._config.allow_nan else "RFC 8259 with NaN"}

    def _texts(self, obj: Any) -> Iterator[str]:
        config = self._config
        encoder = json.JSONEncoder(
            ensure_ascii=config.ensure_ascii,
            allow_nan=config.allow_nan,
            sort_keys=config.sort_keys,
            indent=config.indent or None,
            separators=None if config.indent else (",", ":"),
        )
        if config.indent:
            yield from encoder.iterencode(obj)
        elif isinstance(obj, list):
            yield from _joined("[", (encoder.encode(batch) for batch in _batches(obj)), "]")
        elif isinstance(obj, dict):
            items = sorted(obj.items()) if config.sort_keys else obj.items()
            yield from _joined("{", (encoder.encode(dict(batch)) for batch in _batches(items)), "}")
        else:
            yield encoder.encode(obj)


def _batches(items: Any) -> Iterator[list[Any]]:
    # The encoder of the standard library is fast for a whole value only; batches keep its texts small.
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _joined(opening: str, texts: Iterator[str], closing: str) -> Iterator[str]:
    yield opening
    for number, text in enumerate(texts):
        yield f",{text[1:-1]}" if number else text[1:-1]
    yield closing


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise SerializationError(
            f"the key {twice!r} is given twice", hint="The file was not written by Windlass; correct it."
        )
    return found
