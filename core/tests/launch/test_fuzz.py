"""Whatever people or repositories write: a value, or one error of ours; never a crash, a hang or a way out."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from windlass.errors import ConfigError, UsageError
from windlass.launch.request import Overrides, load_overrides, parse_sets, parse_variables
from windlass.launch.safe import inside
from windlass.launch.script import _blocks, read_header
from windlass.launch.uris import classify, resolve_relative

SCRIBBLE = st.text(alphabet="a:{}[]&*!|>-#'\" \n\t%@=.\\", max_size=60) | st.text(max_size=60)
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["env/X", "${a}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)
FIELDS = st.sampled_from([*(name for name in Overrides.__annotations__), "overrides", "retries"])
PIECES = st.sampled_from(["..", ".", "a", "out", "/", "//", "~", "c:", "\\", "\x00", "up", "deep"])


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source with links to its outside."""
    root = tmp_path_factory.mktemp("fuzz") / "root"
    (root / "a" / "deep").mkdir(parents=True)
    (root / "out").symlink_to("/etc")
    (root / "a" / "up").symlink_to("../..")
    return root


@given(st.lists(PIECES | st.text(max_size=4), max_size=7).map("/".join) | st.text(max_size=30))
def test_no_path_leads_out_of_the_source(tree: Path, path: str) -> None:
    try:
        found = inside(tree, path, "here")
    except ConfigError:
        return
    assert Path(os.path.realpath(found)).is_relative_to(os.path.realpath(tree))


@given(SCRIBBLE | st.lists(PIECES, max_size=6).map("/".join) | st.lists(PIECES, max_size=6).map("../".join))
def test_no_submodule_leads_to_this_machine(url: str) -> None:
    for parent in ("https://h.example/a/b.git", "git@h.example:a/b", "ssh://git@h.example/a/b"):
        try:
            found = classify(resolve_relative(parent, url), local=False)
        except UsageError:
            continue
        assert found.protocol in ("https", "ssh")
        assert not found.remote.startswith("-")
        if url.startswith("."):
            assert found.host == "h.example"


@given(st.dictionaries(FIELDS, VALUES, max_size=5).map(yaml.safe_dump) | SCRIBBLE)
def test_any_text_is_an_overrides_file_or_one_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "over.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        assert isinstance(load_overrides(path)[0], Overrides)
    except (ConfigError, UsageError) as error:
        assert error.message  # noqa: PT017


@given(st.lists(SCRIBBLE | st.sampled_from(["[tool.windlass]", 'queue = "q"', "dependencies = ['a']"]), max_size=6))
def test_any_comment_is_a_header_or_one_error(lines: list[str]) -> None:
    text = "".join(f"# {line}\n" for piece in lines for line in piece.split("\n"))
    try:
        read_header(f"# /// script\n{text}# ///\n", "a.py")
    except (ConfigError, UsageError) as error:
        assert error.message  # noqa: PT017


@given(st.lists(SCRIBBLE, max_size=4))
def test_any_assignment_is_a_value_or_a_problem(texts: list[str]) -> None:
    for parse in (parse_sets, parse_variables):
        values, problems = parse(tuple(texts))
        assert isinstance(values, dict)
        assert len(problems) <= len(texts)


# The pattern that PEP 723 defines blocks by.
PEP_723 = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
LINES = st.sampled_from(["# /// script", "# /// x", "# ///", "#", "# a", "#a", "", "x", " # ///"])


@given(st.lists(LINES, max_size=12).map("\n".join))
def test_blocks_are_those_of_the_standard(text: str) -> None:
    wanted = [
        (m["type"], text.count("\n", 0, m.start()) + 2, m["content"].split("\n")[:-1]) for m in PEP_723.finditer(text)
    ]
    assert list(_blocks(text.split("\n"))) == wanted


def test_many_blocks_without_an_end_take_no_hours() -> None:
    assert read_header("# /// script\n# a\n" * 100_000, "a.py") is None
