"""Launching from Python, notebooks, and code behind a git host that wants a password."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from windlass_testkit.git_servers import GIT_PASSWORD, GIT_USER, git_https
from windlass_testkit.servers import Running
from windlass_testkit.services import PYTHON_IMAGE

__all__ = ["git_https"]


@pytest.fixture
def typed(windlass) -> Callable[..., str]:
    def call(*words: str, code: int = 0) -> str:
        done = windlass(*words)
        assert done.code == code, f"{words}: {done.out}{done.err}"
        return done.out if not code else done.err

    return call


def python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(420)
def test_a_launch_without_a_queue_runs_here_and_waits(home, typed) -> None:
    Path("a.py").write_text("import sys\nprint('hello', sys.argv[1:])\n")
    program = (
        "from windlass.sdk import launch\nrun = launch.launch(uri='a.py', args=('--x',))\nprint(run.id, run.state)\n"
    )
    run_id, state = python(program).split()
    assert state == "finished"
    assert "hello ['--x']" in typed("run", "logs", run_id)
    assert json.loads(typed("queue", "list", "--json")) == []
    late = (
        "from windlass.sdk import launch\nopen('slow.py', 'w').write('import time; time.sleep(60)')\n"
        "try:\n    launch.launch(uri='slow.py', timeout=2)\nexcept TimeoutError as error:\n    print(error)\n"
    )
    stopped = python(late).split()[1]
    assert json.loads(typed("run", "show", stopped, "--json"))["state"] == "killed"


def test_launch_add_needs_a_queue_that_somebody_serves(home, typed) -> None:
    Path("a.py").write_text("print('hello')\n")
    typed("queue", "create", "q", "-r", "process")
    program = "from windlass.sdk import launch\nprint(launch.launch_add(uri='a.py'{}).state)\n"
    assert "queued" in python(program.format(", queue='q'"))
    refused = subprocess.run(
        [sys.executable, "-c", program.format("")], capture_output=True, text=True, timeout=60, check=False
    )
    assert "without a queue nobody would run it" in refused.stderr
    assert len(json.loads(typed("run", "list", "--json"))) == 1


def test_a_notebook_runs_and_takes_inputs(home, typed) -> None:
    cells = [
        ("markdown", "# Title"),
        (
            "code",
            "!pip install nothing\n%matplotlib inline\nimport sys, windlass\nrun = windlass.init(config={'lr': 0.1})",
        ),
        ("code", "%%bash\nexit 1"),
        ("code", "%%time\ndef half(x):\n    return 10 % 4 * x"),
        ("code", "import asyncio\nawait asyncio.sleep(0)\ndisplay(half(run.config.lr), sys.argv)\nhalf?"),
        (
            "code",
            "class Kept:\n    pass\nimport pickle\nprint(pickle.loads(pickle.dumps(Kept())).__class__.__module__)",
        ),
    ]
    Path("nb").mkdir()
    document = {"nbformat": 4, "metadata": {}, "cells": [{"cell_type": k, "source": s} for k, s in cells]}
    Path("nb/train.ipynb").write_text(json.dumps(document))
    out = typed("launch", "nb/train.ipynb", "-J", "nb", "--set", "lr=2", "--", "--x")
    assert "4 ['train.ipynb', '--x']" in out
    assert "__main__" in out
    assert "1.0 ['train.ipynb']" in typed("launch", "-j", "nb", "--set", "lr=0.5")
    Path("nb/train.ipynb").write_text(json.dumps({**document, "cells": [{"cell_type": "code", "source": "1 / 0"}]}))
    alone = [sys.executable, "-m", "windlass.launch.notebook", "nb/train.ipynb"]
    assert "train.ipynb[1]" in subprocess.run(alone, capture_output=True, text=True, check=False, timeout=60).stderr


def test_what_a_launch_sets_says_nothing_of_the_types(home, typed) -> None:
    """0.1 in the code is a float, also when the first launch sets 1."""
    Path("a.py").write_text(
        "import windlass\nwith windlass.init(config={'lr': 0.1, 'opt': None}) as run: print(run.config)\n"
    )
    for first in (("-u", "a.py", "-E", "python a.py", "-J", "j"), ("-j", "j")):
        typed("launch", *first, "--set", "lr=1", "--set", "opt=adam")
    assert [v["version"] for v in json.loads(typed("job", "list", "--json"))] == ["v1", "v0"]
    assert "0.5" in typed("launch", "-j", "j", "--set", "lr=0.5", "--set", "opt=3")


def test_jobs_are_refused_before_anything_is_stored(home, typed) -> None:
    Path("code").mkdir()
    Path("code/main.py").write_text("print(1)\n")
    assert "--job-name" in typed("job", "create", "code", "code", "-n", "a b", code=2)
    assert json.loads(typed("artifact", "ls", "--json")) == []
    typed("job", "create", "code", "code", "--job-name", "j", "--runtime", "3.12", "-a", "prod", "-d", "why")
    typed("job", "create", "code", "code", "--job-name", "j", "--runtime", "3.12", "-a", "prod", "-d", "because")
    found = json.loads(typed("job", "describe", "j", "--json"))
    assert (found["source"]["python"], found["description"]) == ("3.12", "because")
    assert sorted(found["aliases"]) == ["latest", "prod"]
    assert len(json.loads(typed("job", "list", "--json"))) == 1


@pytest.mark.service("git", "nginx", "fcgiwrap")
def test_a_private_repository_is_launched_with_the_token_of_the_agents_config(
    home, typed, git_https: Running, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    Path("repo/jobs").mkdir(parents=True)
    Path("repo/jobs/job.py").write_text("print('from a private place')\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], cwd="repo", check=True)
    subprocess.run([*git, "clone", "-q", "--bare", "repo", f"{git_https.folder}/job.git"], check=True)
    words = ("launch", "-u", f"{git_https.facts['url']}/job.git", "--build-context", "jobs", "-E", "python job.py")
    assert "credential helper" in typed(*words, code=1)
    monkeypatch.setenv("HUSH", GIT_PASSWORD)
    config = Path(".config/windlass/launch-config.yaml")
    (tmp_path / config).parent.mkdir(parents=True)
    (tmp_path / config).write_text(f"git: {{127.0.0.1: {{username: {GIT_USER}, token: {{secret: env/HUSH}}}}}}\n")
    assert "from a private place" in typed(*words)
    typed("queue", "create", "q", "-r", "process")
    run = json.loads(typed(*words, "-q", "q", "--json"))["id"]
    typed("launch-agent", "-q", "q", "--drain")
    assert "from a private place" in typed("run", "logs", run)
    monkeypatch.setenv("HUSH", "wr0ng-canary")
    refused = typed(*words, code=1)
    assert "git was refused" in refused
    assert "canary" not in refused
    kept = [path for path in home.rglob("*") if path.is_file()]
    assert not [path for path in kept if GIT_PASSWORD.encode() in path.read_bytes()]


@pytest.mark.timeout(300)
@pytest.mark.service("docker", "python-image", "git", "nginx", "fcgiwrap")
def test_the_three_sources_as_the_guide_has_them(home, typed, git_https: Running, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    Path("repo/jobs/hello_world").mkdir(parents=True)
    Path("repo/jobs/hello_world/job.py").write_text("import sys\nprint('hello from', sys.argv)\n")
    Path("repo/jobs/hello_world/Dockerfile.windlass").write_text(
        f"FROM {PYTHON_IMAGE}\nCOPY job.py /app/job.py\nWORKDIR /app\n"
    )
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], cwd="repo", check=True)
    subprocess.run([*git, "clone", "-q", "--bare", "repo", f"{git_https.folder}/launch-jobs.git"], check=True)
    place = git_https.facts["url"].removeprefix("https://").partition("/")[0]
    (tmp_path / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    (tmp_path / ".git-credentials").write_text(f"https://{GIT_USER}:{quote(GIT_PASSWORD, safe='')}@{place}\n")
    out = typed(
        "launch", "--uri", f"{git_https.facts['url']}/launch-jobs.git", "--build-context", "jobs/hello_world",
        "--dockerfile", "Dockerfile.windlass", "--project", "hello-world", "--job-name", "hello-world",
        "--entry-point", "python3 job.py",
    )  # fmt: skip
    assert "hello from ['job.py']" in out
    job = json.loads(typed("job", "describe", "hello-world", "-p", "hello-world", "--json"))
    assert job["source"]["build_context"] == "jobs/hello_world"
    Path("code").mkdir()
    monkeypatch.chdir("code")
    Path("main.py").write_text("import windlass\n\nwith windlass.init() as run:\n    run.log({'metric': 0.5})\n")
    Path("requirements.txt").write_text("windlass>=0.0.1\n")
    words = ("--job-name", "hello-world-code", "--project", "launch-quickstart", "--entry-point", "python main.py")
    run = json.loads(typed("launch", "--uri", ".", *words, "--json"))
    assert (run["state"], run["summary"], run["project"]) == ("finished", {"metric": 0.5}, "launch-quickstart")
    run = json.loads(typed("launch", "--docker-image", PYTHON_IMAGE, "-p", "hello-world", "-E", "true", "--json"))
    assert run["state"] == "finished"
    assert run["job"].rpartition("/")[2].startswith("job-local_python-host:v")
