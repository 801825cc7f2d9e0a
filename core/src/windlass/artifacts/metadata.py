"""Metadata of an artifact: a JSON object, made from what people have at hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from windlass.errors import UsageError

__all__ = ["MAX_KEYS", "clean_metadata"]

MAX_KEYS = 100


def clean_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """A deep copy as plain JSON: tuples and arrays become lists, NaN null, slices objects.

    Raises:
        UsageError: Not a mapping, too many keys at the top, an infinity, or a value JSON cannot hold; names the key.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise UsageError(f"metadata must be a mapping, not {type(metadata).__name__}", where="$.metadata")
    if len(metadata) > MAX_KEYS:
        raise UsageError(
            f"metadata has {len(metadata)} keys", where="$.metadata", hint=f"{MAX_KEYS} at most; nest the others."
        )
    try:
        return {_key(key, "$.metadata"): _clean(value, f"$.metadata.{key}") for key, value in metadata.items()}
    except RecursionError:
        raise UsageError(
            "metadata is nested too deeply, or holds itself", where="$.metadata", hint="Simplify it."
        ) from None


def _key(key: Any, where: str) -> str:
    if not isinstance(key, (str, int, float, bool)):
        raise UsageError(f"a key is {type(key).__name__}, not text", where=where)
    return _text(str(key), where)


def _text(text: str, where: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(
                "a text holds characters that are no Unicode text", where=where, hint="Remove lone surrogates."
            ) from None
    return text


def _clean(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isinf(value):
            raise UsageError("JSON has no infinity", where=where, hint="Use None, or a text.")
        return None if math.isnan(value) else float(value)
    if isinstance(value, Mapping):
        return {_key(key, where): _clean(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        return [_clean(item, f"{where}[{index}]") for index, item in enumerate(items)]
    if isinstance(value, slice):
        return {f"slice_{part}": _clean(getattr(value, part), f"{where}.{part}") for part in ("start", "stop", "step")}
    if hasattr(value, "tolist"):  # numpy arrays and scalars, torch tensors
        return _clean(value.tolist(), where)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "__fspath__"):
        return str(value)
    raise UsageError(f"JSON cannot hold a {type(value).__name__}", where=where, hint="Convert it to text or numbers.")
