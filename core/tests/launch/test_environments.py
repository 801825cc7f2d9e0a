"""Environments of jobs that run without images: when one is made, which Python it has, and what stays in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata

import pytest

from windlass.errors import BuildError, ConfigError
from windlass.launch import venv
from windlass.launch.buildlog import build_error
from windlass.launch.dockerfile import ImagePlan, generate
from windlass.launch.installed import beside
from windlass.launch.request import LaunchRequest
from windlass.launch.requirements import Requirements, find_requirements
from windlass.launch.submit import resolve
from windlass.launch.wheels import job_requirements, pack_wheels
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass_testkit.services import search_path


class Log:
    def __init__(self):
        self.text = ""

    def write(self, data):
        self.text += data.decode()

    def phase(self, name):
        pass


def plan(root, choice, script=False):
    source = JobSource(kind=SourceKind.CODE, entry_point=("python", "a.py"))
    (root / "a.py").write_text('# /// script\n# dependencies = ["attrs"]\n# ///\n' if script else "")
    return venv.plan_environment(LaunchSpec(source=source), root, choice)


def test_when_an_environment_is_made(tmp_path):
    (tmp_path / "requirements.txt").write_text("attrs\n")
    assert not plan(tmp_path, "auto").wanted
    assert plan(tmp_path, "always").wanted
    assert plan(tmp_path, "auto", script=True).wanted
    (tmp_path / "requirements.txt").write_text("no-such-thing\n")
    assert plan(tmp_path, "auto").wanted
    never = plan(tmp_path, "never")
    assert not never.wanted
    assert "WARNING" in never.notes[0]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("runtime.txt", "python-3.14"),
        (".python-version", "3.14.1\n"),
        ("pyproject.toml", '[project]\nrequires-python = ">=3.14"\n'),
    ],
)
def test_another_python_needs_an_environment(tmp_path, file, text):
    (tmp_path / file).write_text(text)
    found = plan(tmp_path, "auto")
    assert (found.wanted, found.python) == (True, "3.14")
    never = plan(tmp_path, "never")
    assert not never.wanted
    assert "WARNING: the code asks for Python 3.14" in never.notes[0]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("pyproject.toml", '[project]\nrequires-python = ">=4"\n', "no Python from 3.11"),
        ("pyproject.toml", '[project]\nrequires-python = "three"\n', "no version specifier"),
        ("runtime.txt", "3.9\n", "3.9 is too old"),
        ("runtime.txt", "python-2.7.18", "too old"),
        ("runtime.txt", "abc", "no Python version"),
        (".python-version", "3.9\n", "too old"),
    ],
)
def test_a_python_version_that_cannot_be_had(tmp_path, file, text, said):
    (tmp_path / file).write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        plan(tmp_path, "auto")
    assert file in caught.value.where
    assert f"On the agent's machine is Python 3.{sys.version_info.minor}" in caught.value.hint
    never = plan(tmp_path, "never")
    assert (never.wanted, file in never.notes[0]) == (False, True)


def test_a_python_that_nobody_has(tmp_path, monkeypatch):
    (tmp_path / "runtime.txt").write_text("3.99")
    monkeypatch.setenv("PATH", search_path())
    found = plan(tmp_path, "auto")
    with pytest.raises(ConfigError, match=r"no Python 3\.99 on the agent's machine") as caught:
        found.make(tmp_path / "cache", Log())
    assert caught.value.where == "runtime.txt"


@pytest.mark.parametrize("wanted", [">=3.8", ">=3.11.0rc1,", ">=3.9,!=3.9.7,<5", "==3.*", "~=3.11"])
def test_a_range_with_the_agents_python_needs_no_environment(tmp_path, wanted):
    (tmp_path / "pyproject.toml").write_text(f'[project]\nrequires-python = "{wanted}"\n')
    assert not plan(tmp_path, "auto").wanted
    (tmp_path / ".python-version").write_text("3\n")
    assert not plan(tmp_path, "auto").wanted


def test_a_version_in_a_header_is_checked_at_submission(world, tmp_path):
    (tmp_path / "a.py").write_text('# /// script\n# [tool.windlass]\n# python = "three"\n# ///\n')
    with pytest.raises(ConfigError, match="'three' is no Python version") as caught:
        resolve(LaunchRequest(uri=str(tmp_path / "a.py"), resource="bare"), **world.given)
    assert "a.py:3 ($.tool.windlass.python)" in str(caught.value)


def test_a_python_version_that_is_somebodys_environment(tmp_path):
    (tmp_path / ".python-version").write_text("my-virtualenv\n")
    found = plan(tmp_path, "auto")
    assert not found.wanted
    assert ".python-version" in found.notes[0]
    (tmp_path / "requirements.txt").write_text("no-such-thing\n")
    with pytest.raises(ConfigError, match="no Python version"):
        plan(tmp_path, "auto")


def test_a_failed_environment_is_no_environment(tmp_path, monkeypatch):
    (tmp_path / "requirements.txt").write_text("no-such-thing\n")
    monkeypatch.setattr(venv, "_run", _refuse)
    with pytest.raises(BuildError, match="no-such-thing"):
        plan(tmp_path, "auto").make(tmp_path / "cache", Log())
    assert {path.suffix for path in (tmp_path / "cache" / "venvs").iterdir()} == {".lock"}
    assert not list(tmp_path.glob(".windlass-*"))


def wheel(folder, name, version):
    """A wheel that holds nothing but its name."""
    info = f"{name}-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as out:
        out.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr(f"{info}/RECORD", "")


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_what_a_job_pins_stays(tmp_path, monkeypatch, tool):
    monkeypatch.setenv("PATH", search_path())
    if tool == "pip":
        monkeypatch.setattr(venv, "program", lambda name: "")
    elif not shutil.which("uv"):
        pytest.skip("uv is not installed")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_DEFAULT_INDEX", tmp_path.as_uri())  # nothing is fetched
    (tmp_path / "code").mkdir()

    def packages(name, version):
        wheel(tmp_path, name, version)
        (tmp_path / "code" / "requirements.txt").write_text(f"{tmp_path}/{name}-{version}-py3-none-any.whl\n")
        return venv.packages(plan(tmp_path / "code", "always").make(tmp_path / "cache", Log()))

    with pytest.raises(BuildError, match=r"asks for attrs==23\.2\.0, and Windlass, .* needs attrs>="):
        packages("attrs", "23.2.0")
    if tool == "uv":  # pip takes its time
        found = packages("pluggy", "1.5.0")
        assert "pluggy==1.5.0" in found
        assert {name.partition("==")[0] for name in found} >= {"attrs", "windlass-core"}
    assert not list((tmp_path / "code").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("needs_code", [False, True])
def test_what_a_job_pins_stays_in_an_image(tmp_path, monkeypatch, needs_code):
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(tmp_path / "links"))):
        monkeypatch.setenv(f"PIP_{name}", value)
    wheel(tmp_path / "links", "pluggy", "1.5.0")
    wheel(tmp_path / "links", "attrs", "23.2.0")
    for folder in ("windlass/requirements", "home/src"):
        (tmp_path / folder).mkdir(parents=True)
    pack_wheels(tmp_path / "windlass" / "wheels", tmp_path / "cache")
    text = generate(
        ImagePlan(python="3.11", requirements=True, requirements_need_code=needs_code, windlass=job_requirements()[0],
                  wheels=True)
    ).replace("/home/windlass", str(tmp_path / "home"))  # fmt: skip
    steps = re.findall(r"(?m)^RUN --mount=\S+ (.*)$", text)
    assert len(steps) == (3 if needs_code else 2)

    def built(pin):
        """Does the steps as an engine would."""
        for folder in ("windlass/requirements", "home/src"):
            (tmp_path / folder / "requirements.txt").write_text(f"{pin}\n")
        said = ""
        for step in steps:
            here = re.sub(r"(?<=\s)/(?=env/|windlass)", f"{tmp_path}/", f" {step}")
            done = subprocess.run(
                ["sh", "-c", here], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            said += done.stdout
            if done.returncode:
                raise build_error(said)
        return {path.name for path in (tmp_path / "env").glob("lib/*/site-packages/*.dist-info")}

    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    found = built("pluggy==1.5.0")
    assert "pluggy-1.5.0.dist-info" in found
    assert [name for name in found if name.startswith("windlass_core-")]
    with pytest.raises(BuildError, match=r"asks for attrs==23\.2\.0, and Windlass, .* needs attrs>="):
        built("attrs==23.2.0")


def test_what_a_job_finds_beside_the_agent(tmp_path):
    (tmp_path / "requirements.txt").write_text("attrs>=1\nno-such-thing==1\n-r more.txt\n")
    (tmp_path / "more.txt").write_text("attrs[extra]>=1; python_version>'3'\n")
    assert beside(find_requirements(tmp_path), tmp_path) == (f"attrs=={metadata.version('attrs')}",)


def _refuse(command, cwd, log):
    if "pip" in command:
        raise build_error("ERROR: No matching distribution found for no-such-thing")


def test_dependencies_that_only_poetry_reads(tmp_path):
    project = '[tool.poetry]\nname = "p"\n[tool.poetry.dependencies]\npython = "^3.11"\n'
    (tmp_path / "pyproject.toml").write_text(project)
    assert find_requirements(tmp_path) == Requirements()
    (tmp_path / "pyproject.toml").write_text(f'{project}six = "^1.16"\n')
    with pytest.raises(ConfigError, match="only be read by poetry") as caught:
        find_requirements(tmp_path)
    assert "poetry lock" in caught.value.hint
    assert find_requirements(tmp_path, ["six==1.16"]).lines == ("six==1.16",)
    assert "poetry" in plan(tmp_path, "never").notes[0]
