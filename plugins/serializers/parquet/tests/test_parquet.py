"""The serializer `parquet`."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from windlass.errors import ConfigError, SerializationError, UnsupportedError, UsageError
from windlass.plugins import App


def dumped(value: Any, parameters: dict[str, Any] | None = None) -> bytes:
    file = io.BytesIO()
    App().create_serializer("parquet", parameters).dump(value, file)
    return file.getvalue()


def loaded(data: bytes, parameters: dict[str, Any] | None = None) -> Any:
    return App().create_serializer("parquet", parameters).load(io.BytesIO(data))


def test_pyarrow(tmp_path: Path) -> None:
    table = pa.table({"a": [1, None], "l": [[1], []]}).replace_schema_metadata({"k": "v"})
    assert loaded(dumped(table)).equals(table, check_metadata=True)
    path = tmp_path / "t.parquet"
    path.write_bytes(dumped(table))
    with path.open("rb") as file:
        assert App().create_serializer("parquet").load(file).equals(table, check_metadata=True)
    assert loaded(dumped(pa.table({}))).equals(pa.table({}))


def test_pandas() -> None:
    frame = pd.DataFrame(
        {"a": [1, 2], "t": ["x", None], "c": pd.Categorical(["u", "v"])}, index=pd.Index([10, 20], name="i")
    )
    pd.testing.assert_frame_equal(loaded(dumped(frame)), frame)
    pd.testing.assert_frame_equal(loaded(dumped(frame, {"index": False})), frame.reset_index(drop=True))
    numbers = pd.DataFrame({0: [1], 1: [2]})
    pd.testing.assert_frame_equal(loaded(dumped(numbers)), numbers)


def test_polars() -> None:
    frame = pl.DataFrame(
        {
            "a": [1, None],
            "c": pl.Series(["x", "y"], dtype=pl.Categorical),
            "e": pl.Series(["x", "y"], dtype=pl.Enum(["x", "y"])),
            "d": [decimal.Decimal("1.20"), None],
            "t": [dt.timedelta(1), None],
            "s": [{"a": 1}, {"a": None}],
            "n": [None, None],
        }
    )
    result = loaded(dumped(frame))
    assert result.schema == frame.schema
    assert result.equals(frame)


def test_read_as_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dumped(pl.DataFrame({"a": [1]}))
    assert isinstance(loaded(data, {"read_as": "pandas"}), pd.DataFrame)
    assert loaded(data, {"read_as": "pyarrow"}).to_pydict() == {"a": [1]}
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(UnsupportedError, match="not installed"):
        loaded(data)


def test_files_of_others_are_pyarrow_tables() -> None:
    file = io.BytesIO()
    parquet.write_table(pa.table({"a": [1]}), file)
    assert loaded(file.getvalue()).to_pydict() == {"a": [1]}


@pytest.mark.parametrize("codec", ["zstd", "snappy", "gzip", "brotli", "lz4", "none"])
def test_codecs(codec: str) -> None:
    table = pa.table({"a": list(range(1000))})
    data = dumped(table, {"compression": codec, "row_group_size": 100})
    meta = parquet.ParquetFile(io.BytesIO(data)).metadata
    assert meta.num_row_groups == 10
    assert meta.row_group(0).column(0).compression == {"none": "UNCOMPRESSED"}.get(codec, codec.upper())
    assert loaded(data).equals(table)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1], r"cannot write a builtins\.list"),
        (pd.Series([1]), "Series"),
        (pd.DataFrame({"a": [1, "x"]}, dtype=object), "DataFrame"),
        (pd.DataFrame({"a": [1], 5: [2]}), "several types"),
    ],
)
def test_what_does_not_fit_is_named(value: Any, message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        dumped(value)


@pytest.mark.parametrize("frame", [pd.DataFrame(index=range(3)), pa.table({"a": [1, 2, 3]}).select([])])
def test_rows_without_columns_are_refused(frame: Any) -> None:
    with pytest.raises((SerializationError, UsageError), match="3 rows of a table without columns"):
        dumped(frame)
    index = pd.DataFrame(index=["a", "b"])
    pd.testing.assert_frame_equal(loaded(dumped(index)), index, check_column_type=False)


def test_bad_bytes() -> None:
    data = dumped(pa.table({"a": list(range(10_000))}), {"compression": "none"})
    flipped = bytearray(data)
    flipped[len(data) // 3] ^= 1
    for bad in (b"", b"garbage", data[:-1], data[: len(data) // 2], bytes(flipped)):
        with pytest.raises(SerializationError):
            loaded(bad)


def test_wrong_parameters() -> None:
    with pytest.raises(ConfigError, match="did you mean 'compression'"):
        App().create_serializer("parquet", {"compresion": "zstd"})
    with pytest.raises(ConfigError, match="one of zstd"):
        App().create_serializer("parquet", {"compression": "zip"})


@pytest.mark.parametrize(
    "cells",
    [
        [{"x": 1}, {"y": 2}],
        [{"x": 1}, {}],
        [{"x": [1, None]}],
        [[1, None], [2]],
        [[{"x": 1}, {"y": 1}]],
        [{1, 2}],
        ["text", b"bytes"],
        [dt.date(2026, 1, 1), dt.datetime(2026, 1, 1, 5)],
        [2**60 + 1, None],
        [pd.Timestamp(5), None],
        [{"x": pd.Timestamp(5)}],
        [dt.timedelta(1), pd.Timedelta(5, "ns")],
        [dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 1)],
    ],
    ids=repr,
)
def test_columns_that_would_come_back_changed(cells: list[Any]) -> None:
    frame = pd.DataFrame({"good": [1] * len(cells), "bad": pd.Series(cells, dtype=object)})
    with pytest.raises(SerializationError, match="the column 'bad': in row") as caught:
        dumped(frame)
    assert "another serializer" in caught.value.hint


@pytest.mark.parametrize(
    "cells",
    [
        [{"x": 1, "y": "a"}, {"x": 2, "y": None}, None],
        [[1, 2], [], None],
        [["a", None], ["b"]],
        [[1, 0.5], [2]],
        [[True, None]],
        [(1, 2), [3]],
        [[[1], [2, 3]], [[4]]],
        [[{"x": 1}], [{"x": 2}]],
        [[dt.datetime(2026, 1, 1)], [pd.Timestamp(5000)]],
        [np.arange(3), np.arange(2)],
        [1, 2.5],
        [1, None],
        [True, None],
        ["a", None],
        [decimal.Decimal("1.2"), decimal.Decimal("1.25")],
        [dt.date(2026, 1, 1), None],
        [dt.datetime(2026, 1, 1), pd.NaT],
        [dt.time(1), None],
        [None, float("nan")],
    ],
    ids=repr,
)
def test_columns_of_python_objects(cells: list[Any]) -> None:
    found = list(loaded(dumped(pd.DataFrame({"a": pd.Series(cells, dtype=object)})))["a"])
    for cell, back in zip(cells, found, strict=True):
        if isinstance(back, np.ndarray):
            assert plain(back) == plain(cell)
        elif cell is None or cell != cell:
            assert back is None or back != back
        else:
            assert back == cell


def plain(value: Any) -> Any:
    return [plain(item) for item in value] if isinstance(value, (list, tuple, np.ndarray)) else value


def test_python_objects_of_polars() -> None:
    frame = pl.DataFrame({"a": [1], "b": pl.Series([{1}], dtype=pl.Object)})
    with pytest.raises(SerializationError, match="the column 'b' holds Python objects"):
        dumped(frame)
