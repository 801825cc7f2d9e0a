"""Script headers, secrets by reference, lock files, and the jobs that runs leave."""

from __future__ import annotations

import shutil

import pytest
from attrs import evolve

from windlass.config.secrets import SecretResolver
from windlass.errors import ConfigError, SecretError
from windlass.launch import lockfiles
from windlass.launch.automatic import Entry, GitState, automatic_job, inputs_of
from windlass.launch.installed import unmet
from windlass.launch.request import LaunchRequest
from windlass.launch.requirements import find_requirements, python_version
from windlass.launch.schema import validate
from windlass.launch.script import read_header, script_settings, with_script
from windlass.launch.secret_env import resolve_secrets, secret_references, take_secrets
from windlass.launch.submit import resolve
from windlass.models.queue import Queue
from windlass_testkit.services import search_path

HEADER = """#!/usr/bin/env python
# /// script
# requires-python = ">=3.12"
# dependencies = [
#   "numpy>=2",
# ]
# [tool.windlass]
# queue = "gpu"
# project = "mine"
# args = ["--fast"]
# run_config = {lr = 0.1, seed = 1}
# ///
"""


def test_a_header_is_read():
    found = read_header(HEADER, "a.py")
    assert (found.dependencies, found.requires_python) == (("numpy>=2",), ">=3.12")
    assert (found.settings.queue, found.settings.run_config) == ("gpu", {"lr": 0.1, "seed": 1})
    assert read_header("print('# /// script')\n", "a.py") is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("#\n# queue =\n", r"a\.py:3: .* not well-formed TOML"),
        ("# dependencies = [\n#   'a',\n", r"a\.py:\d: .* not well-formed TOML"),
        ("# dependencies = 'numpy'\n", "list of texts"),
        ("# requires-python = 3\n", "expected a text"),
        ("# [tool.windlass]\n# qeue = 'a'\n", r"a\.py:3 \(\$\.tool\.windlass\.qeue\)"),
        ("# tool.windlass = 3\n", "expected a table"),
        ("#\n# ///\n\n# /// script\n#\n", "two"),
    ],
)
def test_headers_that_do_not_fit(body, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_header(f"# /// script\n{body}# ///\n", "a.py")
    assert "a.py" in str(caught.value)


def test_all_problems_of_a_header_are_said_with_its_lines(world, tmp_path):
    script = tmp_path / "a.py"
    lines = ["dependencies = 'numpy'", "requires-python = 3", "[tool.windlass]", "qeue = 'a'", "priority = 'hot'",
             "depends-on = ['nobody']", "entry-point = \"python 'x\"", "[tool.windlass.run_config]", "lr = nan",
             "when = 2026-01-31", "[tool.windlass.policy]", "stop_grace = -1", "bogus = 2"]  # fmt: skip

    def said(*left_out):
        text = "".join(f"# {line}\n" for line in lines if not line.startswith(left_out))
        script.write_text(f"import sys\r\n# /// script\n{text}# ///\n")
        with pytest.raises(ConfigError) as caught:
            resolve(LaunchRequest(uri=str(script), resource="bare"), **world.given)
        return {problem.where.removeprefix(f"{script}:") for problem in caught.value.problems}

    table = "$.tool.windlass"
    assert said("nothing") == {
        "3 ($.dependencies)", "4 ($.requires-python)", f"6 ({table}.qeue)", f"9 ({table}.entry_point)",
        f"15 ({table}.policy.bogus)",
    }  # fmt: skip
    assert said("dep", "req", "qeue", "entry", "bogus") == {
        f"4 ({table}.priority)", f"6 ({table}.run_config.lr)", f"9 ({table}.policy.stop_grace)",
    }  # fmt: skip
    assert f"5 ({table}.depends_on[0])" in said("dependencies", "req", "qeue", "entry", "bogus")
    script.write_text("# /// script\n# [tool.windlass.run_config]\n# when = 2026-01-31\n# ///\n")
    assert resolve(LaunchRequest(uri=str(script), resource="bare"), **world.given).item.config == {"when": "2026-01-31"}


def test_flags_win_over_a_header(world, tmp_path):
    script = tmp_path / "job" / "a.py"
    script.parent.mkdir()
    script.write_text(HEADER)
    asked = LaunchRequest(uri=str(script))
    assert (with_script(asked).queue, with_script(asked).project) == ("gpu", "mine")
    here = with_script(evolve(asked, resource="bare", project="other"))
    assert (here.queue, here.project) == ("", "other")
    assert script_settings(LaunchRequest(uri=str(tmp_path))).queue == ""
    world.store.queues.create(Queue(entity="team", name="gpu", resource="bare"))
    found = resolve(evolve(asked, set=("lr=0.5",)), **world.given)
    assert (found.item.config, found.item.spec.args) == ({"lr": 0.5, "seed": 1}, ("--fast",))
    assert found.origins["run_config.lr"] == "flag"
    assert found.origins["run_config.seed"] == found.origins["args"] == "script"
    assert find_requirements(script.parent, (), ("python", "a.py")).lines == ("numpy>=2",)
    assert python_version(script.parent, "", ("python", "a.py")) != "3.11"


def test_secrets_are_taken_out_of_a_queues_config():
    ref = {"secret": "env/X"}
    assert take_secrets({"secrets": {"A": ref, "B": "file//k"}, "env": ["S=1", {"C": ref}]}) == (
        {"env": ["S=1"]},
        {"A": "env/X", "B": "file//k", "C": "env/X"},
    )
    assert take_secrets({"env": {"S": "1", "C": ref}}) == ({"env": ["S=1"]}, {"C": "env/X"})
    assert take_secrets({"image": {"env": ref}}) == ({"image": {"env": ref}}, {})
    with pytest.raises(ConfigError) as caught:
        secret_references({"1A": "env/X", "WINDLASS_API_KEY": "env/X", "B": 5, "C": "plain"})
    assert len(caught.value.problems) == 4
    assert resolve_secrets({"A": "env/X"}, SecretResolver({"X": "hush"})) == {"A": "hush"}
    with pytest.raises(SecretError, match="X is not set"):
        resolve_secrets({"A": "env/X"}, SecretResolver({}))


def test_environment_files_of_conda(tmp_path):
    (tmp_path / "environment.yml").write_text(
        "dependencies: [python=3.11, conda-forge::pip, {pip: [numpy>=2, windlass]}]\n"
    )
    assert find_requirements(tmp_path).lines == ("numpy>=2",)
    (tmp_path / "environment.yml").write_text("dependencies: [python=3.11, cudatoolkit=11]\n")
    with pytest.raises(ConfigError, match="cudatoolkit"):
        find_requirements(tmp_path)
    bomb = ["a0: &a0 {x: 1}"]
    bomb += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 20)]
    for text, problem in (
        (bomb, "values"),
        (["dependencies: [a"], "environment.yml:1"),
        (["- !!python/name:os.x"], "tag"),
    ):
        (tmp_path / "environment.yml").write_text("\n".join(text))
        with pytest.raises(ConfigError) as caught:
            find_requirements(tmp_path)
        assert problem in str(caught.value)


PROJECT = '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["six"]\n'
LOCK = """version = 1
requires-python = ">=3.11"

[[package]]
name = "p"
version = "1"
source = { virtual = "." }
dependencies = [{ name = "six" }]

[package.metadata]
requires-dist = [{ name = "six" }]

[[package]]
name = "six"
version = "1.17.0"
source = { registry = "https://packages.example/" }
wheels = [
    { url = "https://example.org/six-1.17.0-py2.py3-none-any.whl", hash = "sha256:HASH" },
]
"""


def test_lock_files_are_exported_by_their_tools(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "uv.lock").write_text(LOCK.replace("HASH", "4721f391ed90541f" * 4))
    monkeypatch.setenv("PATH", search_path())
    if shutil.which("uv"):
        found = find_requirements(tmp_path)
        assert (found.origin, found.lines) == ("uv.lock", ("six==1.17.0",))
        (tmp_path / "uv.lock").write_text("nonsense")
        with pytest.raises(ConfigError, match="cannot export"):
            find_requirements(tmp_path)
    monkeypatch.setattr(lockfiles, "program", lambda name: "")
    with pytest.raises(ConfigError, match=r"uv\.lock needs the program uv"):
        find_requirements(tmp_path)
    (tmp_path / "uv.lock").rename(tmp_path / "poetry.lock")
    found = find_requirements(tmp_path)
    assert (found.origin, found.lines, len(found.notes)) == ("pyproject.toml", ("six",), 1)
    (tmp_path / "pyproject.toml").write_text('[tool.poetry]\nname = "p"\n')
    with pytest.raises(ConfigError, match="poetry export"):
        find_requirements(tmp_path)


def test_what_is_not_met_beside_the_agent(tmp_path):
    text = "attrs\nattrs==0.1\nattrs>=9999\nno-such-thing>=1\nattrs; python_version < '3'\n-r more.txt\n"
    (tmp_path / "requirements.txt").write_text(text)
    (tmp_path / "more.txt").write_text("no-such-other\n")
    assert unmet(find_requirements(tmp_path), tmp_path) == (
        "attrs==0.1",
        "attrs>=9999",
        "no-such-thing>=1",
        "no-such-other",
    )


@pytest.mark.parametrize(
    ("line", "met"),
    [
        ("pkg", True), ("Pkg==2.5.1", True), ("pkg==2.5", False), ("pkg == 2.5.*", True), ("pkg==2.4.*", False),
        ("pkg>=2,<3", True), ("pkg>=2,<2.5", False), ("pkg (>2.5)", True), ("pkg<=2.5.1", True), ("pkg~=2.4", True),
        ("pkg~=2.5.0", True), ("pkg~=2.4.0", False), ("pkg!=2.5.1", False), ("pkg!=2.4.*", True), ("pkg===2.5.1", True),
        ("pkg==2.5.1; python_version < '3'", True), ("pkg==1; python_version < '3'", False), ("pkg>=2.0rc1", False),
        ("pkg[extra]", False), ("pkg @ https://h.example/pkg.whl", False), ("./pkg.whl", False), ("-e .", False),
        ("pkg==2.5.1 --hash=sha256:aa", True), ("--extra-index-url " + "https://h.example/", True), ("pkg>>2", False),
        ("local==1.2", True), ("local==1.2+cpu", True), ("local==1.2+gpu", False), ("local>=1.1", True),
    ],
)  # fmt: skip
def test_what_is_installed_is_compared(tmp_path, monkeypatch, line, met):
    for name, version in (("pkg", "2.5.1"), ("local", "1.2+cpu")):
        info = tmp_path / "site" / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (tmp_path / "requirements.txt").write_text(f"{line}\n")
    assert unmet(find_requirements(tmp_path), tmp_path) == (() if met else (line,))


def test_the_job_of_a_run(tmp_path):
    (tmp_path / "sub").mkdir()
    script = tmp_path / "sub" / "train.py"
    script.touch()
    entry = Entry(folder=str(tmp_path / "sub"), script=str(script))
    git = GitState(root=str(tmp_path), remote="https://host/team/repo.git", commit="a" * 40, patch=b"diff")
    given = {"config": {"lr": 1}, "summary": {"loss": 0.5, "_step": 3}, "notes": {}}
    found = automatic_job(entry=entry, git=git, code="e/p/c:v0", image="img:1", requirements=("six==1",), **given)
    source = found.spec.source
    assert (source.remote, source.build_context, source.entry_point) == (git.remote, "sub", ("python", "train.py"))
    assert (found.name, found.patch) == ("job-https___host_team_repo.git-sub_train.py", b"diff")
    assert (found.spec.output_types, found.spec.requirements) == ({"loss": "float"}, ("six==1",))
    assert automatic_job(entry=entry, code="e/p/code-x:v0", **given).name == "job-code-x"
    assert automatic_job(entry=entry, image="host/team/img:1", name="mine", **given).name == "mine"
    assert automatic_job(entry=Entry(folder=str(tmp_path)), git=git, **given) is None


def test_inputs_nobody_declared_bound_types_and_no_keys():
    schemas, types = inputs_of({"a": {"n": 1, "s": "x"}}, {})
    schema = schemas["@windlass.config"]
    assert types == {"@windlass.config": {"a": {"n": "int", "s": "str"}}}
    assert not validate({"a": {"n": 0.5, "new": 1}, "other": 2}, schema, "$")
    assert validate({"a": {"s": 1}}, schema, "$")
    declared = {"input_schemas": {"files": {"c.yaml": {}}}, "input_types": {}}
    assert inputs_of({"a": 1}, declared) == ({"files": {"c.yaml": {}}}, {})
