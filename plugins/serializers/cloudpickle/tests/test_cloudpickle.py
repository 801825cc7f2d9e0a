"""The serializer `cloudpickle`."""

from __future__ import annotations

import io
import pickle
import threading
from typing import Any

import cloudpickle
import pytest

from windlass.errors import ConfigError, SerializationError
from windlass.plugins import App


def dumped(value: Any, parameters: dict[str, Any] | None = None) -> bytes:
    file = io.BytesIO()
    App().create_serializer("cloudpickle", parameters).dump(value, file)
    return file.getvalue()


def loaded(data: bytes) -> Any:
    return App().create_serializer("cloudpickle").load(io.BytesIO(data))


def test_functions_and_local_classes_survive() -> None:
    base = 40

    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    assert loaded(dumped(lambda x: x + base))(2) == 42
    assert loaded(dumped(Point(3))).x == 3


def test_the_file_is_a_plain_pickle_stream() -> None:
    data = dumped({"a": 1}, {"protocol": 4})
    assert data[:2] == b"\x80\x04"
    assert pickle.loads(data) == {"a": 1}


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(SerializationError, match=r"cannot write a _thread\.lock"):
        dumped(threading.Lock())


def test_bad_bytes() -> None:
    data = dumped({"a": list(range(1000))})
    for bad in (b"", b"garbage", data[:-1], data[: len(data) // 2]):
        with pytest.raises(SerializationError, match="not readable as cloudpickle"):
            loaded(bad)


def test_a_missing_module_is_named() -> None:
    with pytest.raises(SerializationError, match="nowhere") as caught:
        loaded(b"cnowhere\nnothing\n.")
    assert "Install the module 'nowhere'" in caught.value.hint


def test_a_typo_in_the_parameters() -> None:
    with pytest.raises(ConfigError, match="did you mean 'protocol'"):
        App().create_serializer("cloudpickle", {"protocoll": 4})


def test_versions() -> None:
    assert App().create_serializer("cloudpickle").versions()["cloudpickle"] == cloudpickle.__version__
