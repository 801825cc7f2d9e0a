"""Globs: what they match, and that no pattern takes long."""

import fnmatch
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.artifacts.patterns import Patterns, compile_glob
from windlass.errors import UsageError


def naive(glob: str) -> re.Pattern[str]:
    """The same without any care for how long it takes."""
    meaning = {"**/": "(?:.*/)?", "**": ".*", "?": "[^/]"}
    pieces = re.split(r"((?:^|(?<=/))\*\*(?:/|$)|\*+|\?)", glob)
    made = ""
    for at, piece in enumerate(pieces):
        star = piece.startswith("*") and not (piece in meaning and _is_part(pieces, at))
        made += "[^/]*" if star else meaning.get(piece, re.escape(piece))
    return re.compile(made, re.DOTALL)


def _is_part(pieces: list[str], at: int) -> bool:
    before, then = "".join(pieces[:at]), "".join(pieces[at + 1 :])
    return (not before or before.endswith("/")) and (pieces[at].endswith("/") or not then)


GLOBS = st.lists(st.sampled_from(["a", "b", "/", "*", "**", "**/", "?"]), min_size=1, max_size=8).map("".join)


@given(GLOBS, st.lists(st.text("ab/", max_size=9), min_size=5, max_size=5))
def test_what_is_matched_does_not_depend_on_the_care(glob: str, paths: list[str]) -> None:
    ours, plain = compile_glob(glob, anchored=True), naive(glob)
    for path in paths:
        assert bool(ours.fullmatch(path)) == bool(plain.fullmatch(path)), (glob, path)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*a" * 10 + "*b", "a" * 60),
        ("**/a/" * 10 + "b", "a/" * 60 + "c"),
        ("**/*a" * 10 + "**/*b", "a/" * 60),
        ("*a*/" * 6 + "b", "aaaaaaaa/" * 20),
    ],
)
def test_many_stars_are_answered_at_once(glob: str, path: str) -> None:
    assert not compile_glob(glob, anchored=True).fullmatch(path)  # in vain, one would wait for years


@pytest.mark.parametrize(
    "glob", ["[abc].txt", "[!abc].txt", "[a-c]x", "[[]z", "[]x]", "[!]x]", "[a&&b]", "x[-z]", r"\*", "a?[0-9]"]
)
def test_classes_are_those_of_the_shell(glob: str) -> None:
    ours = compile_glob(glob, anchored=True)
    shell = re.compile(fnmatch.translate("[*]" if glob == r"\*" else glob))
    for text in ("a.txt", "d.txt", "bx", "dx", "[z", "]", "x", "&", "x-", "xz", "*", "y", "ab7", "abc"):
        assert bool(ours.fullmatch(text)) == bool(shell.match(text)), text


def test_a_range_that_goes_backwards_says_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / ".windlassignore").write_text("*.log\n[z-a]\n")
    with pytest.raises(UsageError, match=r"\.windlassignore:2: '\[z-a\]' is not a pattern"):
        Patterns.for_folder(str(tmp_path))
    with pytest.raises(UsageError, match="bad character range"):
        Patterns(exclude=["[z-a]"])


def test_an_ignore_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / ".windlassignore").write_bytes(b"\xff\xfe*\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        Patterns.for_folder(str(tmp_path))


def test_one_pattern_is_one_pattern() -> None:
    assert not Patterns(exclude="*.log").takes("a.log")
    assert Patterns(exclude="*.log").takes("a")
    assert not Patterns(include="*.csv").takes("a.log")


@pytest.mark.parametrize("glob", ["a**z", "**b", "a***"])
def test_stars_that_are_no_part_stay_in_theirs(glob: str) -> None:
    """As in ``.gitignore``."""
    ours = compile_glob(glob, anchored=True)
    assert ours.fullmatch(glob.replace("*", "x"))
    assert not ours.fullmatch(glob.replace("**", "x/x").replace("*", ""))


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("[[:digit:]]*.log", "1x.log 9.log", "x.log :.log d.log"),
        ("[![:digit:]]", "a :", "7"),
        ("[^[:upper:]_]", "a 7", "A _"),
        ("[[:alpha:][:digit:]-]", "a Z 7 -", "_ : ["),
        ("v[[:space:]]", "v\t v\n", "v vs"),
        ("[[:punct:]]", "! ~ [ ] - ` ^", "a 0 /"),
        ("[[:xdigit:]-z]", "f F 0 - z", "g y"),
        ("[[:]", "[ :", "]"),
        ("[[:digit]", ": d t [", "7 ]"),
        (r"[\]x]", "] x", "\\"),
        (r"[a\-z]", "a - z", "b"),
        (r"[\a-c]", "a b c", "d -"),
    ],
)
def test_classes_with_names_and_escapes_are_those_of_git(glob: str, yes: str, no: str) -> None:
    ours = compile_glob(glob, anchored=True)
    assert [text for text in yes.split(" ") if not ours.fullmatch(text)] == []
    assert [text for text in no.split(" ") if ours.fullmatch(text)] == []


def test_an_unknown_class_is_an_error_that_says_where(tmp_path: Path) -> None:
    (tmp_path / ".windlassignore").write_text("*.log\n[[:digits:]]*\n")
    with pytest.raises(UsageError, match=r"there is no class of characters \[:digits:\]") as caught:
        Patterns.for_folder(str(tmp_path))
    assert caught.value.where == f"{tmp_path}/.windlassignore:2"
    assert "[:digit:]" in caught.value.hint
    with pytest.raises(UsageError, match="no class"):
        Patterns(include="[[:x:]]")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_patterns_come_from_files_only(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / ".windlassignore")
    with pytest.raises(UsageError, match="it is no file") as caught:
        Patterns.for_folder(str(tmp_path))
    assert caught.value.where == f"{tmp_path}/.windlassignore"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("glob", ["[" * 20_000, "[" * 20_000 + r"\]", "[[:" * 7000, "[a" * 10_000, "[]" * 10_000])
def test_sets_that_are_not_closed_take_no_time(glob: str) -> None:
    compile_glob(glob, anchored=True)
