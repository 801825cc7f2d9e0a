"""launch-config.yaml, environment and flags."""

from __future__ import annotations

import logging
import re
from contextlib import closing
from pathlib import Path

import attrs
import pytest
import yaml
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from windlass.artifacts.fsspec_storage import FsspecStorage
from windlass.config import option
from windlass.environments import Environment
from windlass.errors import ConfigError, WindlassError
from windlass.plugins.app import App
from windlass.plugins.types import EnvironmentPlugin, StoragePlugin
from windlass.settings import Settings
from windlass_agent.backends import Backends
from windlass_agent.config import AgentConfig, default_path, load


@frozen(kw_only=True)
class _Toy:
    endpoint: str = option(help="Where.")


@frozen(kw_only=True)
class _Nothing:
    pass


class _Cloud(Environment):
    def verify(self):
        return {}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "launch-config.yaml"
    path.write_text(text)
    return path


def test_keys_as_in_the_documents(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "max_jobs: -1\nentity: team\nqueues:\n  - a\n  - b\n"
        "environment:\n  type: azure\n"
        "builder:\n  type: docker\n  destination: https://x.azurecr.io/jobs\n"
        "registry:\n  type: oci\nrunners:\n  docker: {allow-env: [A]}\nverbosity: 2\nstopped_run_timeout: 5\n",
    )
    config = load(path, env={})
    assert (config.max_jobs, config.entity, config.queues) == (-1, "team", ("a", "b"))
    assert config.environment == {"type": "azure"}
    assert config.builder == {"type": "docker", "destination": "https://x.azurecr.io/jobs"}
    assert config.stopped_run_timeout == 5.0
    assert config.place("$.builder.type") == f"{path}:9 ($.builder.type)"


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    path = write(tmp_path, "max_jobs: 2\nentity: file\nqueues: [file]\n")
    env = {"WINDLASS_ENTITY": "env", "WINDLASS_LAUNCH_MAX_JOBS": "3", "WINDLASS_LAUNCH_QUEUES": "x, y"}
    assert load(path, env={}) == AgentConfig(max_jobs=2, entity="file", queues=("file",))
    assert load(path, env=env) == AgentConfig(max_jobs=3, entity="env", queues=("x", "y"))
    flags = {"max_jobs": 4, "queues": ("flag",), "entity": None}
    assert load(path, flags, env) == AgentConfig(max_jobs=4, entity="env", queues=("flag",))


def test_whole_names_of_queues_say_whose_agent_it_is(tmp_path: Path) -> None:
    env = {"WINDLASS_HOME": str(tmp_path), "HOME": str(tmp_path), "WINDLASS_ENTITY": "login"}
    assert load(None, {"queues": ("vision/gpu", "infra/cpu")}, env).entity == "vision"
    assert load(None, {"queues": ("vision/gpu", "cpu")}, env).entity == "login"
    assert load(None, {"queues": ("vision/gpu",), "entity": "me"}, env).entity == "me"
    file = tmp_path / "launch-config.yaml"
    file.write_text("entity: me\nqueues: [vision/gpu]\n")
    assert load(file, {}, {}).entity == "me"


def test_default_file(tmp_path: Path) -> None:
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert load(env=env) == AgentConfig()
    default_path(env).parent.mkdir()
    default_path(env).write_text("queues: q\n")
    assert load(env=env).queues == ("q",)


def test_queue_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "queue: one\n")
    with caplog.at_level(logging.WARNING):
        assert load(path, env={}).queues == ("one",)
    assert f"{path}:1" in caplog.text
    assert load(write(tmp_path, "queue: one\nqueues: two\n"), env={}).queues == ("two", "one")


@pytest.mark.parametrize(
    ("text", "line", "wanted"),
    [
        ("entity: x\nmax_job: 3\n", 2, "did you mean 'max_jobs'"),
        ("entity: x\ndocument: 5\n", 2, "unknown key 'document' (did you mean 'environment'?)"),
        ("max_jobs: many\n", 1, "a whole number"),
        ("max_jobs: -7\n", 1, "at least -1"),
        ("queues: {a: 1}\n", 1, "a list"),
        ("queue: one\nqueues: true\n", 2, "a list"),
        ("builder: docker\n", 1, "a mapping"),
        ("x: 1\nbuilder: {destination: y}\n", 1, "unknown key 'x'"),
        ("entity: e\nbuilder: {destination: y}\n", 2, "needs a type"),
        ("on-stop: flee\n", 1, "finish, hand-over"),
        ("stopped_run_timeout: -1\n", 1, "at least 0"),
        ("queues: [a\n", 2, "not well-formed"),
        ("runners: {docker: 3}\n", 1, "mapping"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path: Path, text: str, line: int, wanted: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path, env={})
    assert wanted in str(caught.value)
    assert f"{path}:{line}" in str(caught.value)


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "max_jobs: x\nbuildr: {}\nverbosity: -1\n")
    with pytest.raises(ConfigError) as caught:
        load(path, env={})
    assert len(caught.value.problems) == 3


def test_values_are_checked_beside_unknown_keys(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
queues: [q]
max_jbs: 3
builds: 0
on-stop: never
registry: {uri: x}
slots: {cpu: many, gpu: [1, 1]}
weights: {q: -1}
""",
    )
    with pytest.raises(ConfigError) as caught:
        load(path, env={})
    places = [problem.where.removeprefix(str(tmp_path)) for problem in caught.value.problems]
    assert sorted(re.sub(r"^[^:]*", "", place) for place in places) == [
        ":2 ($.max_jbs)", ":3 ($.builds)", ":4 ($.on-stop)", ":5 ($.registry)", ":6 ($.slots.cpu)", ":6 ($.slots.gpu)",
        ":7 ($.weights.q)",
    ]  # fmt: skip


def test_a_missing_file_and_a_bad_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load(tmp_path / "none.yaml", env={})
    with pytest.raises(ConfigError, match="WINDLASS_LAUNCH_MAX_JOBS"):
        load(write(tmp_path, ""), env={"WINDLASS_LAUNCH_MAX_JOBS": "x"})
    with pytest.raises(ConfigError, match="at least -1"):
        load(write(tmp_path, ""), {"max_jobs": -2}, env={})
    with pytest.raises(ConfigError, match="at least -1, got '-2'"):
        load(write(tmp_path, ""), env={"WINDLASS_LAUNCH_MAX_JOBS": "-2"})
    with pytest.raises(ConfigError, match="1 problem in"):
        load(write(tmp_path, "max_jobs: -7\n"), env={})


def test_storages_get_their_settings_and_the_environments_credentials(tmp_path: Path) -> None:
    given = []
    plugin = StoragePlugin(
        name="toy",
        summary="For this test",
        schemes=("toy",),
        config=_Toy,
        create=lambda config, context: given.append((config, context.environment)) or FsspecStorage("memory"),
    )
    environment = EnvironmentPlugin(
        name="cloud", summary="For this test", config=_Nothing, create=lambda config, context: _Cloud()
    )
    path = write(tmp_path, "environment: {type: cloud}\nstorage:\n  toy: {endpoint: here}\n")
    home = tmp_path / "home"
    home.mkdir()
    (home / "storage.yaml").write_text("toy: {endpoint: elsewhere}\n")
    with closing(App(Settings.from_env({"WINDLASS_HOME": str(home)}))) as app:
        app.register(plugin)
        app.register(environment)
        backends = Backends(load(path, env={}), app)
        backends.verify()
        app.storage_for("toy://x")
        ((config, credentials),) = given
        assert config.endpoint == "here"
        assert credentials is backends.environment()
        with pytest.raises(ConfigError, match="no storage plugin is called 'toi'"):
            Backends(load(write(tmp_path, "storage: {toi: {}}\n"), env={}), app).verify()


def test_what_is_wrong_with_backends_is_said_at_once_with_its_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
builder:
  type: docker
  destinaton: x
registry: {type: ecrr}
environment:
  type: cloud
  regoin: x
runners:
  process: {nope: 1}
  nonesuch: {}
""",
    )
    environment = EnvironmentPlugin(name="cloud", summary="For this test", config=_Nothing, create=lambda *_: _Cloud())
    with closing(App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))) as app:
        app.register(environment)
        with pytest.raises(ConfigError, match="5 problems") as caught:
            Backends(load(path, env={}), app).verify()
    said = {problem.where.rpartition("/")[2].partition(":")[2]: problem for problem in caught.value.problems}
    assert set(said) == {
        "3 ($.builder.destinaton)", "4 ($.registry.type)", "7 ($.environment.regoin)", "9 ($.runners.process.nope)",
        "10 ($.runners.nonesuch)",
    }  # fmt: skip
    assert "windlass.registries" in said["4 ($.registry.type)"].hint
    with closing(App(Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")}))) as app:
        app.register(environment)
        builder = Backends(load(path, env={}), app).builder
        with pytest.raises(ConfigError, match="destinaton"):  # and not what is wrong with the environment
            builder()


KEYS = st.sampled_from([*(f.name for f in attrs.fields(AgentConfig)), "queue", "max-jobs", "on-stop", "type", "token"])
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["env/X", "8GiB"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)


SCRIBBLE = st.text(alphabet="a:{}[]&*!|>-#'\" \n\t%@", max_size=40)


@given(st.dictionaries(KEYS, TREES, max_size=5).map(yaml.safe_dump) | SCRIBBLE)
def test_any_text_is_a_configuration_or_one_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        load(path, env={})
    except WindlassError as error:
        assert error.message  # noqa: PT017
