"""Projects as people have them, launched as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import attrs
import pytest

from windlass.errors import UsageError
from windlass.launch.keywords import LaunchKeywords, request_of
from windlass.launch.request import LaunchRequest

EMBEDDED = """
from windlass import Api, Artifact, Settings
from windlass.models.queue import Queue
from windlass.sdk import launch

with Api(Settings(entity="me")) as api:
    api.create_queue(Queue(entity="me", name="mine", resource="process"))
    queued = launch.launch_add(uri="job", entry_point=["python", "a.py"], queue="mine", set=["lr=1"], policy=None)
    ended = api.run(queued.id).wait(60)
    rows: list[dict[str, object]] = ended.history(["loss"])
    model: Artifact = api.artifact("model")
    api.create_trigger("t", "cron", cron="@daily", job="j", queue="mine", run_confg={})
"""


def test_the_package_of_a_project_is_that_of_the_launched_code(windlass):
    """Not installed anywhere, or installed in place from a working copy that has changed since."""
    for place, says in (("project", "launched"), ("installed", "in place")):
        package = Path(place, "src", "wren")
        package.mkdir(parents=True)
        package.joinpath("__init__.py").touch()
        package.joinpath("train.py").write_text(f"print({says!r})\n")
    Path("project", "pyproject.toml").write_text('[project]\nname = "wren"\nversion = "1"\n')
    Path("project", "scripts").mkdir()
    Path("project", "scripts", "go.py").write_text("import wren.train\n")
    Path("queue.yaml").write_text(f'env: ["PYTHONPATH={Path.cwd()}/installed/src"]\n')
    assert windlass("queue", "create", "q", "--resource", "process", "--config", "queue.yaml").code == 0
    for entry in ("python -m wren.train", "python scripts/go.py"):
        assert windlass("launch", "-u", "project", "-E", entry, "-p", "demo", "-q", "q").code == 0
        assert windlass("launch-agent", "-q", "q", "--drain").code == 0
        run = windlass("run", "list", "--limit", "1", "--json").json[0]["id"]
        assert windlass("run", "logs", run).out == "launched\n"


def test_who_embeds_the_queue_is_told_by_his_type_checker(tmp_path):
    (tmp_path / "embedded.py").write_text(EMBEDDED)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "embedded.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    found = [line.partition(" error: ")[2] for line in done.stdout.splitlines() if " error: " in line]
    assert len(found) == 2, done.stdout + done.stderr
    assert '"policy" to "launch_add"' in found[0]
    assert 'Unexpected keyword argument "run_confg"' in found[1]


def test_the_keywords_of_a_launch_are_the_fields_of_its_request():
    assert set(get_type_hints(LaunchKeywords)) == {field.name for field in attrs.fields(LaunchRequest)}
    request = request_of({"uri": "a", "entry_point": ["python", "a.py"], "args": ["--x", "1"], "set": ["lr=1"]})
    assert (request.args, request.set) == (("--x", "1"), ("lr=1",))
    with pytest.raises(UsageError, match="a list of texts is needed") as caught:
        request_of({"uri": "a", "args": "--x 1"})
    assert caught.value.hint == "args=['--x', '1']"


def test_what_ran_is_shown(windlass):
    Path("code").mkdir()
    Path("code", "a.py").write_text(
        "import windlass\n"
        "from windlass.sdk import launch\n"
        "launch.manage_config_file('c.yaml')\n"
        "with windlass.init(config={'lr': 1}) as run:\n"
        "    run.log_artifact({'a': 1}, name='weights', type='model')\n"
    )
    Path("code", "c.yaml").write_text("epochs: 1\n")
    Path("queue.yaml").write_text('env: ["SEED={{seed}}"]\n')
    Path("templates.yaml").write_text("seed: {type: integer, default: 1, maximum: 9}\n")
    made = ("queue", "create", "q", "-r", "process", "--config", "queue.yaml", "--templates", "templates.yaml")
    assert windlass(*made).code == 0
    assert re.search(r"maximum: 9$", windlass("queue", "show", "q").out, re.MULTILINE)
    launch = ("launch", "-u", "code", "-E", "python a.py", "-J", "job", "-p", "demo", "-q", "q", "-v", "seed=3")
    assert windlass(*launch, "--", "--fast", "two words").code == 0
    run = windlass("run", "list", "--json").json[0]["id"]
    waiting = windlass("run", "show", run).out
    assert windlass("launch-agent", "-q", "q", "--drain").code == 0
    for shown in (waiting, windlass("run", "show", run).out):
        assert "command" in shown
        assert "python a.py --fast 'two words'" in shown
        assert "seed: 3" in shown
        assert "demo/code-job:v0" in shown
    trigger = ("trigger", "create", "t", "--cron", "@daily", "-j", "demo/job", "-q", "q", "-v", "seed=4", "--name", "n")
    assert windlass(*trigger).code == 0
    shown = windlass("trigger", "show", "t").out
    assert "seed: 4" in shown
    assert "run_name" in shown
    # of a name without its project, and of inputs that the code does not declare
    assert "In another project: demo/weights." in windlass("artifact", "show", "weights").err
    refused = windlass("launch", "-j", "demo/job", "-q", "q", "--set", "lr=2").err
    assert "call launch.manage_windlass_config() in the code, too; or set files in an overrides file: c.yaml" in refused


def test_what_others_call_config_is_told_where_it_is():
    import windlass

    with pytest.raises(AttributeError, match=r"windlass\.run\.config"):
        _ = windlass.config.lr
