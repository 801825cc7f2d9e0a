"""Cells of tables as JSON, and back: each as what it was, or refused."""

from __future__ import annotations

import base64
import datetime as dt
import importlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from windlass.artifacts.media import Media, MediaReader, MediaWriter
from windlass.errors import SerializationError, UsageError

__all__ = ["cell_from_json", "cell_to_json"]

_KEYS = (str, bool, int, float, bytes, dt.date)


def cell_to_json(value: Any, writer: MediaWriter) -> Any:
    """A cell as JSON; what JSON does not know is an object with a ``_type``. Media are stored.

    Raises:
        UsageError: It cannot be a cell.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"_type": "float", "value": str(float(value))}
    if isinstance(value, Media):
        return writer.document(value)
    if isinstance(value, dt.datetime):
        return {"_type": "timestamp" if _of_pandas(value) else "datetime", "value": value.isoformat()}
    if isinstance(value, dt.date):
        return {"_type": "date", "value": value.isoformat()}
    if isinstance(value, (bytes, bytearray)):
        return {"_type": "bytes", "value": base64.b64encode(value).decode()}
    if isinstance(value, Mapping) and not all(isinstance(key, str) for key in value):
        if not all(key is None or isinstance(key, _KEYS) for key in value):
            raise _no_cell("mapping with keys that are neither text, numbers, dates nor bytes")
        pairs = [[cell_to_json(key, writer), cell_to_json(item, writer)] for key, item in value.items()]
        return {"_type": "mapping", "value": pairs}
    if isinstance(value, Mapping):
        items = {str(key): cell_to_json(item, writer) for key, item in value.items()}
        return {"_type": "object", "value": items} if "_type" in items else items
    if isinstance(value, (list, tuple)):
        return [cell_to_json(item, writer) for item in value]
    if isinstance(value, (set, frozenset)):  # their own order is another one in each process
        return sorted((cell_to_json(item, writer) for item in value), key=_order)
    if hasattr(value, "dtype") and hasattr(value, "mask"):
        raise _no_cell("masked array")
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return _array_to_json(value, writer)
    if type(value).__name__ == "NAType" and type(value).__module__.startswith("pandas."):
        return {"_type": "NA"}
    raise _no_cell(type(value).__name__)


def _of_pandas(value: dt.datetime) -> bool:
    """Whether it is a time that Python's own type cannot hold: NaT, or one with nanoseconds."""
    if value != value:
        return True
    if not dt.MINYEAR <= value.year <= dt.MAXYEAR:
        raise _no_cell(f"time in the year {value.year}")
    return bool(getattr(value, "nanosecond", 0))


def _order(item: Any) -> tuple[str, Any]:
    plain = isinstance(item, (int, float, str))
    return type(item).__name__, item if plain else json.dumps(item, sort_keys=True)


def _array_to_json(value: Any, writer: MediaWriter) -> Any:
    if getattr(value, "ndim", 0):
        if not hasattr(value, "tobytes") or value.dtype.kind not in "biufcSUMm":
            raise _no_cell(f"{type(value).__name__} of {value.dtype}")
        data = base64.b64encode(value.tobytes()).decode()
        return {"_type": "ndarray", "dtype": value.dtype.str, "shape": list(value.shape), "value": data}
    kind = getattr(value.dtype, "kind", "")
    if kind in ("M", "m"):  # as Python objects they would lose what is below microseconds, or become numbers
        exact = str(value) if kind == "M" else int(value.astype("int64"))
        return {"_type": "numpy", "dtype": value.dtype.name, "value": exact}
    plain = value.tolist()
    if hasattr(plain, "dtype"):  # a number that Python does not have
        raise _no_cell(f"number of the type {value.dtype}")
    return cell_to_json(plain, writer)


def _no_cell(what: str) -> UsageError:
    return UsageError(f"a cell cannot be a {what}", hint="Use text, numbers, dates, bytes, arrays of these, or media.")


def cell_from_json(value: Any, reader: MediaReader) -> Any:
    """The cell back."""
    if isinstance(value, list):
        return [cell_from_json(item, reader) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("_type")
    if kind is None:
        return {key: cell_from_json(item, reader) for key, item in value.items()}
    if kind == "object":
        return {key: cell_from_json(item, reader) for key, item in value["value"].items()}
    if kind == "mapping":
        return {cell_from_json(key, reader): cell_from_json(item, reader) for key, item in value["value"]}
    read = _READERS.get(kind)
    return read(value) if read is not None else reader.object(value)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise SerializationError(f"a cell holds a value of {name}", hint=f"pip install {name}") from None


def _ndarray(facts: Mapping[str, Any]) -> Any:
    np = _module("numpy")
    data = base64.b64decode(facts["value"])
    return np.frombuffer(data, dtype=np.dtype(facts["dtype"])).reshape(facts["shape"]).copy()


def _numpy(facts: Mapping[str, Any]) -> Any:
    np = _module("numpy")
    return np.array(facts["value"], dtype=facts["dtype"])[()]


def _pandas(facts: Mapping[str, Any]) -> Any:
    pd = _module("pandas")
    return pd.NA if facts["_type"] == "NA" else pd.Timestamp(facts["value"])


_READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "float": lambda facts: float(facts["value"]),
    "datetime": lambda facts: dt.datetime.fromisoformat(facts["value"]),
    "date": lambda facts: dt.date.fromisoformat(facts["value"]),
    "bytes": lambda facts: base64.b64decode(facts["value"]),
    "ndarray": _ndarray,
    "numpy": _numpy,
    "timestamp": _pandas,
    "NA": _pandas,
}
