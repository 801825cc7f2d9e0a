"""JSON on the wire and on disk: msgspec straight into and out of the attrs models."""

from __future__ import annotations

import re
import threading
from typing import Any, TypeVar

import msgspec

from windlass.errors import ConfigError, UsageError

T = TypeVar("T")

MAX_DEPTH = 200
"""Levels of what is stored. Whoever reads it may be deep in calls himself, which count as levels in Python 3.11."""

_encoder = msgspec.json.Encoder()
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])')


def encode(value: Any) -> bytes:
    """A model, or anything made of models and JSON values, as compact JSON. Bytes become base64, NaN becomes null.

    Raises:
        UsageError: It holds something that JSON has no word for; names its type.
    """
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"cannot be written as JSON: {error}", hint="Use texts, numbers, lists and mappings."
        ) from None


def encode_stored(value: Any, where: str) -> str:
    """See `encode`; for what others read back. Raises `UsageError` for more than `MAX_DEPTH` levels, too."""
    text = encode(value).decode()
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(text, where)
    return text


def _check_depth(text: str, where: str) -> None:
    depth = 0
    for match in _BRACKETS.finditer(text):
        if match[1]:
            depth += 1
            if depth > MAX_DEPTH:
                raise UsageError("nested too deeply", where=where, hint=f"At most {MAX_DEPTH} levels.")
        elif match[2]:
            depth -= 1


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_making = threading.Lock()


def decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """The decoder of a type, made once.

    msgspec notes on a class what it knows of it before it knows all, and crashes the process when another thread, which
    makes a decoder with that class in it at the same moment, goes by the half of it. So they are made one by one.
    """
    found = _decoders.get(kind)
    if found is None:
        with _making:
            found = _decoders.get(kind) or msgspec.json.Decoder(kind)
            _decoders[kind] = found
    return found


def decode(data: bytes | str, kind: type[T]) -> T:
    """A model from JSON. Unknown keys are ignored, so that older programs read newer data.

    Raises:
        ConfigError: Not JSON, or not of this type; `where` holds the JSON path.
    """
    try:
        value: T = decoder(kind).decode(data)
        return value
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        raise ConfigError(message, where=path.rstrip("`") or "$") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"not well-formed JSON: {error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise ConfigError("nested too deeply", where="$", hint=f"At most {MAX_DEPTH} levels.") from None


def to_plain(value: Any) -> Any:
    """A model as JSON values (dicts, lists, texts, numbers)."""
    return msgspec.to_builtins(value)
