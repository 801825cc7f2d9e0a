"""Inputs: schemas, overrides, config files with comments; and the policies of a run."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import re
from typing import Literal

import attrs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from windlass.errors import ConfigError, UnsupportedError, UsageError
from windlass.launch.files import patch_file, read_config
from windlass.launch.inputs import (
    input_rows,
    joined,
    managed_config,
    managed_file,
    read_file_overrides,
    read_overrides,
    shards,
)
from windlass.launch.paths import merge
from windlass.launch.policy import check_wishes, effective_policy, next_retry, retries_used
from windlass.launch.schema import bounds_text, infer_schema, schema_of, type_word, validate
from windlass.launch.yaml_edit import patch_yaml
from windlass.models.launch import LaunchPolicy
from windlass.models.queue import Queue
from windlass.models.reason import Reason
from windlass.models.run import Run

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1000, 1000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet="abc :#{}[]'\"-&*!|>%@`\\\n\té", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(alphabet="abcde_.- ", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
TREES = st.dictionaries(st.text(alphabet="abcde_.- ", min_size=1, max_size=4), VALUES, min_size=1, max_size=4)


def test_types_as_documented():
    config = {
        "trainer": {"learning_rate": 0.01, "batch_size": 32, "model": "resnet", "private": {"key": "v"}},
        "seed": 1,
    }
    found = managed_config(config, include=["trainer"], exclude=["trainer.private"])
    assert found.types == {"trainer": {"learning_rate": "float", "batch_size": "int", "model": "str"}}
    assert validate({"trainer": {"learning_rate": 1}}, found.schema) == []
    for wrong in (
        {"seed": 2},
        {"trainer": {"private": {"key": "x"}}},
        {"trainer": {"batch_size": "x"}},
        {"trainer": {"batch_size": 1.5}},
        {"trainer": {"batch_size": True}},
        {"trainer": 5},
    ):
        assert len(validate(wrong, found.schema)) == 1, wrong


@given(TREES)
def test_values_fit_the_schema_inferred_from_them(tree):
    assert validate(tree, infer_schema(tree)) == []


@attrs.frozen(kw_only=True)
class AttrsConfig:
    epochs: int = 1
    name: str = "x"


@dataclasses.dataclass
class DataConfig:
    epochs: int
    nested: list[int] = dataclasses.field(default_factory=list)


class PydanticLike:
    @classmethod
    def model_json_schema(cls):
        return {
            "type": "object",
            "properties": {"epochs": {"$ref": "#/$defs/E"}, "mode": {"allOf": [{"enum": ["a"]}]}},
            "$defs": {"E": {"type": "integer", "minimum": 1}},
        }


@pytest.mark.parametrize(
    "source",
    [
        AttrsConfig,
        AttrsConfig(),
        DataConfig,
        PydanticLike,
        PydanticLike(),
        {"type": "object", "properties": {"epochs": {"type": "integer"}}},
    ],
)
def test_explicit_schemas(source):
    schema = schema_of(source)
    assert validate({"epochs": 3}, schema) == []
    assert "$.epochs" in str(validate({"epochs": "x"}, schema)[0])


@dataclasses.dataclass
class Trainer:
    epochs: int
    rate: float = 0.1


@attrs.define
class Nested:
    trainer: Trainer
    mode: str = "a"


@dataclasses.dataclass
class NestedOther:
    inner: AttrsConfig
    mode: str = "a"


def test_classes_of_both_kinds_in_each_other():
    found = schema_of(Nested)
    assert validate({"trainer": {"epochs": 3, "rate": 1}}, found, partial=False) == []
    assert [p.where for p in validate({"trainer": {"epochs": 2.5, "rate": "x"}}, found)] == [
        "$.trainer.epochs",
        "$.trainer.rate",
    ]
    assert [p.where for p in validate({"trainer": {}}, found, partial=False)] == ["$.trainer.epochs"]
    rows = input_rows({"@windlass.config": found}, {})
    assert [(row.path, row.type, row.default) for row in rows] == [
        ("trainer.epochs", "int", ""), ("trainer.rate", "float", "0.1"), ("mode", "str", '"a"'),
    ]  # fmt: skip
    assert "$.inner.epochs" in str(validate({"inner": {"epochs": "x"}}, schema_of(NestedOther))[0])


@dataclasses.dataclass
class Outer:
    inner: DataConfig
    several: dict[str, DataConfig] = dataclasses.field(default_factory=dict)
    seed: int | None = None


@attrs.define
class Mixed:
    inner: DataConfig


@pytest.mark.parametrize("source", [Outer, Mixed])
def test_a_misspelled_field_of_a_class_is_no_input(source):
    found = schema_of(source)
    assert validate({"inner": {"epochs": 3}}, found) == []
    for wrong, place in (({"iner": {}}, "$.iner"), ({"inner": {"epoch": 3}}, "$.inner.epoch")):
        (problem,) = validate(wrong, found)
        assert (problem.where, "did you mean" in problem.hint) == (place, True)
    several = {"several": {"any": {"epochs": 1}}, "seed": None}
    assert source is Mixed or validate(several, found) == []
    assert validate({"several": {"any": {"epoch": 1}}}, found)


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


@attrs.define
class Options:
    seed: int | None = None
    mode: Mode | None = None
    word: Literal["a", "b"] | None = None
    size: int | str | None = None
    inner: AttrsConfig | None = None
    names: list[str] | None = None
    day: dt.date = dt.date(2026, 1, 31)
    epochs: int = 1


def test_optional_fields_of_a_class_take_none():
    found = schema_of(Options)
    json.dumps(found)
    for field in attrs.fields(Options):
        wrong = validate({field.name: None}, found)
        assert bool(wrong) is (field.name in ("day", "epochs")), field.name
    fits = {"seed": 1, "mode": "fast", "word": "a", "size": "x", "inner": {"epochs": 2}, "names": ["a"]}
    assert validate(fits, found) == []
    wrong = {"seed": "x", "mode": "x", "word": "c", "size": 1.5, "inner": {"epoch": 1}, "names": "a", "day": 1}
    assert [p.where for p in validate(wrong, found)] == [
        "$.seed", "$.mode", "$.word", "$.size", "$.inner.epoch", "$.names", "$.day"
    ]  # fmt: skip
    rows = {row.path: row.type for row in input_rows({"@windlass.config": found}, {})}
    assert (rows["seed"], rows["inner.epochs"]) == ("int | None", "int")


def test_pydantic_models_are_open_only_where_they_say_so():
    pydantic = pytest.importorskip("pydantic")

    class Inner(pydantic.BaseModel):
        epochs: int = 1
        mode: str | None = None

    class Open(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        inner: Inner = Inner()

    class Closed(pydantic.BaseModel):
        inner: Inner = Inner()

    for source in (Open, Closed, Open()):
        found = schema_of(source)
        assert validate({"inner": {"epochs": 3, "mode": None}}, found) == []
        assert [p.where for p in validate({"inner": {"epoch": 3}}, found)] == ["$.inner.epoch"]
        assert [p.where for p in validate({"iner": 3}, found)] == (["$.iner"] if source is Closed else [])


def test_a_class_of_which_no_schema_can_be_made():
    @dataclasses.dataclass
    class Odd:
        thing: object = dataclasses.field(default_factory=object)
        other: complex = 1j

    with pytest.raises(UsageError, match="no schema can be made from Odd"):
        schema_of(Odd)


@pytest.mark.parametrize("open_for_more", [True, False])
def test_an_explicit_schema_opens_no_more_than_what_is_included(open_for_more):
    number = {"type": "integer"}
    schema = {
        "type": "object",
        "additionalProperties": open_for_more,
        "properties": {
            "a": {"type": "object", "properties": {"b": number, "z": number}},
            "a.b": {"type": "object", "properties": {"c": number}},
            "other": number,
        },
    }
    config = {"a": {"b": 1, "z": 2, "new": {"x": 1}}, "a.b": {"c": 1}, "other": 1, "free": 1}

    def wrong(values, include=("a", r"a\.b", "free"), exclude=("a.z", "a.new.x")):
        found = managed_config(config, include, exclude, schema)
        assert "a.z" not in {row.path for row in input_rows({"@windlass.config": found.schema}, {})}
        return [problem.where for problem in validate(values, found.schema)]

    assert wrong({"a": {"b": 2}, "a.b": {"c": 2}}) == []
    assert wrong({"a": {"z": 2}}) == ["$.a.z"]
    assert wrong({"a": {"new": {"x": 2}}}) == ["$.a.new.x"]
    assert wrong({"a": {"new": {"y": 2}}}) == []
    assert wrong({"other": 2}) == ["$.other"]
    assert wrong({"else": 2}) == ["$.else"]
    assert wrong({"free": 2}) == ([] if open_for_more else ["$.free"])
    assert wrong({"a.b": {"c": "x"}}) == [r"$.a\.b.c"]
    assert wrong({"other": 2, "else": 2}, include=()) == ([] if open_for_more else ["$.else"])


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer", "minimum": 2}, 1),
        ({"maximum": 2}, 3),
        ({"exclusiveMinimum": 2}, 2),
        ({"exclusiveMaximum": 2}, 2),
        ({"enum": [1, "a"]}, "b"),
        ({"enum": [1]}, True),
        ({"const": 1}, 2),
        ({"minLength": 2}, "a"),
        ({"maxLength": 1}, "ab"),
        ({"type": "array", "items": {"type": "string"}}, [1]),
        ({"minItems": 1}, []),
        ({"maxItems": 1}, [1, 2]),
        ({"uniqueItems": True}, [1, 1]),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1),
        (False, 1),
        ({"type": ["string", "null"]}, 1),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, 3),
        ({"type": "object", "properties": {"a": False}}, {"a": 1}),
        ({"type": "boolean"}, 1),
        ({"type": "number"}, True),
    ],
)
def test_what_a_schema_refuses(schema, value):
    problems = validate(value, schema)
    assert len(problems) == 1
    assert problems[0].where.startswith("$")


@pytest.mark.parametrize(
    ("schema", "kind", "bounds"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 10}, "int", "1 … 10"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "float", "… 1, > 0"),
        ({"type": "string", "enum": ["a", "b"]}, "str", "one of a, b"),
        ({"type": "string", "minLength": 1, "maxLength": 8}, "str", "1 … 8 characters"),
        ({"type": "array", "minItems": 2}, "list", "2 … items"),
        ({"type": "string", "format": "date"}, "date", ""),
        ({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}, "int | None", "0 …"),
        ({}, "", ""),
    ],
)
def test_what_people_are_told_of_a_schema(schema, kind, bounds):
    assert (type_word(schema), bounds_text(schema)) == (kind, bounds)


def test_schemas_with_mistakes():
    wrong = {"type": "object", "properties": {"a": {"type": "int"}, "b": {"minimum": "x"}, "c": {"enum": 1}, "d": 5}}
    with pytest.raises(ConfigError) as caught:
        schema_of(wrong)
    assert len(caught.value.problems) == 4
    with pytest.raises(UsageError, match="no schema can be made"):
        schema_of(5)


def test_a_schema_that_contains_itself_ends():
    schema = schema_of(
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/A"}},
            "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}},
        }
    )
    assert validate({"a": {"a": {"a": {}}}}, schema) == []


def test_trees_and_what_names_each_other_end():
    """Each level of a tree doubles what is written out; each class that names all others multiplies it."""
    branch = {"$ref": "#/$defs/Node"}
    node = {"type": "object", "properties": {"left": branch, "right": branch, "value": {"type": "integer"}}}
    schema = schema_of({"type": "object", "properties": {"tree": branch}, "$defs": {"Node": node}})
    assert validate({"tree": {"left": {"right": {"left": {"value": 1}}}}}, schema) == []
    assert len(validate({"tree": {"left": {"right": {"left": {"value": "x"}}}}}, schema)) == 1
    names = [f"N{i}" for i in range(4)]
    others = {
        name: {"type": "object", "properties": {other: {"$ref": f"#/$defs/{other}"} for other in names}}
        for name in names
    }
    schema = schema_of({"type": "object", "properties": {"n": {"$ref": "#/$defs/N0"}}, "$defs": others})
    assert len(validate({"n": {"N1": {"N2": 5}}}, schema)) == 1
    doubled = {f"D{i}": {"anyOf": [{"$ref": f"#/$defs/D{i + 1}"}] * 2} for i in range(30)}
    with pytest.raises(UsageError, match="references are written out"):
        schema_of({"type": "object", "properties": {"d": {"$ref": "#/$defs/D0"}}, "$defs": doubled})


@given(st.text(max_size=200), st.integers(1, 50))
def test_shards_come_together_again(text, size):
    env = shards("NAME", text, size)
    assert joined(env, "NAME") == text
    assert all(len(part) <= size for part in env.values())


@pytest.mark.parametrize("text", ["{", "[]", "5", "null"])
def test_damaged_overrides(text):
    with pytest.raises(ConfigError, match="WINDLASS_CONFIG"):
        read_overrides({"WINDLASS_CONFIG": text})


def test_file_overrides_must_be_mappings():
    with pytest.raises(ConfigError, match="expected a mapping"):
        read_file_overrides({"WINDLASS_LAUNCH_FILE_OVERRIDES": '{"a.yaml": 1}'})


# -- files ----------------------------------------------------------------------------------------------------------

YAML = """# top
learning_rate: 0.01  # lr
model:   resnet
opt:
  # inner
  name: adam # c
  betas: [0.9, 0.99]
  sub:
    - 1
    - 2
# tail
data: {a: 1}
text: |
  foo
  bar
empty:
"""


def test_comments_are_kept():
    values = {
        "learning_rate": 1e-3,
        "opt": {"name": "sgd", "sub": [3], "new": {"x": 1}},
        "data": {"b": "z"},
        "text": "q",
        "empty": 5,
        "more": True,
    }
    new = patch_yaml(YAML, values)
    assert yaml.safe_load(new) == merge(yaml.safe_load(YAML), values)
    for comment in ("# top", "# lr", "# inner", "# c", "# tail"):
        assert comment in new
    assert "model:   resnet" in new


@given(TREES, TREES)
def test_patched_yaml_is_the_merged_data(tmp_path_factory, tree, values):
    path = tmp_path_factory.getbasetemp() / "c.yaml"  # a directory for each gets ever slower
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    wanted = merge(read_config(path), values)
    patch_file(path, values)
    assert read_config(path) == wanted


ANCHORS = """# top
base: &b {x: 1, day: 2026-01-31}  # shared
lr: &lr 1e-3  # rate
use: *b  # the same
rates: [*lr, 'a, b']
more:
  <<: *b  # and more
  z: &z
    - *lr  # in a list
again: *z
"""


@pytest.mark.parametrize(
    "values",
    [
        {"base": {"x": 5}},
        {"lr": 0.5},
        {"use": {"x": 5, "new": [1]}},
        {"more": {"x": 5}},
        {"again": [1]},
        {"more": {"z": [2]}, "base": {"day": "2027-01-31"}},
    ],
)
def test_comments_stay_where_values_are_shared(tmp_path, caplog, values):
    path = tmp_path / "c.yaml"
    path.write_text(ANCHORS)
    wanted = merge(read_config(path), values)
    patch_file(path, values)
    assert read_config(path) == wanted
    new = path.read_text()
    assert all(comment in new for comment in re.findall("#.*", ANCHORS))
    assert "lr: &lr" in new or "lr" in values
    assert isinstance(yaml.safe_load(new)["base"]["day"], dt.date)
    assert not caplog.records


def test_a_file_that_is_written_anew_says_so_and_keeps_its_dates(tmp_path, caplog):
    path = tmp_path / "c.yaml"
    path.write_text("# top\nbase: &b {in: {x: 1}, day: 2026-01-31}\nmore: {<<: *b}\ntext: '2026-02-28'\n")
    patch_file(path, {"more": {"in": {"y": 2}}})
    found = yaml.safe_load(path.read_text())
    assert found["more"] == {"in": {"x": 1, "y": 2}, "day": dt.date(2026, 1, 31)}
    assert found["text"] == "2026-02-28"
    assert "# top" not in path.read_text()
    assert "c.yaml" in caplog.text
    assert "without its comments" in caplog.text


def test_values_are_written_as_every_yaml_parser_reads_them(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("lr: 0.1  # rate\nbound: .nan # none\nwait: 1\nday: 2026-01-31 # start\n")
    patch_file(path, {"lr": 1e-05, "wait": [1e22, {"x": 2.5}], "day": "2027-01-31"})
    found = yaml.safe_load(path.read_text())
    assert (found["lr"], found["wait"]) == (1e-05, [1e22, {"x": 2.5}])
    assert found["day"] == dt.date(2027, 1, 31), "what was a date stays one"
    assert "# rate" in path.read_text()
    assert "# none" in path.read_text()


def test_json_keeps_its_indent(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{\n    "a": 1,\n    "b": {"c": "é"}\n}\n')
    patch_file(path, {"b": {"d": 2}})
    assert '\n    "a": 1' in path.read_text()
    assert read_config(path) == {"a": 1, "b": {"c": "é", "d": 2}}


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("c.yaml", "# top\na: 1  # one\nb:\n  c: 2\n", "# top\na: 5  # one\nb:\n  c: 2\n  d: 3\n"),
        ("c.json", '{\n  "a": 1,\n  "b": {\n    "c": 2\n  }\n}\n', None),
        ("c.toml", "a = 1 # one\n[b]\nc = 2\n", None),
    ],
)
def test_line_ends_of_windows_stay(tmp_path, name, text, wanted):
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    patch_file(path, {"a": 5, "b": {"d": 3}})
    data = path.read_bytes()
    assert data.count(b"\r\n") == data.count(b"\n") > 2
    assert read_config(path) == {"a": 5, "b": {"c": 2, "d": 3}}
    assert wanted is None or data == wanted.replace("\n", "\r\n").encode()


def test_toml_keeps_comments(tmp_path):
    pytest.importorskip("tomlkit")
    path = tmp_path / "c.toml"
    path.write_text("# top\na = 1 # one\n[b]\nc = 2\n")
    patch_file(path, {"a": 5, "b": {"d": "x"}})
    assert "# top" in path.read_text()
    assert "# one" in path.read_text()
    assert read_config(path) == {"a": 5, "b": {"c": 2, "d": "x"}}


TOML = """# top
day = 2026-01-31 # first
at = 2026-01-31T10:30:00Z
clock = 10:30:00
days = [2026-01-31, 2026-02-28]
epochs = 3
"""


def test_toml_with_dates(tmp_path):
    pytest.importorskip("tomlkit")
    path = tmp_path / "c.toml"
    path.write_text(TOML)
    found = managed_file("c.toml", root=tmp_path, overrides={"c.toml": {"epochs": 5}})
    assert path.read_text() == TOML.replace("epochs = 3", "epochs = 5"), "all else is as it was"
    assert found.types == {"day": "str", "at": "str", "clock": "str", "days": "list", "epochs": "int"}
    json.dumps([found.types, found.schema])
    values = {"day": "2027-01-01", "at": "2027-01-01T00:00:00+00:00", "clock": "11:00:00", "days": ["2027-01-01"]}
    managed_file("c.toml", root=tmp_path, overrides={"c.toml": values})
    new = read_config(path)
    assert (new["day"], new["days"]) == (dt.date(2027, 1, 1), [dt.date(2027, 1, 1)]), "what was a date stays one"
    assert (new["at"], new["clock"]) == (dt.datetime(2027, 1, 1, tzinfo=dt.UTC), dt.time(11))
    before = path.read_text()
    for wrong in ({"day": "soon"}, {"days": ["soon"]}, {"epochs": 7, "clock": "noon"}):
        with pytest.raises(ConfigError, match="expected a"):
            managed_file("c.toml", root=tmp_path, overrides={"c.toml": wrong})
    with pytest.raises(ConfigError, match="do not fit"):
        managed_file("c.toml", root=tmp_path, overrides={"c.toml": {"day": 5}})
    assert path.read_text() == before


def test_dates_of_toml_are_checked_before_the_job_runs():
    day, moment = dt.date(2026, 1, 31), dt.datetime(2026, 1, 31, 10, 30, tzinfo=dt.UTC)
    schema = infer_schema(
        {"day": day, "at": dt.time(10, 30), "when": moment, "days": [day, day], "mixed": [day, moment]}
    )
    fine = {"day": "2026-02-28", "at": "23:59", "when": "2026-02-28T10:30:00Z", "days": ["2026-02-28"], "mixed": ["x"]}
    assert validate(fine, schema) == []
    wrong = {"day": "2026-02-30", "at": "24:61", "when": "soon", "days": ["2026-02-28", "no"]}
    assert [problem.where for problem in validate(wrong, schema)] == ["$.day", "$.at", "$.when", "$.days[1]"]


def test_toml_without_tomlkit_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tomlkit", None)
    path = tmp_path / "c.toml"
    path.write_text("a = 1\n")
    with pytest.raises(UnsupportedError, match="tomlkit"):
        patch_file(path, {"a": 2})
    assert path.read_text() == "a = 1\n"


def test_a_managed_file(tmp_path):
    (tmp_path / "c.yaml").write_text(YAML)
    found = managed_file(
        "c.yaml", ["learning_rate", "opt"], ["opt.sub"], root=tmp_path, overrides={"c.yaml": {"learning_rate": 0.5}}
    )
    assert read_config(tmp_path / "c.yaml")["learning_rate"] == 0.5
    assert found.content["learning_rate"] == 0.5
    assert found.types["opt"] == {"name": "str", "betas": "list"}
    before = (tmp_path / "c.yaml").read_text()
    with pytest.raises(ConfigError) as caught:
        managed_file(
            "c.yaml", ["learning_rate"], root=tmp_path, overrides={"c.yaml": {"learning_rate": "fast", "model": "x"}}
        )
    assert len(caught.value.problems) == 3
    assert (tmp_path / "c.yaml").read_text() == before


@pytest.mark.parametrize("path", ["../c.yaml", "/c.yaml", "~/c.yaml", "c.ini"])
def test_files_that_cannot_be_managed(tmp_path, path):
    with pytest.raises(UsageError):
        managed_file(path, root=tmp_path, overrides={})


@pytest.mark.parametrize(
    ("name", "text"), [("c.yaml", "- 1"), ("c.yaml", "a: ["), ("c.json", "{"), ("c.toml", "a="), ("d.yaml", "")]
)
def test_files_that_are_damaged(tmp_path, name, text):
    if text:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=name):
        managed_file(name, root=tmp_path, overrides={})


# -- policy ---------------------------------------------------------------------------------------------------------


def test_effective_policies():
    found = effective_policy(
        LaunchPolicy(retries={"exit-code": 2}, stop_grace=0.0), LaunchPolicy(retries={"infrastructure": 3}, deadline=9)
    )
    assert found.retries == {"infrastructure": 3, "preemption": 5, "out-of-memory": 0, "exit-code": 2}
    assert (found.stop_grace, found.deadline, found.start_timeout, found.queue_timeout) == (0.0, 9, 1800, None)


def test_retries_end_with_their_budget():
    policy = effective_policy(
        LaunchPolicy(retries={"exit-code": 3}, retry_delay=10, retry_max_delay=25), LaunchPolicy()
    )
    run, delays = Run(id="r"), []
    reason = Reason(code="exit-code", context={"exit_code": 1})
    while (retry := next_retry(policy, run, reason)) is not None:
        delays.append(retry.delay)
        run = attrs.evolve(run, reason=retry.reason)
    assert delays == [10, 20, 25]
    assert retries_used(run) == {"exit-code": 3}
    preempted = next_retry(policy, run, Reason(code="preempted"))
    assert preempted is not None
    assert preempted.cause == "preemption"


@pytest.mark.parametrize("code", ["config", "macro", "secret", "stopped-by-user", "deadline", "usage", "fenced"])
def test_what_is_never_retried(code):
    policy = effective_policy(
        LaunchPolicy(retries=dict.fromkeys(("infrastructure", "exit-code", "preemption"), 9)), LaunchPolicy()
    )
    assert next_retry(policy, Run(id="r"), Reason(code=code), retryable=True) is None


def test_exit_codes_and_retryable_errors():
    policy = effective_policy(
        LaunchPolicy(retries={"exit-code": 1, "infrastructure": 1}, retry_exit_codes=(75,)), LaunchPolicy()
    )
    assert next_retry(policy, Run(id="r"), Reason(code="exit-code", context={"exit_code": 1})) is None
    assert next_retry(policy, Run(id="r"), Reason(code="exit-code", context={"exit_code": 75})) is not None
    assert next_retry(policy, Run(id="r"), Reason(code="build")) is None
    assert next_retry(policy, Run(id="r"), Reason(code="build"), retryable=True) is not None


def test_exit_codes_are_opened_by_their_name_only():
    wish = LaunchPolicy(retry_exit_codes=(1, 75))
    queue = Queue(entity="team", name="q", resource="process", policy=LaunchPolicy(retry_exit_codes=(75,)))
    for most in (None, LaunchPolicy(attempt_timeout=60.0), LaunchPolicy(retry_exit_codes=(75, 76))):
        (problem,) = check_wishes(wish, attrs.evolve(queue, policy_max=most))
        assert problem.where == "$.policy.retry_exit_codes"
    assert check_wishes(wish, attrs.evolve(queue, policy_max=LaunchPolicy(retry_exit_codes=(1,)))) == []
