"""The serializer `numpy`."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windlass.errors import ConfigError, SerializationError
from windlass.plugins import App


def dumped(value: Any, parameters: dict[str, Any] | None = None) -> bytes:
    file = io.BytesIO()
    App().create_serializer("numpy", parameters).dump(value, file)
    return file.getvalue()


def loaded(data: bytes) -> Any:
    return App().create_serializer("numpy").load(io.BytesIO(data))


ARRAYS = {
    "plain": np.arange(12.0).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12).reshape(3, 4)),
    "strided": np.arange(100)[::7],
    "big endian": np.arange(5, dtype=">i4"),
    "scalar": np.array(5),
    "empty": np.empty((0, 3)),
    "text": np.array(["a", "bcd"]),
    "time": np.array(["2026-01-01"], dtype="datetime64[D]"),
    "structured": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_arrays(array: np.ndarray[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(dumped(array))
    with path.open("rb") as file:
        mapped = App().create_serializer("numpy", {"mmap_mode": "c"}).load(file)
    for result in (loaded(path.read_bytes()), mapped, np.load(path)):
        assert type(result) is np.ndarray
        assert result.dtype == array.dtype
        np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize("compressed", [False, True])
def test_dicts_of_arrays(compressed: bool) -> None:
    value = {**ARRAYS, "file": np.zeros(3), "a/b": np.ones(2)}
    data = dumped(value, {"compressed": compressed})
    assert data == dumped(value, {"compressed": compressed})
    for result in (loaded(data), np.load(io.BytesIO(data))):
        assert list(result) == list(value)
        for name, array in value.items():
            np.testing.assert_array_equal(result[name], array)
    assert loaded(dumped({})) == {}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], r"cannot write a builtins\.list"),
        (np.float64(1), r"cannot write a numpy\.float64"),
        (np.ma.masked_array([1]), "MaskedArray"),
        (np.array([object()]), "array of Python objects"),
        (np.array([(1, "x")], dtype=[("a", "i4"), ("b", "O")]), "array of Python objects"),
        ({"a": np.array([None])}, "array of Python objects"),
        ({1: np.zeros(1)}, "cannot be the name"),
        ({"a\0b": np.zeros(1)}, "cannot be the name"),
    ],
)
def test_what_does_not_fit_is_named(value: Any, message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        dumped(value)


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("/nonexistent-windlass/never",)


def test_pickled_objects_are_never_read(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.array([Bomb()]), allow_pickle=True)
    archive = io.BytesIO()
    np.savez(archive, a=np.array([Bomb()]))
    path = tmp_path / "a.npy"
    path.write_bytes(file.getvalue())
    for data in (file.getvalue(), archive.getvalue()):
        with pytest.raises(SerializationError):
            loaded(data)
    with path.open("rb") as real, pytest.raises(SerializationError):
        App().create_serializer("numpy", {"mmap_mode": "r"}).load(real)


def test_bad_bytes(tmp_path: Path) -> None:
    data = dumped(np.arange(1000))
    archive = dumped({"a": np.arange(1000)})
    flipped = bytearray(archive)
    flipped[500] ^= 1
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("readme.txt", "x")
    path = tmp_path / "a.npy"
    bad = [b"", b"garbage", data[:20], data[:-1], data + b"x", archive[:-30], bytes(flipped), other.getvalue()]
    for number, content in enumerate(bad):
        with pytest.raises(SerializationError):
            loaded(content)
        path.write_bytes(content)
        with path.open("rb") as real, pytest.raises(SerializationError):
            App().create_serializer("numpy", {"mmap_mode": "c"}).load(real)
            pytest.fail(f"number {number} was read")


def test_no_second_copy(tmp_path: Path) -> None:
    value = np.zeros(128 << 20, dtype=np.uint8)
    serializer = App().create_serializer("numpy")
    with (tmp_path / "big.npy").open("w+b") as file:
        tracemalloc.start()
        serializer.dump(value, file)
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        file.seek(0)
        result = serializer.load(file)
        read = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert written < 0.2 * value.nbytes  # slices of 16 MiB where the file is not a plain writer
    assert read < 1.1 * value.nbytes
    assert result.nbytes == value.nbytes


def test_the_plugin_imports_numpy_late() -> None:
    code = (
        "import sys, windlass_serializer_numpy.plugin as plugin\n"
        "list(plugin.windlass_serializers())\n"
        "assert 'numpy' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_a_typo_in_the_parameters() -> None:
    with pytest.raises(ConfigError, match="did you mean 'compressed'"):
        App().create_serializer("numpy", {"compresed": True})
