from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from windlass.errors import NoSpaceError, SerializationError
from windlass_serializer_pickle.config import PickleSerializerConfig
from windlass_serializer_pickle.serializer import PickleSerializer


def dumped(obj: object, **config: object) -> bytes:
    buffer = io.BytesIO()
    PickleSerializer(PickleSerializerConfig(**config)).dump(obj, buffer)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_files_without_large_buffers_are_plain_pickles(protocol: int) -> None:
    assert pickle.loads(dumped({"a": [1, 2]}, protocol=protocol)) == {"a": [1, 2]}
    assert PickleSerializer(PickleSerializerConfig(protocol=protocol)).versions() == {"protocol": str(protocol)}


def test_what_follows_is_refused() -> None:
    with pytest.raises(SerializationError, match="3 bytes follow"):
        PickleSerializer().load(io.BytesIO(dumped([1]) + b"abc"))


def test_missing_code_is_named() -> None:
    data = pickle.dumps(SerializationError("x")).replace(b"windlass.errors", b"windlass.erroor")
    with pytest.raises(SerializationError, match="needs code that is not here"):
        PickleSerializer().load(io.BytesIO(data))


def test_a_full_disk() -> None:
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(NoSpaceError):
        PickleSerializer().dump(b"x" * 10_000_000, file)


def test_a_wrong_table_is_refused() -> None:
    np = pytest.importorskip("numpy")
    data = dumped(np.zeros(10_000))
    for place in (len(data) - 32, len(data) - 24, len(data) - 48, len(data) - 40):
        broken = bytearray(data)
        broken[place + 7] = 0x7F  # a number far beyond the file
        with pytest.raises(SerializationError):
            PickleSerializer().load(io.BytesIO(bytes(broken)))


def test_arrays_of_all_kinds(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    arrays = [
        np.arange(10_000.0),
        np.asfortranarray(np.arange(10_000.0).reshape(100, 100)),
        np.arange(20_000)[::2],
        np.array(["x" * 100] * 100),
        np.zeros(0),
        np.float32(3),
    ]
    path = tmp_path / "a"
    with path.open("wb") as file:
        PickleSerializer().dump(arrays, file)
    with path.open("rb") as file:
        found = PickleSerializer().load(file)
    for one, other in zip(found, arrays, strict=True):
        assert np.array_equal(one, other)
    found[0][0] = 5  # a private copy; the file stays as it is
    with path.open("rb") as file:
        assert PickleSerializer().load(file)[0][0] == 0


@pytest.mark.slow
def test_no_second_copy_in_memory(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    code = f"""
import resource, numpy
from windlass_serializer_pickle.serializer import PickleSerializer
array = numpy.ones(25_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open({str(tmp_path / "big")!r}, "wb") as file:
    PickleSerializer().dump(array, file)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert int(out) < 20  # of 200 MB
