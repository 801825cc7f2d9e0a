"""Names of assets are unique, valid, and can be read back."""

import string

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_windlass.names import artifact_name, decode, partition_names, readable_names
from windlass.artifacts.names import check_name

parts = st.text(min_size=1, max_size=12)
easy = st.text(alphabet=string.ascii_letters + "-_.", min_size=1, max_size=6)


@given(st.lists(parts | easy, min_size=1, max_size=3), st.none() | parts | easy)
def test_there_and_back(key: list[str], partition: str | None) -> None:
    try:
        "".join([*key, partition or ""]).encode()
    except UnicodeEncodeError:
        return
    name = artifact_name(key, partition)
    check_name(name)
    if "-__" not in name:
        assert decode(name) == (tuple(key), () if partition is None else (partition,))


@given(st.lists(easy, min_size=1, max_size=3), st.lists(easy, min_size=1, max_size=3))
def test_different_keys_have_different_names(one: list[str], other: list[str]) -> None:
    assert (artifact_name(one) == artifact_name(other)) == (one == other)


def test_as_documented() -> None:
    assert artifact_name(["my_asset"]) == "my_asset"
    assert artifact_name(["pre", "a"]) == "pre..a"
    assert artifact_name(["asset"], "2023-01-01") == "asset.2023-01-01"
    assert artifact_name(["asset"], "2023-01-01-10:00") == "asset.2023-01-01-10-_3A00"
    assert artifact_name(["my asset"]) == "my-_20asset"


def test_long_names_stay_different() -> None:
    names = {artifact_name(["x" * 200], str(number)) for number in range(3)}
    assert len(names) == 3
    assert all(len(name) == 128 for name in names)


def test_names_made_elsewhere() -> None:
    assert readable_names(["data.v2"]) == ["data-_2Ev2", "data.v2"]
    assert readable_names(["plain"]) == ["plain"]
    assert readable_names(["not valid"]) == ["not-_20valid"]


@pytest.mark.parametrize("order", [(), ("kind", "color"), ("color",)])
def test_forms_of_dimensions(order: tuple[str, ...]) -> None:
    key = dg.MultiPartitionKey({"kind": "car", "color": "blue"})
    names = partition_names("a", key, order)
    assert set(names) == {"a.blue.car", "a.car.blue", "a.blue-car", "a.car-blue"}
    assert names[0] == ("a.car.blue" if order == ("kind", "color") else "a.blue.car")
