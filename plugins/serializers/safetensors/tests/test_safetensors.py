"""The serializer `safetensors`, with the format's own library as referee."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load as reference_load
from safetensors.numpy import save as reference_save

from windlass.errors import ConfigError, SerializationError
from windlass.plugins import App


def dumped(value: Any, parameters: dict[str, Any] | None = None) -> bytes:
    file = io.BytesIO()
    App().create_serializer("safetensors", parameters).dump(value, file)
    return file.getvalue()


def loaded(data: bytes) -> Any:
    return App().create_serializer("safetensors").load(io.BytesIO(data))


def with_header(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


ARRAYS: dict[str, Any] = {
    "w": np.arange(12, dtype=np.float32).reshape(3, 4),
    "flags": np.array([True, False, True]),
    "ünïcode": np.arange(3, dtype=np.int64),
    "scalar": np.array(2.5),
    "empty": np.empty((0, 7), dtype=np.int16),
    "half": np.ones(5, dtype=np.float16),
    "complex": np.ones(2, dtype=np.complex64),
}


def test_both_ways_with_the_reference() -> None:
    mine, theirs = dumped(ARRAYS), reference_save(ARRAYS)
    for result in (loaded(mine), loaded(theirs), reference_load(mine)):
        assert set(result) == set(ARRAYS)
        for name, array in ARRAYS.items():
            assert result[name].dtype == array.dtype
            np.testing.assert_array_equal(result[name], array)
    assert len(mine) == len(theirs)
    assert list(loaded(mine)) == list(ARRAYS)
    assert loaded(dumped({})) == {}


def test_small_floats() -> None:
    value = {name: np.arange(4).astype(name) for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")}
    assert value["bfloat16"].dtype == ml_dtypes.bfloat16
    result = loaded(dumped(value))
    for name, array in value.items():
        np.testing.assert_array_equal(result[name].astype("f4"), array.astype("f4"))
        assert result[name].dtype == array.dtype


def test_views_are_written_in_order() -> None:
    value = {
        "strided": np.arange(100, dtype=np.int32)[::7],
        "transposed": np.arange(12.0).reshape(3, 4).T,
        "big endian": np.arange(5, dtype=">f8"),
        "strided bfloat16": np.arange(10).astype("bfloat16")[::3],
    }
    result = loaded(dumped(value))
    for name, array in value.items():
        np.testing.assert_array_equal(result[name].astype("f8"), array.astype("f8"))


def test_metadata_are_written() -> None:
    data = dumped({"a": np.zeros(2)}, {"metadata": {"format": "np"}})
    assert json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"] == {"format": "np"}
    assert list(loaded(data)) == ["a"]


@pytest.mark.parametrize("mapped", [True, False])
def test_a_real_file_is_never_changed(tmp_path: Path, mapped: bool) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(dumped(ARRAYS))
    with path.open("rb") as file:
        result = App().create_serializer("safetensors", {"mmap": mapped}).load(file)
    result["w"][:] = 0
    np.testing.assert_array_equal(loaded(path.read_bytes())["w"], ARRAYS["w"])
    assert not result["w"].any()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([np.zeros(1)], r"cannot write a builtins\.list"),
        ({"a": [1]}, r"cannot write a builtins\.list"),
        ({"a": np.array([object()])}, "of dtype object"),
        ({"a": np.array(["x"])}, "of dtype <U1"),
        ({1: np.zeros(1)}, "cannot be the name"),
        ({"__metadata__": np.zeros(1)}, "cannot be the name"),
    ],
)
def test_what_does_not_fit_is_named(value: Any, message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        dumped(value)


ENTRY = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}
BAD = {
    "empty": b"",
    "garbage": b"garbage garbage garbage",
    "huge header": struct.pack("<Q", 1 << 60) + b"{}",
    "cut header": with_header({"a": ENTRY})[:20],
    "cut data": with_header({"a": ENTRY}, b"x"),
    "more data": with_header({"a": ENTRY}, b"xxx"),
    "unknown type": with_header({"a": {**ENTRY, "dtype": "X9"}}, b"xx"),
    "wrong shape": with_header({"a": {**ENTRY, "shape": [3]}}, b"xx"),
    "negative shape": with_header({"a": {**ENTRY, "shape": [-1, -2]}}, b"xx"),
    "hole": with_header({"a": ENTRY, "b": {**ENTRY, "data_offsets": [3, 5]}}, b"xxxxx"),
    "overlap": with_header({"a": ENTRY, "b": {**ENTRY, "data_offsets": [1, 3]}}, b"xxx"),
    "no offsets": with_header({"a": {"dtype": "U8", "shape": [2]}}, b"xx"),
    "twice": with_header(b'{"a":' + json.dumps(ENTRY).encode() + b',"a":' + json.dumps(ENTRY).encode() + b"}", b"xx"),
    "no object": with_header([1, 2]),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_bad_bytes(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(data)
    with pytest.raises(SerializationError):
        loaded(data)
    with path.open("rb") as file, pytest.raises(SerializationError):
        App().create_serializer("safetensors").load(file)


def test_no_second_copy(tmp_path: Path) -> None:
    value = {"a": np.zeros(128 << 20, dtype=np.uint8)}
    with (tmp_path / "big").open("w+b") as file:
        for mapped, limit in ((True, 0.1), (False, 1.1)):
            serializer = App().create_serializer("safetensors", {"mmap": mapped})
            file.seek(0)
            tracemalloc.start()
            serializer.dump(value, file)
            file.flush()
            written = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            file.seek(0)
            result = serializer.load(file)
            read = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert written < 0.1 * value["a"].nbytes
            assert read < limit * value["a"].nbytes
            assert result["a"].nbytes == value["a"].nbytes


def test_a_typo_in_the_parameters() -> None:
    with pytest.raises(ConfigError, match="did you mean 'metadata'"):
        App().create_serializer("safetensors", {"meta_data": {}})
