"""Tables give back what was put into them, or refuse it."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from typing import Any

import pytest

from windlass.artifacts.artifact import Artifact
from windlass.artifacts.engine import ArtifactEngine
from windlass.artifacts.table import Table
from windlass.errors import SerializationError, UsageError

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
pl = pytest.importorskip("polars")


def there_and_back(engine: ArtifactEngine, obj: Any) -> Any:
    artifact = Artifact("tables", "t")
    artifact.add(obj, "t")
    return engine.log(artifact).get("t")


NANO = pd.Timestamp("2026-01-02T03:04:05.123456789")


@pytest.mark.parametrize(
    "cell",
    [
        pd.NaT,
        pd.NA,
        NANO,
        NANO.tz_localize("Europe/Berlin"),
        pd.Timestamp("2026-01-02"),
        np.datetime64("2026-01-02T03:04:05.123456789"),
        np.datetime64("2026-01-02T03:04:05.123456"),
        np.datetime64("2026-01"),
        np.datetime64("NaT", "ns"),
        np.datetime64("NaT"),
        np.timedelta64(5, "ns"),
        np.timedelta64(2**62, "D"),
        np.timedelta64("NaT", "s"),
        np.array(["2026-01-02T03:04:05.123456789"], dtype="M8[ns]"),
        {"when": [NANO, pd.NaT]},
    ],
    ids=repr,
)
def test_times(engine: ArtifactEngine, cell: Any) -> None:
    table = Table(columns=["t"], data=[[cell]])
    found = there_and_back(engine, table)
    assert found == table
    back = found.data[0][0]
    assert repr(back) == repr(cell) or back == cell
    if hasattr(cell, "dtype"):
        assert back.dtype == cell.dtype


def test_what_is_no_cell(engine: ArtifactEngine) -> None:
    for cell in (np.longdouble(1), pd.Timestamp("2026-01-01").as_unit("s") + pd.Timedelta(10**12, "s").as_unit("s")):
        with pytest.raises(UsageError, match="a cell cannot be"):
            there_and_back(engine, Table(columns=["t"], data=[[cell]]))


@pytest.mark.parametrize(
    "cell", [{1: "a", "1": "b"}, {None: 1, True: 2, 0.5: [{b"k": {}}]}, {dt.date(2026, 1, 2): NANO}]
)
def test_mappings_keep_their_keys(engine: ArtifactEngine, cell: Any) -> None:
    (row,) = there_and_back(engine, Table(columns=["c"], data=[[cell]])).data
    assert row == [cell]


@pytest.mark.parametrize("cell", [{(1, 2): "a"}, np.ma.array([1, 2], mask=[0, 1])], ids=["tuple", "mask"])
def test_what_would_not_be_the_same_is_no_cell(engine: ArtifactEngine, cell: Any) -> None:
    with pytest.raises(UsageError, match="a cell cannot be a ma"):
        there_and_back(engine, Table(columns=["c"], data=[[cell]]))


def test_numbers_and_names_that_parquet_does_not_have(engine: ArtifactEngine) -> None:
    assert there_and_back(engine, Table(dataframe=pd.DataFrame({"a": [2**70, 1]}))).data == [[2**70], [1]]
    twice = pd.DataFrame([[1, 2]], columns=[0, "0"])
    assert [list(row) for row in there_and_back(engine, Table(dataframe=twice)).data] == [[1, 2]]
    assert there_and_back(engine, twice).equals(twice)


def test_an_index_of_objects_is_compared(engine: ArtifactEngine) -> None:
    mixed = pd.DataFrame({"a": [1, 2]}, index=pd.Index([dt.date(2026, 1, 1), dt.datetime(2026, 1, 2, 3)], dtype=object))
    assert list(there_and_back(engine, mixed).index) == list(mixed.index)
    with pytest.raises(SerializationError, match="the index: in row 1"):
        Artifact("tables", "t").add(mixed, "t", serializer="parquet")
    words = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], dtype=object))
    assert there_and_back(engine, words).equals(words)


def test_arrays_of_times(engine: ArtifactEngine) -> None:
    times = np.array([["2026-01-02T03:04:05.123456789", "NaT"]], dtype="M8[ns]")
    table = Table(columns=["a", "b"], data=times)
    table.add_column("c", times[0, :1])
    assert [str(cell) for cell in there_and_back(engine, table).data[0]] == [
        "2026-01-02T03:04:05.123456789",
        "NaT",
        "2026-01-02T03:04:05.123456789",
    ]


def test_a_frame_of_mixed_cells_and_times(engine: ArtifactEngine) -> None:
    frame = pd.DataFrame({"id": [1, "x", None], "when": [NANO, pd.NaT, pd.Timestamp("2026-01-01")]})
    found = there_and_back(engine, Table(dataframe=frame)).data
    assert [row[0] for row in found] == [1, "x", None]
    assert (found[0][1], found[2][1]) == (NANO, dt.datetime(2026, 1, 1))
    assert found[1][1] is pd.NaT


@pytest.mark.parametrize(
    "cells",
    [[{"x": 1}, {"y": 2}], [[1, None], [2]], [[{"x": 1}], [{"y": None}]], ["a", b"b"], [2**60 + 1, None]],
    ids=repr,
)
def test_cells_that_parquet_would_change(engine: ArtifactEngine, cells: list[Any]) -> None:
    frame = pd.DataFrame({"a": pd.Series(cells, dtype=object)})
    table = there_and_back(engine, Table(dataframe=frame))
    assert [row[0] for row in table.data] == cells
    assert list(there_and_back(engine, frame)["a"]) == cells
    assert engine.get("tables").get_entry("t.pkl")
    with pytest.raises(SerializationError, match="the column 'a': in row"):
        Artifact("tables", "t").add(frame, "t", serializer="parquet")


def test_python_objects_in_polars_frames(engine: ArtifactEngine) -> None:
    frame = pl.DataFrame({"n": [1, 2], "bad": pl.Series([{1}, {2}], dtype=pl.Object)})
    artifact = Artifact("tables", "t")
    with pytest.raises(SerializationError, match="the column 'bad' holds Python objects") as caught:
        artifact.add(frame, "t")
    assert "pl.Struct" in caught.value.hint
    with pytest.raises(UsageError, match="the column 'bad' holds Python objects"):
        artifact.add(Table(dataframe=frame), "t")
    assert not len(artifact)
    assert there_and_back(engine, Table(columns=frame.columns, data=frame.rows())).data == [[1, [1]], [2, [2]]]


@pytest.mark.parametrize("pyarrow", [True, False])
def test_nanoseconds_of_polars(engine: ArtifactEngine, monkeypatch: pytest.MonkeyPatch, pyarrow: bool) -> None:
    frame = pl.DataFrame({"t": pl.Series([5], dtype=pl.Datetime("ns"))})
    if pyarrow:
        assert there_and_back(engine, Table(dataframe=frame)).get_dataframe().equals(frame)
        return
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="nanoseconds of the column 't'"):
        Artifact("tables", "t").add(Table(dataframe=frame), "t")


def test_an_index_is_never_lost(engine: ArtifactEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"a": [1, "x", 3, "y"]})
    for lost in (
        frame[2:],
        frame[::-1],
        frame.rename_axis("i"),
        frame.set_index(pd.Index([0.0, 1.0, 2.0, 3.0])),
        frame.set_index(pd.MultiIndex.from_product([[0, 1], [0, 1]])),
    ):
        with pytest.raises(UsageError, match="an index that rows of JSON would lose"):
            Artifact("tables", "t").add(Table(dataframe=lost), "t")
    for kept in (frame, frame[:2], frame.set_index(pd.Index([0, 1, 2, 3])), frame[2:].reset_index(drop=True)):
        assert there_and_back(engine, Table(dataframe=kept)).get_dataframe().equals(kept)
    numbers = pd.DataFrame({"a": [1, 2, 3]})[1:]
    assert there_and_back(engine, Table(dataframe=numbers)).get_dataframe().equals(numbers)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="pyarrow is not installed") as caught:
        Artifact("tables", "t").add(Table(dataframe=numbers), "t")
    assert "pip install pyarrow" in caught.value.hint


def test_sets_are_written_in_one_order() -> None:
    """Each process has an order of its own for texts."""
    code = """
from windlass.artifacts.artifact import Artifact
from windlass.artifacts.table import Table
artifact = Artifact("tables", "t")
cell = {"a", "b", "c", "d", "e", 1, 10, 9, None, (1, "x"), frozenset({"y", "z"})}
artifact.add(Table(columns=["t"], data=[[cell], [{2, 10, 1}]]), "t")
with open(artifact.draft.items["t.table.json"].file) as file:
    print(file.read())
"""
    written = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for seed in range(3)
    }
    assert len(written) == 1
    assert "[1,2,10]" in written.pop()


@pytest.mark.parametrize("rows", [0, 3])
def test_rows_of_frames_without_columns(engine: ArtifactEngine, rows: int) -> None:
    frame = pd.DataFrame(index=range(rows))
    assert len(there_and_back(engine, frame)) == rows  # by pickle, where there are rows
    found = there_and_back(engine, Table(dataframe=frame))
    assert (len(found), len(found.get_dataframe()), found.columns) == (rows, rows, [])


def test_rows_of_arrow_tables_without_columns(engine: ArtifactEngine) -> None:
    table = pytest.importorskip("pyarrow").table({"a": [1, 2]}).select([])
    assert len(Table(dataframe=table)) == 2
    for obj in (table, Table(dataframe=table)):
        with pytest.raises(UsageError, match="the 2 rows of a table without columns, nor can pickle"):
            there_and_back(engine, obj)


@pytest.mark.parametrize("data", [{"a": [1]}, "ab", 5, [{"a": 1}], ["a"], [1], [{1}], np.arange(3)])
def test_what_is_no_row(data: Any) -> None:
    """Keys of a mapping and letters of a text would be taken for cells."""
    with pytest.raises(UsageError, match=r"are rows, not a|is a list of cells, not a") as caught:
        Table(columns=["a"], data=data)
    assert "dataframe" in caught.value.hint


def test_rows_that_come_one_by_one() -> None:
    assert Table(columns=["a", "b"], data=zip([1, 2], "xy", strict=True)).data == [[1, "x"], [2, "y"]]
    assert Table(data=(row for row in [[1]])).columns == [0]


def test_what_is_no_cell_is_named_with_its_place(engine: ArtifactEngine) -> None:
    around: list[Any] = []
    around.append(around)
    for cell, message in ((1j, "cannot be a complex"), (around, "holds itself")):
        table = Table(columns=["a", "b"], data=[[1, 2], [3, [cell]]])
        with pytest.raises(UsageError, match=message) as caught:
            there_and_back(engine, table)
        assert caught.value.where == "row 1, column 'b'"
