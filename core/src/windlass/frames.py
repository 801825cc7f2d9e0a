"""Data frames as Arrow tables that give back the same cells. Their packages are imported when they are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from windlass.errors import SerializationError, UsageError

__all__ = ["arrow_of", "check_rows"]

_EXACT = ("string", "bytes", "floating", "boolean", "decimal", "empty")
"""Columns of Python objects, as pandas infers them, that Arrow keeps or refuses by itself."""


def arrow_of(frame: Any, kind: str, *, index: bool | None = None) -> Any:
    """An Arrow table of a data frame, checked: Arrow takes one type for a column and changes cells to fit it.

    Lists and tuples in a pandas frame may come back as arrays of the same values, and the nulls of a column as one kind
    of null.

    Args:
        frame: Of pandas, polars or pyarrow.
        kind: Which of the three.
        index: pandas: whether the index is kept; None: a RangeIndex as a fact only.

    Raises:
        SerializationError: A column would come back changed; names it.
        ValueError, TypeError: What pyarrow says when it cannot hold a column.
    """
    if kind == "pyarrow":
        return frame
    if kind == "polars":
        import polars as pl

        for name, dtype in frame.schema.items():
            if dtype == pl.Object:  # Arrow would get the addresses of the objects
                raise SerializationError(
                    f"the column '{name}' holds Python objects, which Arrow and Parquet cannot hold",
                    hint=f"Give the column '{name}' another dtype, such as pl.Struct, pl.List or pl.String.",
                )
        return frame.to_arrow()
    import pyarrow as pa

    names = Counter(map(str, frame.columns))
    for name, count in names.most_common(1):
        if count > 1:
            raise SerializationError(
                f"two columns would have the name '{name}'", hint="Give each column a name of its own, as text."
            )
    table = pa.Table.from_pandas(frame, preserve_index=index)
    for number, name in enumerate(frame.columns):
        _check_objects(f"column '{name}'", frame.iloc[:, number], table.column(number).to_pandas)
    for level in range(frame.index.nlevels):
        _check_objects("index", frame.index.get_level_values(level), partial(_index_of, frame, level))
    return table


def check_rows(frame: Any, table: Any) -> None:
    """Refuse a frame whose rows Parquet would lose, for it counts them in columns.

    Args:
        frame: A data frame.
        table: The Arrow table of it.

    Raises:
        SerializationError: It has no columns; pickle may keep the rows.
        UsageError: And it is a table of pyarrow, of which pickle keeps none either.
    """
    if not len(frame) or table.num_columns:
        return
    message = f"Parquet cannot hold the {len(frame)} rows of a table without columns"
    if frame is table:
        raise UsageError(f"{message}, nor can pickle", hint="Add a column.")
    raise SerializationError(message, hint="Add a column, or use another serializer, such as pickle.")


def _index_of(frame: Any, level: int) -> Any:
    import pyarrow as pa

    return pa.Table.from_pandas(frame.iloc[:, :0], preserve_index=True).to_pandas().index.get_level_values(level)


def _check_objects(what: str, cells: Any, becomes: Callable[[], Any]) -> None:
    """Compare cells that are Python objects with what Arrow makes of them."""
    import pandas as pd  # type: ignore[import-untyped,unused-ignore]

    if cells.dtype != object or pd.api.types.infer_dtype(cells, skipna=True) in _EXACT:
        return
    for row, (cell, found) in enumerate(zip(cells, becomes(), strict=True)):
        if not (_is_null(cell) and _is_null(found)) and not _same(cell, found):
            raise SerializationError(
                f"Parquet would change the {what}: in row {row} {_shown(cell)} would become {_shown(found)}",
                hint="Give its cells one type, and mappings the same keys; or use another serializer, such as pickle.",
            )


def _same(cell: Any, found: Any) -> bool:
    """Whether a cell, or what it holds, is as it was; numbers of another type but the same value are."""
    if isinstance(cell, dict):
        return (
            isinstance(found, dict)
            and cell.keys() == found.keys()
            and all(_same(value, found[key]) for key, value in cell.items())
        )
    if hasattr(found, "tolist") and getattr(found, "ndim", 0) == 1:
        return _same_items(cell, found)
    if cell is None or _is_null(cell):
        return (cell is None) == (found is None) and _is_null(found)
    if _is_truth(cell) != _is_truth(found):
        return False
    try:
        return bool(cell == found)
    except (TypeError, ValueError):
        return False


def _same_items(cell: Any, found: Any) -> bool:
    array = hasattr(cell, "tolist")
    if not (isinstance(cell, (list, tuple)) or array) or len(cell) != len(found):
        return False
    # numbers at once, for there may be thousands; of others, == may say something else
    if found.dtype.kind in "biuf" and (cell.tolist() if array else list(cell)) == found.tolist():
        return True
    return all(_same(item, other) for item, other in zip(cell, found, strict=True))


def _is_null(value: Any) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _is_truth(value: Any) -> bool:
    return type(value).__name__ in ("bool", "bool_")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
