from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from windlass.models.artifact import ArtifactVersion, EdgeKind, LineageEdge
from windlass.models.queue import Agent, Queue, QueueRef, QueueStatus, Waiting
from windlass.models.run import Run, RunState
from windlass.plugins.types import PluginInfo
from windlass_cli import output, shapes, waiting
from windlass_cli.json_keys import OUTPUTS
from windlass_cli.json_shapes import SHAPES, keys_of
from windlass_cli.main import cli, run
from windlass_cli.state import State
from windlass_cli.tree import GROUPS, LazyGroup

RUN_KEYS = {"id", "name", "state", "reason", "entity", "project", "job", "queue", "exit_code"}
ARTIFACT_KEYS = {"name", "version", "digest", "type", "aliases", "size", "entries"}


def commands() -> list[tuple[str, str]]:
    return [(group, name) for group, members in GROUPS.items() for name in members]


@pytest.mark.parametrize(("group", "name"), commands())
def test_every_command_of_the_table_exists_and_its_help_says_the_same(group, name) -> None:
    context = click.Context(cli)
    parent = cli
    for part in group.split():
        parent = parent.get_command(context, part)
        assert isinstance(parent, LazyGroup)
    command = parent.get_command(context, name)
    assert command is not None
    if not isinstance(command, click.Group):
        assert command.help, "a command explains itself"
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"--{parameter.name} explains itself"


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env={**os.environ, **env}
    )


HEAVY = ("sqlalchemy", "fsspec", "docker", "rich", "httpx2", "yaml", "asyncio", "windlass_agent", "windlass_server")


def test_help_is_light() -> None:
    code = "import sys; from windlass_cli.main import run; run(['--help']); sys.stderr.write('\\n'.join(sys.modules))"
    loaded = python(code).stderr.split()
    assert len(loaded) <= 250
    assert not [name for name in HEAVY if name in loaded]
    assert not [name for name in loaded if name.startswith("windlass_cli.commands.")]


def test_listing_plugins_imports_none_of_them(tmp_path) -> None:
    code = (
        "import sys; from windlass_cli.main import run; run(['plugins', 'list', '--json']);"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = python(code, WINDLASS_HOME=str(tmp_path))
    listed = json.loads(done.stdout)
    assert {"kind", "name", "summary", "distribution", "version"} <= set(listed[0])
    tops = {name.split(".")[0] for name in done.stderr.split()}
    assert not tops & {item["target"].split(".")[0] for item in listed}


def test_exit_codes(capsys) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("windlass ")
    assert run(["--help"]) == 0
    assert run(["queue", "--help"]) == 0
    capsys.readouterr()
    assert run(["quue"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Did you mean 'queue'?" in captured.err


def test_a_bug_is_one_line_unless_asked_for(monkeypatch, capsys) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr("windlass_cli.state.State.__init__", broken)
    assert run(["run", "list"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert run(["-vv", "run", "list"]) == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("WINDLASS_DEBUG", "1")
    assert run(["run", "list"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["artifact", "show", "p/nope"], ("artifact-not-found", "", 1)),
        (["run", "show", "nope"], ("run-not-found", "", 1)),
        (["queue", "create", "q", "-r", "process", "-c", "none.yaml"], ("config", "none.yaml", 2)),
        (["queue", "list", "--nope"], ("usage", "windlass queue list", 2)),
        (["quue"], ("usage", "windlass", 2)),
        (["artifact", "put", "none", "-n", "x"], ("usage", None, 2)),
    ],
)
def test_with_json_an_error_is_json(words, wanted, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WINDLASS_HOME", str(tmp_path))
    code, where, exit_code = wanted
    assert run(words) == exit_code
    assert capsys.readouterr().err.startswith("error: ")
    assert run([*words, "--json"]) == exit_code
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    error = json.loads(line)
    assert list(error) == ["code", "message", "where", "hint", "context", "retryable"]
    assert error["code"] == code
    assert where is None or error["where"] == where
    assert error["message"]
    assert error["hint"]


def test_other_errors_have_codes_too(monkeypatch, capsys) -> None:
    for raised, code, where in (
        (PermissionError(13, "no", "/x"), "system", "/x"), (RuntimeError("oops"), "internal", ""),
    ):  # fmt: skip
        monkeypatch.setattr("windlass_cli.state.State.__init__", lambda *_a, _e=raised, **_k: (_ for _ in ()).throw(_e))
        assert run(["run", "list", "--json"]) == 1
        error = json.loads(capsys.readouterr().err)
        assert (error["code"], error["where"]) == (code, where)
    assert run(["run", "logs", "--", "--json"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_ctrl_c(monkeypatch, capsys) -> None:
    def interrupted(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("windlass_cli.state.State.__init__", interrupted)
    assert run(["run", "list"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_the_json_of_nouns_has_the_promised_keys() -> None:
    run_shape = shapes.run(
        Run(id="a", state=RunState.FAILED, started_at=1.0, finished_at=3.5, config={"_windlass": {"x": 1}})
    )
    assert set(run_shape) >= RUN_KEYS
    assert (run_shape["state"], run_shape["duration"], run_shape["config"]) == ("failed", 2.5, {})
    assert run_shape["started_at"] == "1970-01-01T00:00:01.000Z"
    assert run_shape["created_at"] is None
    artifact = shapes.artifact(
        ArtifactVersion(id="i", entity="e", project="p", name="n", type="t", version=3, digest="d", manifest="m")
    )
    assert set(artifact) >= ARTIFACT_KEYS
    assert artifact["version"] == "v3"
    queue = shapes.queue(Queue(entity="e", name="q", resource="process"), QueueStatus(queued=2))
    assert {"name", "entity", "resource", "config", "templates", "paused", "status"} <= set(queue)
    agent = shapes.agent(Agent(id="a", queues=(QueueRef(entity="e", name="q"),)))
    assert agent["queues"] == ["e/q"]
    for shape in (run_shape, artifact, queue, agent):
        json.dumps(shape)


def test_every_json_is_in_the_reference() -> None:
    def leaves(command: click.Command, path: tuple[str, ...]) -> Iterator[str]:
        with click.Context(command) as context:
            if isinstance(command, click.Group):
                for name in command.list_commands(context):
                    yield from leaves(command.get_command(context, name), (*path, name))
            elif any("--json" in parameter.opts for parameter in command.params):
                yield " ".join(path)

    found = set(leaves(cli, ()))
    assert found - OUTPUTS.keys() == set(), "say in json_keys.py what these print"
    assert OUTPUTS.keys() - found <= {"artifact cache cleanup"}
    used = {output.shape for outputs in OUTPUTS.values() for output in outputs}
    assert SHAPES.keys() - used == {"edge", "waiting", "lineage node"}, "shapes within others"
    assert all(text for shape in SHAPES for text in keys_of(shape).values())


def test_shapes_have_the_documented_keys() -> None:
    version = ArtifactVersion(id="i", entity="e", project="p", name="n", type="t", version=3, digest="d", manifest="m")
    edge = LineageEdge(run="r", version="i", kind=EdgeKind.INPUT)
    for shape, made in (
        ("edge", shapes.edge(edge, version)),
        ("waiting", waiting.shape(Waiting(run="r"))),
        ("run", shapes.run(Run(id="a"))),
        ("plugin", shapes.plugin(PluginInfo(kind="runner", name="n", distribution="d", version="1", target="t"))),
    ):
        assert made is not None
        assert made.keys() == keys_of(shape).keys(), shape


def test_what_is_printed_is_json_for_every_parser() -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = output.json_text([{"limit": math.inf, "used": math.nan, "path": Path("x")}])
    assert json.loads(text, parse_constant=refuse) == [{"limit": "Infinity", "used": "NaN", "path": "x"}]


def test_short_forms_for_people() -> None:
    assert [output.size(n) for n in (0, 1023, 1536, 5 << 30, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 GiB",
        "3.0 TiB",
    ]
    assert [output.seconds(n) for n in (None, 0.04, 59.94, 61, 3700)] == [
        "-",
        "0.0 s",
        "59.9 s",
        "1 min 01 s",
        "1 h 01 min",
    ]
    assert output.ago(0) == "-"


def test_a_table_in_a_pipe_is_plain_text(capsys) -> None:
    output.table(("id", "state"), [("a", "finished"), ("bcd", "x")], empty="none")
    assert capsys.readouterr().out == "ID   STATE\na    finished\nbcd  x\n"
    output.table(("id",), [], empty="There is nothing.")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "There is nothing.\n")


def test_stopping_goes_on_behind_a_run_that_is_missing(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WINDLASS_HOME", str(tmp_path))
    monkeypatch.delenv("WINDLASS_BASE_URL", raising=False)
    state = State()
    for name in ("one", "two"):
        state.store.runs.create(Run(id=name, entity="me", project="p"))
    assert run(["run", "stop", "one", "nope", "two"]) == 1
    assert "nope" in capsys.readouterr().err
    assert [state.store.runs.get(name).stop_requested for name in ("one", "two")] == [True, True]
    assert run(["run", "stop", "nope"]) == 1
    state.close()


@pytest.mark.parametrize(
    "words", [["run", "list", "--limit"], ["queue", "create", "q", "-r", "process", "--concurrency"]]
)
def test_a_number_no_store_can_hold_is_a_usage_error(words, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WINDLASS_HOME", str(tmp_path))
    assert run([*words, "99999999999999999999999"]) == 2
    assert "internal" not in capsys.readouterr().err
