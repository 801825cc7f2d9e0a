"""Values of metrics, config and summary as JSON: what is logged is copied, converted and checked at once."""

from __future__ import annotations

import enum
import math
import operator
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import PurePath
from typing import Any

from windlass.errors import UsageError

__all__ = ["deep_merge", "finite", "label", "labels", "step_number", "to_json"]

_MAX_DEPTH = 50
_MAX_ELEMENTS = 100_000
_LAST_STEP = 2**63 - 1
"""What the stores can count to."""


def to_json(value: Any, where: str, depth: int = 0, *, keep: bool = False) -> Any:
    """A JSON value with the content of `value`.

    Numbers that JSON does not have become ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. Scalars of array libraries
    become numbers, small arrays lists; dataclasses, attrs classes and namespaces become mappings.

    Args:
        value: Anything.
        where: Its place, for messages.
        depth: How deep it lies.
        keep: Leave numbers that JSON does not have as they are; `finite` makes them texts later.

    Raises:
        UsageError: It cannot be written as JSON. Names the place.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, enum.Enum):
        return to_json(value.value, where, depth, keep=keep)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if keep else finite(float(value))
    if depth > _MAX_DEPTH:
        raise UsageError("nested too deeply", where=where, hint=f"At most {_MAX_DEPTH} levels, and no cycles.")
    if isinstance(value, Mapping):
        return {
            _text(str(key), where): to_json(item, f"{where}.{key}", depth + 1, keep=keep) for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(item, f"{where}[{i}]", depth + 1, keep=keep) for i, item in enumerate(value)]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, PurePath):
        return _text(str(value), where)
    return _foreign(value, where, depth, keep)


def _text(value: str, where: str) -> str:
    """A text that can be written. Names of files that are no UTF-8 hold halves of characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{value!r} is no Unicode text", where=ascii(where)[1:-1],
            hint="Names of files? name.encode('utf-8', 'surrogateescape').decode('utf-8', 'replace')",
        ) from None  # fmt: skip
    return value


def label(value: Any, what: str) -> str:
    """A name or note that a run carries; None is an empty one. Raises `UsageError` for what is no text."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UsageError(f"{value!r} is no text", where=what, hint="Give a text; an empty one stands for none.")
    return _text(value, what)


def labels(given: str | Iterable[str] | None, what: str) -> tuple[str, ...]:
    """None, one or several words as several. Raises `UsageError` when one is no text."""
    if given is None:
        return ()
    if isinstance(given, str) or not isinstance(given, Iterable):
        given = (given,)
    return tuple(label(word, what) for word in given)


def step_number(step: Any) -> int:
    """A step as a plain integer; array libraries have integers of their own. Raises `UsageError`."""
    try:
        found = operator.index(step)
    except TypeError:
        raise UsageError(f"{step!r} is no step", where="log()", hint="Steps are integers: step=int(…).") from None
    if found > _LAST_STEP:
        raise UsageError(f"step {found} is too large", where="log()", hint=f"At most {_LAST_STEP}.")
    return found


def finite(value: Any) -> Any:
    """What `to_json` gave with `keep`, with texts for the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _foreign(value: Any, where: str, depth: int, keep: bool) -> Any:
    size = getattr(value, "size", None)
    count = size() if callable(size) else size  # numpy has an attribute, torch a method
    if hasattr(value, "item") and hasattr(value, "tolist"):
        if callable(getattr(value, "numel", None)):
            count = value.numel()
        if isinstance(count, int) and count > _MAX_ELEMENTS:
            raise UsageError(
                f"an array of {count:,} elements is too large for a metric",
                where=where,
                hint="Log a statistic of it, or put it into an artifact.",
            )
        return to_json(value.tolist(), where, depth + 1, keep=keep)
    fields = getattr(type(value), "__dataclass_fields__", None) or [
        a.name for a in getattr(type(value), "__attrs_attrs__", ())
    ]
    if fields:
        return {name: to_json(getattr(value, name), f"{where}.{name}", depth + 1, keep=keep) for name in fields}
    if type(value).__name__ in ("Namespace", "SimpleNamespace"):
        return to_json(vars(value), where, depth, keep=keep)
    raise UsageError(
        f"a {type(value).__module__}.{type(value).__qualname__} cannot be written as JSON",
        where=where,
        hint="Log numbers, texts, lists and mappings; put other objects into an artifact.",
    )


def deep_merge(base: Any, over: Any) -> Any:
    """`base` with `over` laid on it: mappings key by key, everything else replaced. Changes neither."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return {**base, **{key: deep_merge(base.get(key), item) for key, item in over.items()}}
    return over
