"""Config classes: strict types, all problems at once, each with its place, and no secret in a message."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

from windlass.config import option
from windlass.config.converter import structure, unstructure
from windlass.config.document import loads
from windlass.config.schema import json_schema, keys
from windlass.errors import ConfigError


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@frozen(kw_only=True)
class Inner:
    port: int = option(default=80, help="Port.", minimum=1, maximum=65535)


@frozen(kw_only=True)
class Config:
    image: str = option(help="Image.")
    build_context_store: str = option(default="", help="Store.", key="build-context-store")
    retries: int = option(default=0, help="Retries.", minimum=0)
    rate: float = option(default=0.5, help="Rate.", minimum=0, maximum=1)
    debug: bool = option(default=False, help="Debug.")
    color: Color = option(default=Color.RED, help="Color.")
    level: str = option(default="low", help="Level.", choices=("low", "high"))
    names: tuple[str, ...] = option(default=(), help="Names.", pattern="[a-z]+")
    ports: tuple[int, ...] = option(default=(), help="Ports.")
    labels: dict[str, str] = option(factory=dict, help="Labels.")
    inner: Inner = option(factory=Inner, help="Inner.")
    inners: tuple[Inner, ...] = option(default=(), help="More.")
    folder: Path | None = option(default=None, help="Folder.")
    command: str | tuple[str, ...] = option(default="", help="Command.")
    token: str = option(default="", help="Token.", secret=True, pattern="[a-z]+/.+")
    anything: Any = option(default=None, help="Anything.")
    inside: int = field(default=0, init=False)


def messages(data: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        structure(data, Config)
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


def test_everything_that_fits() -> None:
    config = structure(
        {
            "image": "x", "build-context-store": "s3://b", "retries": 2, "rate": 1, "debug": True, "color": "blue",
            "names": "one", "ports": [1, 2], "labels": {"a": "b"}, "inner": {"port": 8}, "inners": [{"port": 9}],
            "folder": "/tmp/x", "command": ["a", "b"], "anything": {"deep": [1]},
        },
        Config,
    )  # fmt: skip
    assert config.names == ("one",)
    assert config.ports == (1, 2)
    assert config.rate == 1.0
    assert config.inners == (Inner(port=9),)
    assert config.command == ("a", "b")
    assert structure({"image": "x", "command": "a b"}, Config).command == "a b"
    assert structure(unstructure(config), Config) == config


def test_both_spellings_of_a_key() -> None:
    assert structure({"image": "x", "build_context_store": "y"}, Config).build_context_store == "y"
    (problem,) = messages({"image": "x", "build_context_store": "y", "build-context-store": "z"})
    assert "given twice" in problem


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "$.image: required key is missing"),
        ([], "expected a mapping, got a list"),
        (None, "expected a mapping, got nothing"),
        ("text", "expected a mapping, got 'text'"),
        ({"image": 1}, "$.image: expected a text, got 1"),
        ({"image": None}, "$.image: expected a text, got nothing"),
        ({"image": True}, "$.image: expected a text, got True"),
        ({"image": "x", "retries": "2"}, "$.retries: expected a whole number, got '2'"),
        ({"image": "x", "retries": 2.5}, "$.retries: expected a whole number, got 2.5"),
        ({"image": "x", "retries": True}, "$.retries: expected a whole number, got True"),
        ({"image": "x", "retries": -1}, "$.retries: must be at least 0, got -1"),
        ({"image": "x", "rate": 1.5}, "$.rate: must be at most 1, got 1.5"),
        ({"image": "x", "rate": float("nan")}, "$.rate: expected a number, got nan"),
        ({"image": "x", "rate": float("inf")}, "$.rate: expected a number, got inf"),
        ({"image": "x", "debug": "yes"}, "$.debug: expected true or false, got 'yes'"),
        ({"image": "x", "color": "green"}, "$.color: expected one of red, blue, got 'green'"),
        ({"image": "x", "level": "mid"}, "$.level: expected one of low, high, got 'mid'"),
        ({"image": "x", "names": ["ok", "No"]}, "$.names: 'No' does not match [a-z]+"),
        ({"image": "x", "names": ["ok", 3]}, "$.names[1]: expected a text, got 3"),
        ({"image": "x", "ports": "123"}, "$.ports: expected a list, got '123'"),
        ({"image": "x", "ports": {"a": 1}}, "$.ports: expected a list, got a mapping"),
        ({"image": "x", "labels": ["a"]}, "$.labels: expected a mapping, got a list"),
        ({"image": "x", "labels": {"a": 1}}, "$.labels.a: expected a text, got 1"),
        ({"image": "x", "inner": 5}, "$.inner: expected a mapping, got 5"),
        ({"image": "x", "inner": {"port": 0}}, "$.inner.port: must be at least 1, got 0"),
        ({"image": "x", "inners": [{}, {"port": 0}]}, "$.inners[1].port: must be at least 1, got 0"),
        ({"image": "x", "inners": [{}, {"prt": 1}]}, "$.inners[1].prt: unknown key 'prt' (did you mean 'port'?)"),
        ({"image": "x", "folder": 5}, "$.folder: expected a path, got 5"),
        ({"image": "x", "command": 5}, "$.command: expected a text or a list, got 5"),
        ({"image": "x", "imgae": "y"}, "$.imgae: unknown key 'imgae' (did you mean 'image'?)"),
        ({"image": "x", "zzzzzz": "y"}, "known keys: image, build-context-store"),
        ({"image": "x", 5: "y"}, "unknown key '5'"),
        ({"image": "x", "inside": 5}, "$.inside: unknown key 'inside' (did you mean 'inner'?)"),
    ],
)
def test_one_problem(data: object, said: str) -> None:
    (problem,) = messages(data)
    assert said in problem


def test_all_problems_at_once() -> None:
    found = messages({"retries": "x", "rate": 2, "inner": {"port": "x"}, "names": [1, 2], "unknwon": 1})
    text = "\n".join(found)
    for place in ("$.image", "$.retries", "$.inner.port", "$.names[0]", "$.names[1]", "$.unknwon"):
        assert place in text
    assert len(found) >= 6
    nested = messages({"image": "x", "rate": 2, "inner": {"port": 0, "bogus": 1}, "inners": [{"port": 0}, {"no": 1}]})
    for place in ("$.rate: must be", "$.inner.port: must be", "$.inner.bogus", "$.inners[1].no"):
        assert any(problem.startswith(place) for problem in nested)


def test_problems_have_lines() -> None:
    document = loads("image: x\n\ninner:\n  port: high\nnames:\n- a\n- 7\n", "launch.yaml")
    with pytest.raises(ConfigError) as caught:
        structure(document.data, Config, document=document)
    assert [p.where for p in caught.value.problems] == ["launch.yaml:4 ($.inner.port)", "launch.yaml:7 ($.names[1])"]
    assert str(caught.value).startswith("launch.yaml: 2 problems in the configuration\n")


@pytest.mark.parametrize("value", [12345678, ["hunter2"], "HUNTER2"])
def test_secrets_are_not_shown(value: object) -> None:
    (problem,) = messages({"image": "x", "token": value})
    assert "$.token" in problem
    assert "secret" in problem
    for text in ("12345678", "hunter2", "HUNTER2"):
        assert text not in problem
    assert "hunter" not in repr(structure({"image": "x", "token": "env/hunter"}, Config))


def test_a_secret_may_be_written_in_both_ways() -> None:
    assert structure({"image": "x", "token": {"secret": "env/HUNTER"}}, Config).token == "env/HUNTER"
    (problem,) = messages({"image": "x", "token": {"secret": {"env": "hunter2"}}})
    assert "env/NAME" in problem
    assert "hunter2" not in problem


def test_unstructure_leaves_defaults_out() -> None:
    assert unstructure(Config(image="x", build_context_store="y")) == {"image": "x", "build-context-store": "y"}


def test_schema_and_table_agree() -> None:
    schema = json.loads(json.dumps(json_schema(Config, "runner")))
    assert schema["title"] == "runner"
    assert schema["required"] == ["image"]
    assert list(schema["properties"]) == [key.name for key in keys(Config)]
    assert schema["properties"]["retries"] == {"type": "integer", "description": "Retries.", "minimum": 0, "default": 0}
    assert schema["properties"]["names"]["items"] == {"type": "string"}
    assert schema["properties"]["level"]["enum"] == ["low", "high"]
    assert schema["properties"]["color"]["enum"] == ["red", "blue"]
    assert schema["properties"]["inner"]["properties"]["port"]["maximum"] == 65535
    assert all(prop["description"] for prop in schema["properties"].values())
    words = {key.name: key.type for key in keys(Config)}
    assert words["names"] == "list of text"
    assert words["color"] == "red | blue"
    assert words["command"] == "text or list of text"


@frozen
class Tree:
    left: Tree | None = None
    right: Tree | None = None
    leaves: tuple[Leaf, ...] = ()


@frozen
class Leaf:
    size: int = 0


def test_a_class_that_holds_itself_has_a_schema() -> None:
    schema = json_schema(Tree)
    tree = {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]}
    assert schema["properties"]["left"] == tree
    assert schema["$defs"] == {"Tree": {key: schema[key] for key in ("type", "properties", "additionalProperties")}}
    assert schema["properties"]["leaves"]["items"]["properties"]["size"]["type"] == "integer", (
        "no reference where none is needed"
    )
    assert [key.type for key in keys(Tree)] == ["mapping", "mapping", "list of mapping"]
