"""A launch "here and now" that is killed: its run can be gone on with and can be ended, as the command says."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_testkit.servers import alive
from windlass_testkit.waiting import eventually

COMMAND = (sys.executable, "-m", "windlass_cli")


@pytest.fixture
def killed(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], tuple[str, list[int]]]]:
    """Launches a script here and kills the launch; gives the run's id and the pids that the script told of."""
    monkeypatch.setenv("WINDLASS_LEASE_SECONDS", "3")

    def launch(script: str) -> tuple[str, list[int]]:
        Path("code").mkdir()
        Path("code/job.sh").write_text(f"echo $$ > {home}/pids\n{script}")
        with open("launch.log", "wb") as log:
            process = subprocess.Popen(
                [*COMMAND, "launch", "-u", "code", "-E", "sh job.sh"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        eventually(lambda: "ready" in Path("launch.log").read_text())
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
        (folder,) = (home / "runs").iterdir()
        return folder.name, [int(word) for word in (home / "pids").read_text().split()]

    yield launch
    runner = App(Settings.from_env()).create_runner("process")
    for folder in (home / "runs").glob("*"):
        if (handle := runner.find(folder.name)) is not None:
            runner.cleanup(handle)
    runner.close()


def test_stop_ends_it_with_all_its_processes(killed: Any, home: Path, windlass: Any) -> None:
    run_id, pids = killed(f"sleep 1000 & echo $! >> {home}/pids; echo ready; sleep 1000")
    assert len(pids) == 2
    assert all(map(alive, pids)), "a job outlives its agent"
    stopped = windlass("run", "stop", "--wait", run_id)  # at once: the claim of the dead still holds
    assert stopped.code == 0, stopped.err
    assert "agent of run" in stopped.err
    run = windlass("run", "show", run_id, "--json").json
    assert (run["state"], run["reason"]["code"]) == ("killed", "stopped-by-user")
    assert windlass("run", "logs", run_id).out == "ready\n"
    eventually(lambda: not any(map(alive, pids)))
    assert [*(home / "runs").iterdir(), *(home / "work").iterdir()] == []


def test_an_agent_goes_on_with_it_as_is_advised(killed: Any, home: Path, windlass: Any) -> None:
    run_id, pids = killed(f"echo ready; while [ ! -e {home}/gate ]; do sleep 0.1; done; echo over")
    with open("agent.log", "wb") as log:
        agent = subprocess.Popen(
            [*COMMAND, "launch-agent", "-v", "-q", f"run-{run_id}", "--drain"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        # It has to wait for the claim of the dead, which has longer to go than an agent needs to see an empty queue.
        eventually(lambda: "is adopted" in Path("agent.log").read_text())
        assert "agent is gone" not in windlass("run", "show", run_id).out
        (home / "gate").touch()
        assert agent.wait(60) == 0
    finally:
        agent.kill()
        agent.wait(10)
    run = windlass("run", "show", run_id, "--json").json
    assert (run["state"], run["exit_code"], run["attempt"]) == ("finished", 0, 1)
    assert windlass("run", "logs", run_id).out == "ready\nover\n"
    assert not any(map(alive, pids))


def test_what_is_said_of_it(killed: Any, windlass: Any) -> None:
    run_id, (pid,) = killed("echo ready; sleep 1000")
    eventually(lambda: "agent is gone" in windlass("run", "show", run_id).out, 30)
    said = windlass("run", "show", run_id).out
    assert f"windlass launch-agent -q run-{run_id} -e " in said
    assert f"windlass run stop --wait {run_id}" in said
    assert f"windlass run stop --wait {run_id}" in windlass("run", "stop", run_id).err
    assert alive(pid), "nobody is there to stop it"
    assert windlass("run", "stop", "--wait", run_id).code == 0
    eventually(lambda: not alive(pid))
