"""Image references, job names, templates, macros and paths: grammars that must be total."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.errors import MacroError, Problem, UsageError
from windlass.launch import macros, templates
from windlass.launch.images import parse_image
from windlass.launch.names import code_name, default_job_name, name_problem, sanitise
from windlass.launch.paths import covered, dotted, leaves, merge, parse_path, parse_paths, select
from windlass.models.queue import TemplateVariable

JSON_TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=30)
    | st.sampled_from(["{{a}}", "${run_id}", "x{{b}}y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


# -- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "path", "target"),
    [
        ("python", "docker.io", "library/python", "latest"),
        ("python:3.12-slim", "docker.io", "library/python", "3.12-slim"),
        ("docker.io/python:3", "docker.io", "library/python", "3"),
        ("team/app", "docker.io", "team/app", "latest"),
        ("localhost/app", "localhost", "app", "latest"),
        ("localhost:5000/team/app:v1", "localhost:5000", "team/app", "v1"),
        ("ghcr.io/a/b/c:x", "ghcr.io", "a/b/c", "x"),
        ("[::1]:5000/a:b", "[::1]:5000", "a", "b"),
        (f"r.example.com/a@sha256:{'0' * 64}", "r.example.com", "a", f"sha256:{'0' * 64}"),
        (f"r.example.com/a:t@sha256:{'0' * 64}", "r.example.com", "a", f"sha256:{'0' * 64}"),
    ],
)
def test_image_references(text, host, path, target):
    ref = parse_image(text)
    assert (ref.host, ref.path, ref.target) == (host, path, target)
    assert str(ref) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a b",
        "A/b:c d",
        "a/B",
        "a:",
        "a:-x",
        "https://a/b",
        "a@sha256:1",
        "a@",
        "a//b",
        "/a",
        "a/",
        "-a/b",
        "a\nb",
        "x" * 300,
        "a:" + "t" * 129,
    ],
)
def test_what_is_no_image(text):
    with pytest.raises(UsageError) as caught:
        parse_image(text, "--docker-image")
    assert caught.value.where == "--docker-image"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost:5000", True),
        ("127.0.0.1:1", True),
        ("[::1]:5", True),
        ("127.evil.example", False),
        ("localhost.example:1", False),
    ],
)
def test_loopback(host, loopback):
    assert parse_image(f"{host}/a").is_loopback is loopback


@given(st.text(max_size=60))
def test_any_text_is_an_image_or_a_usage_error(text):
    try:
        assert str(parse_image(text)) == text
    except UsageError:
        pass


# -- names ----------------------------------------------------------------------------------------------------------


def test_default_job_names():
    remote = "https://github.com/org/repo.git"
    assert default_job_name(remote=remote, script="src/train.py") == "job-https___github.com_org_repo.git-src_train.py"
    assert default_job_name(code=code_name("my project")) == "job-code-my_project"
    assert default_job_name(image="ghcr.io/org/app:v3") == "job-ghcr.io_org_app"


@given(st.text(max_size=400))
def test_sanitised_names_are_names(text):
    name = sanitise(text)
    assert name_problem(name, "--job-name") is None
    assert len(name) <= 128


def test_long_names_keep_their_ends():
    name = sanitise("a" * 100 + "b" * 100)
    assert name == "a" * 63 + ".." + "b" * 63


# -- paths ----------------------------------------------------------------------------------------------------------


def test_paths():
    assert parse_path("trainer.private") == ("trainer", "private")
    assert parse_path(r"trainer\.private") == ("trainer.private",)
    assert parse_path(r"a\\.b") == ("a\\", "b")


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a\\", "a\\b", "\\"])
def test_paths_that_cannot_be_read(text):
    with pytest.raises(UsageError) as caught:
        parse_path(text, "include")
    assert caught.value.where == "include"


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5).map(tuple))
def test_dotted_is_the_inverse(path):
    assert parse_path(dotted(path)) == path


@given(st.text(alphabet="ab.\\", max_size=30))
def test_every_path_ends(text):
    try:
        assert all(parse_path(text))
    except UsageError as error:
        assert error.hint  # noqa: PT017


def test_a_single_text_is_not_taken_for_a_list():
    with pytest.raises(UsageError, match="list of paths"):
        parse_paths("trainer")


def test_select_as_documented():
    config = {
        "trainer": {"learning_rate": 0.01, "batch_size": 32, "private": {"key": "value"}},
        "trainer.private": 1,
        "seed": 42,
    }
    before = str(config)
    chosen = select(config, [("trainer",)], [("trainer", "private")])
    assert chosen == {"trainer": {"learning_rate": 0.01, "batch_size": 32}}
    assert select(config, [], [("trainer",)]) == {"trainer.private": 1, "seed": 42}
    assert str(config) == before


@given(st.dictionaries(st.text(min_size=1, max_size=4), JSON_TREES, max_size=4))
def test_select_all_is_everything(tree):
    assert dict(leaves(select(tree, [], []))) == dict(leaves(tree))
    assert merge(tree, tree) == tree
    assert all(covered(path, [path[:1]]) for path, _ in leaves(tree))


# -- templates ------------------------------------------------------------------------------------------------------

CONFIG = {"cpus": "{{ cpus }}", "env": ["A={{name}}-{{cpus}}"], "plain": 1, "{{key}}": 2}
DECLARED = {
    "cpus": TemplateVariable(type="integer", default=2, minimum=1, maximum=8),
    "name": TemplateVariable(enum=("a", "b=c")),
}


def test_fields_are_found_in_values_only():
    assert templates.fields(CONFIG) == ("cpus", "name")
    assert templates.parse_templates(CONFIG, {})["cpus"] == TemplateVariable()


def test_values_get_their_types():
    values, problems = templates.template_values(CONFIG, DECLARED, {"name": "b=c", "cpus": "4"})
    assert (values, problems) == ({"name": "b=c", "cpus": 4}, [])
    filled = templates.fill(CONFIG, values)
    assert filled == {"cpus": 4, "env": ["A=b=c-4"], "plain": 1, "{{key}}": 2}


def test_assignments_split_at_the_first_sign():
    assert templates.parse_assignment("a=b=c", "-v") == ("a", "b=c")
    assert isinstance(templates.parse_assignment("a", "-v"), Problem)


@pytest.mark.parametrize(
    ("given_values", "message"),
    [
        ({}, "needs a value"),
        ({"name": "c"}, "not allowed"),
        ({"name": "a", "cpus": 9}, "above the maximum"),
        ({"name": "a", "cpus": "0"}, "below the minimum"),
        ({"name": "a", "cpus": "many"}, "whole number"),
        ({"name": "a", "cpus": 1.5}, "whole number"),
        ({"name": "a", "cpus": True}, "whole number"),
        ({"name": "a", "cpus": float("nan")}, "whole number"),
        ({"name": "a", "cpus": {"secret": "env/X"}}, "whole number"),
        ({"name": "a", "cpu": 1}, "did you mean 'cpus'"),
    ],
)
def test_values_that_do_not_fit(given_values, message):
    _, problems = templates.template_values(CONFIG, DECLARED, given_values)
    assert len(problems) == 1
    assert message in str(problems[0])
    assert problems[0].where.startswith("$.template_values.")


def test_declarations_that_do_not_fit():
    declared = {
        "cpus": TemplateVariable(type="int"),
        "name": TemplateVariable(minimum=1),
        "a b": TemplateVariable(),
    }
    found = "\n".join(map(str, templates.check_templates(declared)))
    assert "unknown type 'int'" in found
    assert "a text has no minimum" in found
    assert "'a b' can be no field" in found
    wrong = {"cpus": TemplateVariable(type="integer", minimum=5, maximum=1, default=9, enum=("x",))}
    assert len(templates.check_templates(wrong)) == 3


@pytest.mark.parametrize(
    ("kind", "enum", "given_", "fits"),
    [
        ("string", (1, 2.0), ["1", 1, "2", 2.0], ["1", "1", "2", "2"]),
        ("integer", ("1", 2), ["1", 1, 2.0], [1, 1, 2]),
        ("float", ("0.5", 1), [0.5, "1"], [0.5, 1.0]),
    ],
)
def test_allowed_values_are_brought_to_the_type_too(kind, enum, given_, fits):
    variable = TemplateVariable(type=kind, enum=enum, default=enum[0])
    assert templates.check_templates({"x": variable}) == []
    for value, wanted in zip(given_, fits, strict=True):
        assert templates.template_values({"a": "{{x}}"}, {"x": variable}, {"x": value}) == ({"x": wanted}, [])
    _, (problem,) = templates.template_values({"a": "{{x}}"}, {"x": variable}, {"x": "7"})
    assert "is not allowed" in problem.message


def test_fields_are_listed_with_their_places():
    config = {"env": ["A={{a}}", "B={{ b }}-{{a}}-{{a}}"], "docker": {"cpus": "{{c}}"}}
    declared = {"a": TemplateVariable(type="integer", default=1), "bb": TemplateVariable()}
    found = {field.name: field for field in templates.found_fields(config, declared)}
    assert {name: field.paths for name, field in found.items()} == {
        "a": ("$.env[0]", "$.env[1]"),
        "b": ("$.env[1]",),
        "c": ("$.docker.cpus",),
        "bb": (),
    }
    assert [name for name, field in found.items() if field.declared] == ["a", "bb"]
    assert found["a"].variable == declared["a"]
    assert templates.unused(config, declared) == {"bb": "b"}
    missing = templates.undeclared(config, declared)
    assert [problem.where for problem in missing] == ["$.env[1]", "$.docker.cpus"]
    assert "did you mean 'bb'" in missing[0].hint


@given(JSON_TREES, st.text(max_size=20), st.integers())
def test_filling_is_total_and_keeps_values_literal(config, text, number):
    values = dict.fromkeys(templates.fields(config), text) | ({"b": number} if "b" in templates.fields(config) else {})
    filled = templates.fill(config, values)
    run = dict.fromkeys(macros.MACROS, "M")
    problems = macros.unknown_macros(templates.fill(config, dict.fromkeys(values, "")))
    if not problems:
        macros.expand(filled, run)


@given(st.text(alphabet="a{}$ ", max_size=20) | st.text(max_size=30))
def test_template_values_are_never_macros(value):
    filled = templates.fill({"x": "{{a}}", "y": "<{{a}}>"}, {"a": value})
    assert macros.expand(filled, {}) == {"x": value, "y": f"<{value}>"}


# -- macros ---------------------------------------------------------------------------------------------------------


def test_macros():
    config = {"a": "${run_id}-${author}", "b": ["$${run_id}", "$$${x}", "$HOME"], "${run_id}": 1}
    assert macros.expand(config, {"run_id": "r1", "author": "me"}) == {
        "a": "r1-me",
        "b": ["${run_id}", "$${x}", "$HOME"],
        "${run_id}": 1,
    }


def test_the_agents_environment_cannot_be_read(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    with pytest.raises(MacroError) as caught:
        macros.expand({"a": [{"b": "${AWS_SECRET_ACCESS_KEY}"}], "c": "${HOME}"}, {})
    assert [problem.where for problem in caught.value.problems] == ["$.a[0].b", "$.c"]
    assert "hush" not in str(caught.value)


@given(st.text(alphabet="${}run_id ", max_size=40))
def test_escaped_text_comes_back(text):
    assert macros.expand(macros.escape(text), {}) == text


@given(JSON_TREES)
def test_macros_are_total(config):
    try:
        macros.expand(config, {})
    except MacroError as error:
        assert error.problems  # noqa: PT017


@pytest.mark.parametrize("texts", [("a=1", "a.b=2"), ("a.b=2", "a=1"), ("a.b.c=1", "x=1", "a.b={}")])
def test_a_value_and_a_key_below_it_cannot_both_be_set(texts):
    from windlass.launch.request import parse_sets

    (problem,) = parse_sets(texts)[1]
    assert "cannot both be set" in problem.message


def test_a_place_for_what_a_trigger_fills_in_is_a_text():
    from windlass.launch.request import parse_sets

    texts = ("data={{artifact}}", "name=run of {{version}}", "lr=1e-3", "empty=")
    assert parse_sets(texts) == (
        {"data": "{{artifact}}", "name": "run of {{version}}", "lr": 1e-3, "empty": ""},
        [],
    )
    (problem,) = parse_sets(("data={a: 1, a: 2}",))[1]
    assert "twice" in problem.message


def test_settings_beside_each_other_and_repeated_ones_are_no_conflict():
    from windlass.launch.request import parse_sets

    assert parse_sets(("a.b=1", "a.c=2", "ab=3", "a.b=4")) == ({"a": {"b": 4, "c": 2}, "ab": 3}, [])


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "x" * 129])
def test_names_of_runs_that_are_refused(name):
    from windlass.launch.names import run_name_problem

    assert run_name_problem(name, "--name") is not None
    assert run_name_problem("Übung 1, zweiter Anlauf", "--name") is None


def test_the_last_failure_tells_of_the_retries_before_it():
    from windlass.launch.policy import told_retries
    from windlass.models.launch import LaunchPolicy
    from windlass.models.reason import Reason
    from windlass.models.run import Run

    policy = LaunchPolicy(retries={"exit-code": 2})
    reason = Reason(code="exit-code", message="it ended with exit code 7", hint="See its log.")
    run = Run(id="r", entity="e", project="p")
    assert told_retries(policy, run, reason) == reason
    again = Run(id="r", entity="e", project="p", reason=Reason(code="exit-code", context={"retries": {"exit-code": 2}}))
    told = told_retries(policy, again, reason)
    assert told.hint == "See its log. Retries used: 2 of 2 for exit-code."
    assert told.context["retries"] == {"exit-code": 2}


def test_a_reason_names_all_problems_of_a_configuration():
    from windlass.errors import ConfigError
    from windlass.models.reason import Reason

    error = ConfigError("it does not fit", where="r", problems=[Problem("a", where="$.a"), Problem("b", where="$.b")])
    assert Reason.from_error(error).message == "r: it does not fit\n  $.a: a\n  $.b: b"
