"""The command ``launch-agent`` and its signals, on a real server that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass_testkit.servers import free_port, wait_for_port
from windlass_testkit.waiting import eventually

COMMAND = (sys.executable, "-m", "windlass_cli")


class Cast:
    """A server, agents and a follower of output, as processes."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.server = self.serve()

    def spawn(self, name: str, *words: str, **env: str) -> subprocess.Popen[bytes]:
        with open(f"{name}.out", "ab") as out, open(f"{name}.err", "ab") as err:
            process = subprocess.Popen(
                [*COMMAND, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **env}
            )
        self.processes.append(process)
        return process

    def serve(self) -> subprocess.Popen[bytes]:
        server = self.spawn("server", "server", "--anonymous", "--port", str(self.port))
        wait_for_port(self.port, pid=server.pid)
        return server

    def agent(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        url = f"http://127.0.0.1:{self.port}"
        return self.spawn(name, "-v", "launch-agent", "-q", "q", *words, WINDLASS_BASE_URL=url)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(10)


@pytest.fixture
def cast(home: Path, monkeypatch: pytest.MonkeyPatch, windlass: Any) -> Iterator[Cast]:
    monkeypatch.setenv("WINDLASS_LEASE_SECONDS", "3")
    Path("policy.yaml").write_text("retries: {exit-code: 1}\nretry_delay: 4\n")
    assert windlass("queue", "create", "q", "-r", "process", "--policy", "policy.yaml").code == 0
    made = Cast(home)
    yield made
    made.close()
    for run in windlass("run", "list", "--json").json:
        if run["state"] in ("pending", "running"):
            windlass("run", "stop", "--wait", run["id"])


def launch(windlass: Any, script: str) -> str:
    Path("code").mkdir(exist_ok=True)
    Path("code/job.sh").write_text(script)
    launched = windlass("launch", "-u", "code", "-E", "sh job.sh", "-q", "q", "--json")
    assert launched.code == 0, launched.err
    return str(launched.json["id"])


def state(windlass: Any, run_id: str) -> str:
    return str(windlass("run", "show", run_id, "--json").json["state"])


def test_a_second_signal_ends_it_at_once_and_the_exit_code_tells_what_is_not_stored(cast: Cast, windlass: Any) -> None:
    """Its server is dead, so that it can neither report nor hand over."""
    run_id = launch(windlass, f"echo on; while [ ! -e {cast.home}/gate ]; do sleep 0.1; done; touch {cast.home}/over")
    agent = cast.agent("agent")
    eventually(lambda: state(windlass, run_id) == "running")
    cast.server.kill()
    cast.server.wait(10)
    (cast.home / "gate").touch()
    eventually((cast.home / "over").exists)
    agent.send_signal(signal.SIGTERM)
    time.sleep(2.0)
    assert agent.poll() is None, "the first one waits for the end of the run"
    began = time.monotonic()
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(60) == 1
    assert time.monotonic() - began < 15.0
    assert f"What became of run {run_id} could not be stored" in Path("agent.err").read_text()
    assert state(windlass, run_id) == "running"
    cast.server = cast.serve()
    assert cast.agent("second", "--drain").wait(60) == 0
    assert state(windlass, run_id) == "finished"
    assert windlass("run", "logs", run_id).out == "on\n"


def test_output_is_followed_across_the_death_of_agent_and_server(cast: Cast, windlass: Any) -> None:
    lines = 400
    run_id = launch(windlass, f"for i in $(seq {lines}); do echo line $i; sleep 0.02; done")
    agents = [cast.agent("agent")]
    follower = cast.spawn("follow", "run", "logs", "-f", run_id, WINDLASS_BASE_URL=f"http://127.0.0.1:{cast.port}")
    out = Path("follow.out")
    eventually(lambda: b"line 5\n" in out.read_bytes())
    agents[0].kill()
    cast.server.kill()
    cast.server.wait(10)
    cast.server = cast.serve()
    agents.append(cast.agent("second", "--drain"))
    assert agents[1].wait(100) == 0
    assert follower.wait(30) == 0
    wanted = b"".join(b"line %d\n" % number for number in range(1, lines + 1))
    assert out.read_bytes() == wanted, "no gap, nothing twice"


def test_a_signal_while_a_run_is_in_back_off(cast: Cast, windlass: Any) -> None:
    """It goes at once: the run waits for its next attempt in the queue, not in the agent."""
    mark = cast.home / "tried"
    run_id = launch(windlass, f"echo $WINDLASS_ATTEMPT >> {mark}; [ -e {cast.home}/gate ] || exit 3")
    agent = cast.agent("agent")
    eventually(mark.exists)
    eventually(lambda: state(windlass, run_id) == "queued")
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 0
    assert mark.read_text() == "1\n"
    (cast.home / "gate").touch()
    assert cast.agent("second", "--drain").wait(60) == 0
    assert state(windlass, run_id) == "finished"
    assert mark.read_text() == "1\n2\n"
