"""The serializer `json`."""

from __future__ import annotations

import io
import json
import math
from collections import OrderedDict, namedtuple
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.errors import ConfigError, SerializationError
from windlass.plugins import App


def dumped(value: Any, parameters: dict[str, Any] | None = None) -> bytes:
    file = io.BytesIO()
    App().create_serializer("json", parameters).dump(value, file)
    return file.getvalue()


def loaded(data: bytes) -> Any:
    return App().create_serializer("json").load(io.BytesIO(data))


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


@settings(max_examples=60, deadline=None)
@given(values, st.sampled_from([{}, {"indent": 2}, {"sort_keys": True}, {"ensure_ascii": True}]))
def test_what_is_read_back_is_equal(value: Any, parameters: dict[str, Any]) -> None:
    data = dumped(value, parameters)
    result = loaded(data)
    assert result == value
    assert json.loads(data) == value


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


def test_subclasses_that_compare_equal_are_fine() -> None:
    value = {"a": Colour.RED, "b": Level.HIGH, "c": OrderedDict(x=1)}
    assert loaded(dumped(value)) == value


def test_big_containers_are_written_in_batches() -> None:
    numbers = list(range(2500))
    texts = {f"k{n:05}": n for n in numbers}
    assert loaded(dumped(numbers)) == numbers
    assert loaded(dumped(texts)) == texts
    assert dumped(dict(reversed(texts.items())), {"sort_keys": True}) == dumped(texts)


deep: list[Any] = []
for _ in range(100_000):
    deep = [deep]
loop: dict[str, Any] = {"a": [1]}
loop["a"].append(loop)
Pair = namedtuple("Pair", "a b")  # noqa: PYI024

BAD: list[tuple[Any, str, str]] = [
    ({"a": [1, 2, 3, {1}]}, "$.a[3]", "builtins.set"),
    ({"a": (1, 2)}, "$.a", "builtins.tuple"),
    ([Pair(1, 2)], "$[0]", "Pair"),
    ({"a": {1: 2}}, "$.a", "not a text"),
    ({"some key": b"x"}, "$['some key']", "builtins.bytes"),
    ([0.5, [math.nan]], "$[1][0]", "nan"),
    ({"a": -math.inf}, "$.a", "inf"),
    ({"t": "\ud800"}, "$.t", "surrogate"),
    ({"t": {"\ud800": 1}}, "$.t", "surrogate"),
    (loop, "$.a[1]", "contains itself"),
    (object(), "$", "builtins.object"),
]


@pytest.mark.parametrize(("value", "where", "message"), BAD, ids=[where + message for _, where, message in BAD])
def test_what_does_not_fit_is_named_with_its_place(value: Any, where: str, message: str) -> None:
    with pytest.raises(SerializationError, match=message) as caught:
        dumped(value)
    assert caught.value.where == where
    assert caught.value.hint


def test_a_shared_list_is_no_loop() -> None:
    shared = [1]
    assert loaded(dumped({"a": shared, "b": [shared, shared]})) == {"a": [1], "b": [[1], [1]]}


def test_too_deep() -> None:
    with pytest.raises(SerializationError, match="RecursionError"):
        dumped(deep)
    with pytest.raises(SerializationError, match="RecursionError"):
        loaded(b"[" * 100_000 + b"]" * 100_000)


def test_not_a_number_only_when_asked_for() -> None:
    data = dumped([math.nan, math.inf], {"allow_nan": True})
    assert data == b"[NaN,Infinity]"
    result = loaded(data)
    assert math.isnan(result[0])
    assert result[1] == math.inf


@pytest.mark.parametrize("data", [b"", b"{", b'{"a":1', b"[1,]", b"\xff\xfe", b'{"a":1,"a":2}', b"[1] x", b"\x00"])
def test_bad_bytes(data: bytes) -> None:
    with pytest.raises(SerializationError):
        loaded(data)


def test_a_typo_in_the_parameters() -> None:
    with pytest.raises(ConfigError, match="did you mean 'indent'"):
        App().create_serializer("json", {"ident": 2})
