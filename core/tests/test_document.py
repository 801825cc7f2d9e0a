"""Configuration files: what people write, with the line of every mistake."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from windlass.config.document import load, loads, loads_json, loads_toml
from windlass.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", {}),
        ("# only a comment\n", {}),
        ("a: 1e-3", {"a": 0.001}),
        ("a: 1E5", {"a": 100000.0}),
        ("a: -2e+3", {"a": -2000.0}),
        ("a: 1.5e3", {"a": 1500.0}),
        ("a: e3", {"a": "e3"}),
        ("a: 22:22", {"a": "22:22"}),
        ("a: 1:30:00.5", {"a": "1:30:00.5"}),
        ("a: 0x1F", {"a": 31}),
        ("a: 3.11", {"a": 3.11}),
        ("a: 2024-01-01", {"a": "2024-01-01"}),
        ("a: yes", {"a": True}),
        ("yes: 1\nno: 2\n1: 3", {"yes": 1, "no": 2, "1": 3}),
        ("a:\n\tb: 1\n\tc: 2", {"a": {"b": 1, "c": 2}}),
        ("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3", {"base": {"x": 1, "y": 2}, "use": {"x": 1, "y": 3}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("\ufeffa: 1", {"a": 1}),
        ("a: ~\nb:", {"a": None, "b": None}),
        ('{"a": "\\ud83d\\ude00", "b": Infinity}', {"a": "😀", "b": float("inf")}),
        ("{a: 1e-3, b: [yes]}", {"a": 0.001, "b": [True]}),
    ],
)
def test_what_people_write(text: str, data: object) -> None:
    assert loads(text).data == data


def test_the_nan_of_json_is_a_number() -> None:
    for text, source in (('{"a": NaN}', ""), (" [NaN]", "--metadata"), ('{"a": NaN}', "f.json")):
        data = loads(text, source).data
        assert math.isnan(data["a"] if isinstance(data, dict) else data[0])
    assert loads("a: NaN").data == {"a": "NaN"}  # YAML writes .nan


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3 ($.a)", "the key 'a' is given twice"),
        ("a:\n  b: {c: 1, c: 2}", "f.yaml:2 ($.a.b.c)", "given twice"),
        ("a: !!python/object:os.system {}", "f.yaml:1 ($.a)", "is not known"),
        ("a: &x [*x]", "f.yaml:1 ($.a[0])", "an alias that contains itself"),
        ("? [a, b]\n: 1", "f.yaml:1 ($)", "keys must be simple texts"),
        ("a: !custom x", "f.yaml:1 ($.a)", "could not determine a constructor"),
        ("a: !!int x", "f.yaml:1 ($.a)", "cannot be read"),
    ],
)
def test_problems_have_places(text: str, where: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(text, "f.yaml")
    (problem,) = caught.value.problems
    assert problem.where == where
    assert said in problem.message


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: [1, 2\nb: 3", "f.yaml:2"),
        ("a: b: c", "f.yaml:1"),
        ("a: 1\n b: 2", "f.yaml:2"),
        ("a: *nobody", "f.yaml:1"),
        ("a: 1\n---\nb: 2", "f.yaml:2"),
        ("a: 'open", "f.yaml:1"),
        ("a: \x00", "f.yaml"),
        ("[" * 3000, "f.yaml"),
    ],
)
def test_not_well_formed(text: str, where: str) -> None:
    with pytest.raises(ConfigError, match=r"not well-formed|nested too deeply") as caught:
        loads(text, "f.yaml")
    assert caught.value.where == where
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(("first", "more"), [("[x, x]", "[{}]"), ("{x: 1}", "{{<<: [{}]}}")])
def test_aliases_cannot_blow_up(first: str, more: str) -> None:
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{i}: &a{i} {more.format(', '.join([f'*a{i - 1}'] * 10))}" for i in range(1, 20)]
    with pytest.raises(ConfigError, match="values"):
        loads("\n".join(lines), "f.yaml")


@pytest.mark.parametrize(("first", "more"), [("[x]", "[{}]"), ("{x: 1}", "{{<<: {}}}"), ("{x: 1}", "{{y: {}}}")])
def test_aliases_may_not_be_nested_without_end(first: str, more: str) -> None:
    lines = [f"a0: &a0 {first}", *(f"a{i}: &a{i} {more.format(f'*a{i - 1}')}" for i in range(1, 120))]
    with pytest.raises(ConfigError, match="nested too deeply"):
        loads("\n".join(lines), "f.yaml")


def test_json() -> None:
    text = json.dumps({"smile": "\U0001f600", "deep": {"list": [1, {"x": None}]}}, indent="\t")
    document = loads(text, "f.json")
    assert document.data == json.loads(text)
    assert document.place("$.deep.list[1].x") == "f.json:7 ($.deep.list[1].x)"
    with pytest.raises(ConfigError) as caught:
        loads('{\n"a": 1,\n}', "f.json")
    assert caught.value.where == "f.json:3"
    with pytest.raises(ConfigError, match="given twice"):
        loads('{"a": 1, "a": 2}', "f.json")


def test_place_of_what_is_not_there() -> None:
    document = loads("a:\n  b: 1\n", "f.yaml")
    assert document.place("$.a.missing.deep") == "f.yaml:2 ($.a.missing.deep)"
    assert document.place("$.zzz") == "f.yaml:1 ($.zzz)"


def test_files(tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_text("a: 1")
    assert load(good).data == {"a": 1}
    for path, said in ((tmp_path / "missing.yaml", "does not exist"), (tmp_path, "directory")):
        with pytest.raises(ConfigError, match=said) as caught:
            load(path)
        assert caught.value.where == str(path)
    (tmp_path / "latin").write_bytes(b"a: \xe4")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin")


@pytest.mark.parametrize("text", ["a: {{n}}", "a: [SEED={{n}}]", "a:\n  - {b: {{n}}}"])
def test_a_field_without_quotes_is_told_from_other_mistakes(text: str) -> None:
    with pytest.raises(ConfigError, match=r'stands in quotes: "\{\{name\}\}"'):
        loads(text, "f.yaml")
    with pytest.raises(ConfigError) as caught:
        loads("a: [1, 2\nb: 3", "f.yaml")
    assert "quotes" not in str(caught.value)


@pytest.mark.parametrize("read", [loads, loads_json, loads_toml])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "a = " + "[" * 2000 + "]" * 2000])
def test_what_is_nested_too_deeply_is_an_error_and_no_crash(read: Callable[[str, str], Any], text: str) -> None:
    if read is loads and text.startswith("a"):
        assert loads(text, "f").data == text  # a plain text in YAML
        return
    with pytest.raises(ConfigError):
        read(text, "f")


def test_toml_names_the_line() -> None:
    assert loads_toml("a = 1\n[b]\nc = 'x'\n", "f.toml") == {"a": 1, "b": {"c": "x"}}
    for text, line in (("a = 1\nb = \n", 2), ("a = 1\nb = [1,\n", 2)):
        with pytest.raises(ConfigError, match="not well-formed TOML") as caught:
            loads_toml(text, "f.toml")
        assert caught.value.where == f"f.toml:{line}"
