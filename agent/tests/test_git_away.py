"""Git hosts that stall, and secrets for them that are not there."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from attrs import evolve

from windlass.errors import ConfigError
from windlass.models.job import JobSource, SourceKind
from windlass.models.run import RunState
from windlass_agent.agent import Agent
from windlass_agent.config import load
from windlass_testkit.git_servers import GIT_PASSWORD, GIT_USER, git_https
from windlass_testkit.servers import Running
from windlass_testkit.simulators.tap import Tap

__all__ = ["git_https"]


def test_a_run_whose_git_host_stalls_can_be_stopped(
    world: Any, git_https: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TOKEN", GIT_PASSWORD)
    work, bare = tmp_path / "work", Path(git_https.folder, "job.git")
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    (work / "data").write_bytes(os.urandom(1_000_000))
    plain = ["git", "-C", str(work), "-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run([*plain, "add", "data"], check=True)
    subprocess.run([*plain, "commit", "-q", "-m", "x"], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    told = subprocess.run([*plain, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    parts = urlsplit(git_https.facts["url"])
    with Tap(parts.port or 0) as tap:
        tap.limit, tap.stalls = 100_000, True
        remote = f"https://127.0.0.1:{tap.port}{parts.path}/job.git"
        source = JobSource(kind=SourceKind.GIT, remote=remote, commit=told.stdout.strip(), entry_point=("sh",))
        file = tmp_path / "launch-config.yaml"
        file.write_text(f"queues: [q]\ngit:\n  127.0.0.1: {{username: {GIT_USER}, token: env/GIT_TOKEN}}\n")
        world.agent(git=load(file, {}).git)
        run_id = world.launch("echo never", source=source)
        limit = time.monotonic() + 20
        while not tap.connections:
            assert time.monotonic() < limit, world.store.runs.get(run_id)
            time.sleep(0.05)
        time.sleep(0.5)
        world.store.runs.request_stop(run_id)
        run = world.wait(run_id, seconds=15)
        assert (run.state, run.reason.code) == (RunState.KILLED, "stopped-by-user")


def test_an_agent_without_its_secrets_takes_nothing(world: Any, tmp_path: Path) -> None:
    """Else it would fail whatever stands in its queues, for something that no run has done."""
    file = tmp_path / "launch-config.yaml"
    file.write_text(
        "queues: [q]\ngit:\n  git.example.com: {token: env/NOT_THERE}\nsecrets:\n  A: {secret: file//none/a}\n"
    )
    config = load(file, {})
    run_id = world.launch("echo later")
    agent = Agent(config, world.app, world.store)
    with pytest.raises(ConfigError) as caught:
        agent.run()
    assert [problem.where.partition(" ")[0] for problem in caught.value.problems] == [f"{file}:5", f"{file}:3"]
    assert "NOT_THERE is not set" in str(caught.value)
    assert world.store.runs.get(run_id).state is RunState.QUEUED


def test_a_repository_without_the_script_says_so(world: Any, tmp_path: Path) -> None:
    """That is known when the code is there: the launch sees no files of a repository."""
    work = tmp_path / "work"
    plain = ["git", "-C", str(work), "-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    (work / "train.py").write_text("")
    subprocess.run([*plain, "add", "train.py"], check=True)
    subprocess.run([*plain, "commit", "-q", "-m", "x"], check=True)
    commit = subprocess.run([*plain, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    item = world.item("")
    source = JobSource(kind=SourceKind.GIT, remote=f"file://{work}", commit=commit, entry_point=("python", "main.py"))
    spec = evolve(item.spec, source=source, entry_point=())
    run = world.store.queues.enqueue([evolve(item, spec=spec)])[0]
    world.drain()
    run = world.wait(run.id)
    assert (run.state, run.reason.code) == (RunState.FAILED, "config"), run.reason
    assert "no file 'main.py'" in run.reason.message
    assert "train.py" in run.reason.hint
