"""The serializer `dill`."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from typing import Any

import dill
import pytest

from windlass.errors import ConfigError, SerializationError
from windlass.plugins import App


def trip(value: Any, parameters: dict[str, Any] | None = None) -> Any:
    serializer = App().create_serializer("dill", parameters)
    file = io.BytesIO()
    serializer.dump(value, file)
    file.seek(0)
    return serializer.load(file)


def test_functions_with_state_survive() -> None:
    base = 40

    def numbers() -> Any:
        yield base

    assert trip(lambda x: x + base)(2) == 42
    assert list(trip(numbers)()) == [40]
    assert trip({"protocol": 4}, {"protocol": 4, "byref": True, "recurse": True}) == {"protocol": 4}


def test_the_file_is_a_plain_dill_pickle() -> None:
    file = io.BytesIO()
    App().create_serializer("dill", {"protocol": 2}).dump([1], file)
    assert file.getvalue()[:2] == b"\x80\x02"
    assert dill.loads(file.getvalue()) == [1]


def test_the_standard_pickler_stays_as_it_is() -> None:
    # In a process of its own: this one has imported dill already.
    code = (
        "import io, pickle\n"
        "from windlass.plugins import App\n"
        "before = dict(pickle._Pickler.dispatch)\n"
        "serializer = App().create_serializer('dill')\n"
        "file = io.BytesIO(); serializer.dump(lambda: 7, file); file.seek(0)\n"
        "assert serializer.load(file)() == 7\n"
        "assert dict(pickle._Pickler.dispatch) == before\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(SerializationError, match=r"cannot write a builtins\.generator"):
        trip(x for x in range(3))
    with pytest.raises(SerializationError, match=r"cannot write a .*lock|cannot write a builtins.list"):
        trip([threading.Thread()._started, sys._getframe()])


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x80\x05\x95", b"\x80\x05cnowhere\nnothing\n."])
def test_bad_bytes(data: bytes) -> None:
    with pytest.raises(SerializationError, match="not readable as dill"):
        App().create_serializer("dill").load(io.BytesIO(data))


def test_a_typo_in_the_parameters() -> None:
    with pytest.raises(ConfigError, match="did you mean 'protocol'"):
        App().create_serializer("dill", {"protcol": 4})
    with pytest.raises(ConfigError, match="at most 5"):
        App().create_serializer("dill", {"protocol": 6})


def test_versions() -> None:
    versions = App().create_serializer("dill", {"protocol": 4}).versions()
    assert versions["protocol"] == "4"
    assert versions["dill"] == dill.__version__
