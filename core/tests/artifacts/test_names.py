from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.artifacts.metadata import clean_metadata
from windlass.artifacts.names import (
    check_alias,
    check_entry_path,
    check_entry_paths,
    check_name,
    check_reserved,
    check_tag,
    check_type,
    parse_ref,
    safe_name,
)
from windlass.errors import UsageError

BAD_PATHS = [
    "", ".", "..", "/abs", "a/../b", "../a", "a//b", "a/", "./a", "a/.", "C:/x", "C:x", "c:\\x", "\\\\server\\share",
    "\\x", "a\\..\\b", "..\\a", "nul\0byte", "bad\udc80utf",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_lead_out(path: str) -> None:
    with pytest.raises(UsageError):
        check_entry_path(path)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("x" * 256, "a part of it has 256 bytes"),
        ("ok/" + "ü" * 128, "a part of it has 256 bytes"),
        ("x/" * 2000 + "x", "it has 4001 characters"),
        (Path("x"), "it is PosixPath, not text"),
    ],
)
def test_paths_that_no_file_system_takes(path: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        check_entry_path(path)


@pytest.mark.parametrize("path", ["a", "a/b.txt", "...", "a b", ".hidden", "ab:c/d", "日本/x", "x" * 255, "a\nb"])
def test_paths_that_stay(path: str) -> None:
    assert check_entry_path(path) == path


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a:b", "ä", "x" * 129, ".", "..", "a\n", None, 3])
def test_bad_names(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


def test_rules() -> None:
    assert check_name("a.B_c-1") == "a.B_c-1"
    for bad in ("", "a/b", "a:b", " ", "x" * 129):
        with pytest.raises(UsageError):
            check_type(bad)
    for bad in ("", "a/b", "a:b", "a@b", "v3", "v0"):
        with pytest.raises(UsageError):
            check_alias(bad)
    assert check_alias("v3-final") == "v3-final"
    for bad in ("", " a", "a ", "a,b", "-/"):
        with pytest.raises(UsageError):
            check_tag(bad)
    assert check_tag("two words") == "two words"
    for name, type_ in (("x", "job"), ("x", "windlass-x"), ("run-1", "run_table"), ("source-x", "code")):
        with pytest.raises(UsageError):
            check_reserved(name, type_)
    check_reserved("x", "code")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n", "e/p/n:latest"),
        ("n:v3", "e/p/n:v3"),
        ("q/n:best", "e/q/n:best"),
        ("f/q/n", "f/q/n:latest"),
        ("n:odd/alias:x", "e/p/n:odd/alias:x"),
        ("f/q/n@blake3:00", "f/q/n@blake3:00"),
    ],
)
def test_refs(text: str, expected: str) -> None:
    ref = parse_ref(text, entity="e", project="p")
    assert f"{ref.entity}/{ref.project}/{ref.name}" == expected.partition(":")[0].partition("@")[0]
    assert ref.selector == expected[len(f"{ref.entity}/{ref.project}/{ref.name}") + 1 :]


@pytest.mark.parametrize("text", ["", "a/b/c/d", "/n", "a//n", "n:", "n@", ":x", "a/ /n", ".."])
def test_bad_refs(text: str) -> None:
    with pytest.raises(UsageError):
        parse_ref(text, entity="e", project="p")


@given(st.text())
def test_safe_names_are_valid(text: str) -> None:
    assert check_name(safe_name(text)) == safe_name(text)
    assert check_name(safe_name(text, unique=True))
    if safe_name(text) == text:
        assert safe_name(text, unique=True) == text


def test_metadata() -> None:
    made = clean_metadata({"a": (1, 2), "n": float("nan"), "s": slice(1, 2), "m": {"x": {3}}})
    assert made == {
        "a": [1, 2],
        "n": None,
        "s": {"slice_start": 1, "slice_stop": 2, "slice_step": None},
        "m": {"x": [3]},
    }
    for bad in ([1], 3, {"x": float("inf")}, {"x": object()}, {str(i): i for i in range(101)}):
        with pytest.raises(UsageError):
            clean_metadata(bad)  # type: ignore[arg-type]
    given_list = [1]
    copied = clean_metadata({"l": given_list})
    given_list.append(2)
    assert copied == {"l": [1]}


def test_metadata_that_json_cannot_hold() -> None:
    deep: dict[str, object] = {}
    deep["again"] = deep
    with pytest.raises(UsageError, match="holds itself"):
        clean_metadata(deep)
    with pytest.raises(UsageError, match="no Unicode text") as caught:
        clean_metadata({"a": ["fine", "\ud800"]})
    assert caught.value.where == "$.metadata.a[1]"


@given(
    st.lists(
        st.one_of(
            st.text(alphabet="ab/.", max_size=5), st.text(alphabet="ab/.\\:\n\0 é", max_size=8), st.just("a" * 256)
        ),
        min_size=1,
        max_size=6,
    )
)
def test_many_paths_are_checked_as_each_of_them(paths: list[str]) -> None:
    def refused(check: Callable[[], object]) -> str:
        try:
            check()
        except UsageError as error:
            return str(error)
        return ""

    def each() -> None:
        for path in paths:
            check_entry_path(path)

    assert refused(lambda: check_entry_paths(paths)) == refused(each)
