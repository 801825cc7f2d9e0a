"""The serializer `joblib`."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from windlass.errors import ConfigError, SerializationError
from windlass.plugins import App


def dumped(value: Any, parameters: dict[str, Any] | None = None) -> bytes:
    file = io.BytesIO()
    App().create_serializer("joblib", parameters).dump(value, file)
    return file.getvalue()


def loaded(data: bytes) -> Any:
    return App().create_serializer("joblib").load(io.BytesIO(data))


COMPRESSIONS = [0, False, 3, True, "zlib", "gzip", "bz2", "lzma", "xz", ["gzip", 4]]


@pytest.mark.parametrize("compress", COMPRESSIONS, ids=str)
def test_every_compression_is_read_by_joblib_too(compress: Any) -> None:
    value = {"weights": np.arange(100_000), "add": lambda x, y: x + y}
    data = dumped(value, {"compress": compress, "protocol": 4})
    assert data == dumped(value, {"compress": compress, "protocol": 4})
    for result in (loaded(data), joblib.load(io.BytesIO(data))):
        np.testing.assert_array_equal(result["weights"], value["weights"])
        assert result["add"](1, 2) == 3
    if compress:
        assert len(data) < 400_000


def test_without_functions_the_bytes_are_those_of_joblib() -> None:
    value = {"weights": np.arange(1000.0).reshape(10, 100), "name": "x"}
    expected = io.BytesIO()
    joblib.dump(value, expected, protocol=5)
    assert dumped(value) == expected.getvalue()


def test_functions_classes_and_modules() -> None:
    class Model:
        def __init__(self, rate: float) -> None:
            self.rate = rate
            self.call = lambda x: x * rate

    result = loaded(dumped([Model(2.0), Model(3.0), pickle, sys.getsizeof]))
    assert [model.call(10) for model in result[:2]] == [20.0, 30.0]
    assert type(result[0]) is type(result[1])
    assert result[2:] == [pickle, sys.getsizeof]


def test_arrays_of_objects_may_hold_functions() -> None:
    value = np.empty(2, dtype=object)
    value[:] = [lambda: 1, "text"]
    result = loaded(dumped(value))
    assert (result[0](), result[1]) == (1, "text")


def test_nothing_global_is_patched_and_a_fresh_process_reads_it(tmp_path: Path) -> None:
    before = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]
    path = tmp_path / "f.joblib"
    path.write_bytes(dumped(lambda x: x + 1))
    assert dict(pickle._Pickler.dispatch) == before  # type: ignore[attr-defined]
    code = f"import joblib, sys; assert 'dill' not in sys.modules; assert joblib.load({str(path)!r})(1) == 2"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_real_file_can_be_mapped(tmp_path: Path) -> None:
    path = tmp_path / "a.joblib"
    path.write_bytes(dumped(np.arange(1000)))
    with path.open("rb") as file:
        result = App().create_serializer("joblib", {"mmap_mode": "c"}).load(file)
    assert isinstance(result, np.memmap)
    result[0] = 7
    assert loaded(path.read_bytes())[0] == 0


def test_writing_makes_no_second_copy(tmp_path: Path) -> None:
    value = np.zeros(128 << 20, dtype=np.uint8)
    serializer = App().create_serializer("joblib")
    with (tmp_path / "big.joblib").open("wb") as file:
        tracemalloc.start()
        serializer.dump(value, file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 0.35 * value.nbytes  # slices of 16 MiB


@pytest.mark.parametrize("compress", [0, 3, "gzip", "xz"])
def test_bad_bytes(compress: Any) -> None:
    data = dumped({"a": np.arange(10_000), "b": "x"}, {"compress": compress})
    for bad in (b"", b"garbage", data[: len(data) // 2], data[:-20]):
        with pytest.raises(SerializationError, match="not readable as joblib"):
            loaded(bad)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(SerializationError, match=r"cannot write a builtins\.generator"):
        dumped(x for x in range(3))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"compres": 3}, "did you mean 'compress'"),
        ({"compress": 10}, "from 0 to 9"),
        ({"compress": "zip"}, "compress knows"),
        ({"compress": ["zlib", 3, 4]}, "takes \\[method, level\\]"),
        ({"protocol": 9}, "at most 5"),
        ({"mmap_mode": "r+"}, "one of"),
    ],
)
def test_wrong_parameters(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        App().create_serializer("joblib", parameters)


def test_versions() -> None:
    versions = App().create_serializer("joblib", {"protocol": 4}).versions()
    assert (versions["protocol"], versions["joblib"]) == ("4", joblib.__version__)
