"""Tables: rows and columns, from and to data frames, stored as JSON or (for data frames) as Parquet."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from windlass.artifacts.cells import cell_from_json, cell_to_json
from windlass.artifacts.media import Media, MediaReader, MediaWriter
from windlass.errors import SerializationError, UsageError
from windlass.frames import arrow_of, check_rows

__all__ = ["Table"]

_NO_ROW = (str, bytes, Mapping, AbstractSet)


class Table(Media):
    """Rows and columns. Cells may be JSON values, dates, bytes, NumPy values, or other media.

    Cells read back as they were, but tuples as lists, sets as sorted lists, and pandas times as Python's where those
    are as exact. Nulls keep their kind: ``None``, ``nan``, and those of pandas, ``NaT`` and ``NA``.

    Args:
        columns: Names. Default ``["Input", "Output", "Expected"]`` when nothing else is given.
        data: Rows.
        rows: The same as `data`.
        dataframe: A pandas or polars data frame or a pyarrow table; it is stored as Parquet where pyarrow is installed
            and no cell would change, else as rows of JSON; and read back as the same kind by `get_dataframe`. Parquet
            gives lists in pandas frames back as arrays.

    Raises:
        UsageError: A row has another number of cells than there are columns. When it is added to an artifact: a cell
            of a type that no table holds, or a data frame of which Parquet would change cells and rows of JSON would
            lose the index.
    """

    media_name = "table"

    def __init__(
        self,
        columns: Sequence[Any] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
    ) -> None:
        data = rows if data is None else data
        if dataframe is None and _frame_kind(data):
            dataframe, data = data, None
        self._frame: Any = None
        self._kind = ""
        self._rows: list[list[Any]] | None = []
        if dataframe is not None:
            self._kind = _frame_kind(dataframe)
            if not self._kind:
                raise UsageError(f"a {type(dataframe).__name__} is no data frame")
            self._frame, self._rows = dataframe, None
            self.columns: list[str | int] = [str(name) for name in _column_names(dataframe)]
            return
        data = None if data is None else _checked_rows(_items(data))
        width = len(data[0]) if data else 0
        if columns is None:
            columns = ["Input", "Output", "Expected"] if data is None else list(range(width))
        self.columns = [name if isinstance(name, (str, int)) else str(name) for name in columns]
        for row in data or ():
            self.add_data(*row)

    @property
    def data(self) -> list[list[Any]]:
        """The rows."""
        if self._rows is None:
            self._rows = [list(row) for row in _frame_rows(self._frame, self._kind)]
        return self._rows

    def __len__(self) -> int:
        return len(self.data)

    def add_data(self, *data: Any) -> None:
        """Add a row. Raises `UsageError` unless it has one cell per column."""
        if len(data) != len(self.columns):
            raise UsageError(
                f"a row of {len(data)} cells does not fit {len(self.columns)} columns: {self.columns}",
                where=f"row {len(self.data)}",
            )
        self.data.append(list(data))
        self._frame = None

    add_row = add_data

    def add_column(self, name: str, data: Sequence[Any]) -> None:
        """Add a column. Raises `UsageError` unless it has one cell per row, and a new name."""
        values = list(_items(data))
        if name in self.columns:
            raise UsageError(f"the table has a column '{name}' already")
        rows = self.data
        if self.columns and rows and len(values) != len(rows):
            raise UsageError(f"a column of {len(values)} cells does not fit {len(rows)} rows")
        if not rows:
            rows.extend([] for _ in values)
        self.columns.append(name)
        for row, value in zip(rows, values, strict=True):
            row.append(value)
        self._frame = None

    def get_column(self, name: str, convert_to: str | None = None) -> Any:
        """Cells of a column as a list, or with ``convert_to="numpy"`` as an array."""
        if name not in self.columns:
            raise UsageError(f"the table has no column '{name}'", hint=f"There is: {self.columns}.")
        index = self.columns.index(name)
        values = [row[index] for row in self.data]
        if convert_to is None:
            return values
        if convert_to != "numpy":
            raise UsageError(f"'{convert_to}' is not known", hint="Use 'numpy'.")
        import numpy as np

        return np.asarray(values)

    def iterrows(self) -> Iterator[tuple[int, list[Any]]]:
        """Number and cells of each row."""
        return iter(enumerate(self.data))

    def get_dataframe(self, kind: str = "") -> Any:
        """The table as a data frame.

        Args:
            kind: ``pandas``, ``polars`` or ``pyarrow``; by default what it was made from, else pandas.
        """
        kind = kind or self._kind or "pandas"
        if self._frame is not None and kind == self._kind:
            return self._frame
        names = [str(name) for name in self.columns]
        if kind == "pandas":
            import pandas as pd  # type: ignore[import-untyped,unused-ignore]

            if self._frame is not None:
                return self._frame.to_pandas()
            return pd.DataFrame(self.data, columns=names)
        if kind == "polars":
            import polars as pl

            if self._frame is not None:
                return pl.DataFrame(self._frame)
            return pl.DataFrame(self.data, schema=names, orient="row")
        if kind == "pyarrow":
            kind = self._kind if self._frame is not None else "pandas"
            return arrow_of(self.get_dataframe(kind), kind)
        raise UsageError(f"'{kind}' is no kind of data frame", hint="Use pandas, polars or pyarrow.")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table) or self.columns != other.columns or len(self.data) != len(other.data):
            return False
        return all(
            _equal(a, b) for one, two in zip(self.data, other.data, strict=True) for a, b in zip(one, two, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Table {self.columns}>"

    def to_media(self, writer: MediaWriter) -> dict[str, Any]:
        """Store the rows as JSON, data frames as Parquet when pyarrow is there."""
        data = _parquet(self._frame, self._kind) if self._frame is not None else b""
        if data:
            return {"columns": self.columns, "frame": self._kind, "path": writer.file(data, ".parquet")}
        rows: list[list[Any]] = []
        try:
            for row in self.data:
                rows.append([cell_to_json(cell, writer) for cell in row])  # noqa: PERF401 - how far it came is told
        except (UsageError, RecursionError) as error:
            raise self._misfit(len(rows), writer, error) from error
        return {"columns": self.columns, "frame": self._kind, "nrows": len(rows), "data": rows}

    def _misfit(self, number: int, writer: MediaWriter, error: UsageError | RecursionError) -> UsageError:
        """What is wrong with a row, with its place."""
        where = f"row {number}"
        for name, cell in zip(self.columns, self.data[number], strict=True):
            try:
                cell_to_json(cell, writer)
            except (UsageError, RecursionError):
                where += f", column '{name}'"
                break
        if isinstance(error, RecursionError):
            return UsageError("a cell is nested too deeply, or holds itself", where=where, hint="Make it flatter.")
        return UsageError(error.message, where=where, hint=error.hint)

    @classmethod
    def from_media(cls, facts: Mapping[str, Any], reader: MediaReader) -> Table:
        """The table back."""
        kind = str(facts.get("frame") or "")
        if "path" not in facts:
            made = cls(columns=facts["columns"], data=[])
            made._rows = [[cell_from_json(cell, reader) for cell in row] for row in facts["data"]]
            made._kind = kind
            return made
        try:
            import pyarrow.parquet as parquet
        except ImportError:
            raise SerializationError("the table is stored as Parquet", hint="pip install pyarrow") from None
        found = parquet.read_table(reader.path(str(facts["path"])))
        if kind == "pandas":
            found = found.to_pandas()
        elif kind == "polars":
            import polars as pl

            found = pl.from_arrow(found)
        return cls(dataframe=found)


def _frame_kind(value: Any) -> str:
    for base in type(value).__mro__:
        module = base.__module__.partition(".")[0]
        if (module, base.__name__) in (("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table")):
            return module
    return ""


def _column_names(frame: Any) -> Sequence[Any]:
    names: Sequence[Any] = frame.column_names if hasattr(frame, "column_names") else frame.columns
    return names


def _frame_rows(frame: Any, kind: str) -> Iterator[Sequence[Any]]:
    if not len(_column_names(frame)):
        return iter([()] * len(frame))
    if kind == "pandas":
        rows: Iterator[Sequence[Any]] = frame.itertuples(index=False, name=None)
        return rows
    if kind == "polars":
        return iter(frame.iter_rows())
    columns = [column.to_pylist() for column in frame.columns]
    return zip(*columns, strict=True)


def _checked_rows(data: Any) -> list[Any]:
    """Rows as a list. Raises `UsageError` for what has cells in no order, or is a cell itself."""
    hint = "Write data=[[1, 'a'], [2, 'b']]; for mappings make a data frame of them: Table(dataframe=…)."
    if isinstance(data, _NO_ROW) or not isinstance(data, Iterable):
        raise UsageError(f"the data of a table are rows, not a {type(data).__name__}", hint=hint)
    rows = list(data)
    for number, row in enumerate(rows):
        if type(row) not in (list, tuple) and (isinstance(row, _NO_ROW) or not isinstance(row, Iterable)):
            raise UsageError(f"a row is a list of cells, not a {type(row).__name__}", where=f"row {number}", hint=hint)
    return rows


def _items(data: Any) -> Any:
    """Rows or cells as Python objects; times of NumPy stay as they are, for Python's are less exact."""
    if not hasattr(data, "tolist"):
        return data
    if getattr(getattr(data, "dtype", None), "kind", "") in ("M", "m") and hasattr(data, "tobytes"):
        return list(data) if data.ndim < 2 else [list(row) for row in data]
    return data.tolist()


def _parquet(frame: Any, kind: str) -> bytes:
    """A data frame as Parquet; empty when pyarrow is not there, or Parquet cannot hold it and JSON can.

    Raises:
        UsageError: Neither can, for rows of JSON would lose something.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError:
        _check_rows(frame, kind, "pyarrow is not installed", "pip install pyarrow")
        return b""
    buffer = io.BytesIO()
    try:
        table = arrow_of(frame, kind)
        check_rows(frame, table)
        parquet.write_table(table, buffer, compression="zstd")
    except (pa.ArrowException, SerializationError, ValueError, TypeError, OverflowError) as error:
        # cells of several types, or that would come back changed; columns of one name
        reason = str(error.args[0]) if error.args else str(error)
        _check_rows(frame, kind, reason, "Give each column one type and a name of its own")
        return b""
    return buffer.getvalue()


def _check_rows(frame: Any, kind: str, reason: str, hint: str) -> None:
    """Raise `UsageError` when rows of JSON would lose what only Parquet keeps of a frame."""
    if kind == "pandas" and not _is_counted(frame.index):
        raise UsageError(
            f"Parquet cannot hold the data frame ({reason}), and it has an index that rows of JSON would lose",
            hint=f"{hint}; or reset the index.",
        )
    if kind != "polars":
        return
    import polars as pl

    for name, dtype in frame.schema.items():
        if dtype == pl.Object:
            raise UsageError(
                f"the column '{name}' holds Python objects, which no format of a polars frame holds",
                hint=f"Give the column '{name}' another dtype, or make the table of rows: "
                "Table(columns=frame.columns, data=frame.rows()).",
            )
        if isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns":
            raise UsageError(
                f"Parquet cannot hold the data frame ({reason}), and rows of JSON would lose the nanoseconds of the "
                f"column '{name}'",
                hint=f"{hint}; or cast the column '{name}' to pl.Datetime('us').",
            )


def _is_counted(index: Any) -> bool:
    """Whether an index is 0, 1, 2 … without a name, as that of rows is."""
    counted = getattr(index.dtype, "kind", "") == "i" and index.tolist() == list(range(len(index)))
    return counted and index.name is None


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if _is_no_time(one) and _is_no_time(other):
        return type(one) is type(other)
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return True
    same = one == other
    return bool(same.all() if hasattr(same, "all") else same)


def _is_no_time(value: Any) -> bool:
    return getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m") and not value.ndim and str(value) == "NaT"
