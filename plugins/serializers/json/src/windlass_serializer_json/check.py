"""Finds what JSON would change or cannot hold, and names its place."""

from __future__ import annotations

import math
import re
from typing import Any

from windlass.errors import SerializationError
from windlass.serializers import type_name

_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_HINTS = {
    "builtins.tuple": "JSON would turn it into a list; write list(value) if that is fine.",
    "builtins.set": "Write sorted(value).",
    "builtins.bytes": "Decode it to text, or use another serializer.",
    "numpy.ndarray": "Write value.tolist(), or use the serializer numpy.",
}


def check(value: Any, *, allow_nan: bool) -> None:
    """Make sure that `value`, written as JSON and read back, is equal.

    Raises:
        SerializationError: It would not be; `where` holds the place as ``$.a[3]``.
    """
    # A stack of our own: nesting is limited by the encoder, with an error, and not by this check. The containers on
    # the way down are kept to find one that contains itself.
    stack: list[tuple[Any, _Path | None]] = [(value, None)]
    parents: dict[int, None] = {}
    while stack:
        item, path = stack.pop()
        if item is _LEAVE:
            parents.popitem()
            continue
        kind = type(item)
        if kind is str or isinstance(item, str):
            if not item.isascii() and _SURROGATE.search(item):
                raise _error("a text with a lone surrogate, which is not Unicode", path, "Clean the text.")
        elif kind is float or isinstance(item, float):
            if not allow_nan and not math.isfinite(item):
                raise _error(f"{item!r} is not JSON", path, 'Write None instead, or set {"allow_nan": true}.')
        elif item is None or isinstance(item, int):
            continue
        elif isinstance(item, (list, dict)):
            if id(item) in parents:
                raise _error("a container that contains itself", path, "Use the serializer pickle.")
            parents[id(item)] = None
            stack.append((_LEAVE, None))
            if isinstance(item, list):
                stack += [(member, (path, index)) for index, member in enumerate(item)]
            else:
                for key in item:
                    _check_key(key, path)
                stack += [(member, (path, key)) for key, member in item.items()]
        else:
            name = type_name(item)
            raise _error(f"json cannot hold a {name}", path, _HINTS.get(name, "Use another serializer."), name)


_LEAVE = object()
_Path = tuple[Any, Any]  # (path of the parent, key or index)


def _check_key(key: Any, path: _Path | None) -> None:
    if not isinstance(key, str):
        hint = "JSON would turn it into a text; write str(key) if that is fine."
        raise _error(f"the key {key!r} is a {type_name(key)}, not a text", path, hint, type_name(key))
    if not key.isascii() and _SURROGATE.search(key):
        raise _error(f"the key {key!r} has a lone surrogate, which is not Unicode", path, "Clean the text.")


def _error(message: str, path: _Path | None, hint: str, kind: str = "") -> SerializationError:
    context = {"serializer": "json", **({"type": kind} if kind else {})}
    return SerializationError(message, where=_text(path), hint=hint, context=context)


def _text(path: _Path | None) -> str:
    parts: list[str] = []
    while path is not None:
        path, key = path
        if isinstance(key, int):
            parts.append(f"[{key}]")
        else:
            parts.append(f".{key}" if _PLAIN.fullmatch(key) else f"[{str(key)!r}]")
    return "$" + "".join(reversed(parts))
