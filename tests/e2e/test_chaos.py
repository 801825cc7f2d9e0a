"""Everything dies at random: agents and the server are killed and frozen while runs are at work.

``WINDLASS_TEST_SEED`` replays a run of this test; ``WINDLASS_TEST_RUNS`` makes it larger (40 runs by default).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from windlass.models.queue import NewItem, Queue, QueueRef
from windlass.models.run import Run, RunFilter
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_testkit.servers import free_port, wait_for_port

AGENTS, RUNS = 3, int(os.environ.get("WINDLASS_TEST_RUNS") or 40)
LIMIT = 150.0 + 3.0 * RUNS
SEED = int(os.environ.get("WINDLASS_TEST_SEED") or 7)
SCRIPT = """
echo "$WINDLASS_ATTEMPT" >> "{marks}/$WINDLASS_RUN_ID"
for i in 1 2 3 4 5; do echo "line $i"; sleep 0.2; done
"""
OUTPUT = b"".join(b"line %d\n" % number for number in range(1, 6))


class Stage:
    """A server, agents and what befalls them."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.marks = folder / "marks"
        self.marks.mkdir()
        self.port = free_port()
        self.env = {
            **os.environ,
            "WINDLASS_HOME": str(self.home),
            "WINDLASS_ENTITY": "me",
            "WINDLASS_LEASE_SECONDS": "2",
        }
        for name in ("WINDLASS_BASE_URL", "WINDLASS_API_KEY", "WINDLASS_PROJECT"):
            self.env.pop(name, None)
        self.log = folder / "log"
        self.app = App(Settings.from_env({"WINDLASS_HOME": str(self.home), "WINDLASS_ENTITY": "me"}))
        self.store = self.app.open_store()
        self.store.queues.create(Queue(entity="me", name="q", resource="process"))
        self.server = self.serve()
        self.agents = [self.agent() for _ in range(AGENTS)]
        self.frozen: dict[subprocess.Popen[bytes], float] = {}

    def _spawn(self, *words: str, **env: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "windlass_cli", "-v", *words],
                env={**self.env, **env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def serve(self) -> subprocess.Popen[bytes]:
        process = self._spawn("server", "--anonymous", "--port", str(self.port))
        wait_for_port(self.port, pid=process.pid, log=self.log)
        return process

    def agent(self) -> subprocess.Popen[bytes]:
        return self._spawn("launch-agent", "-q", "q", "-j", "2", WINDLASS_BASE_URL=f"http://127.0.0.1:{self.port}")

    def strike(self, dice: random.Random) -> None:
        """One blow."""
        number = dice.randrange(AGENTS)
        blow = dice.choice(["kill", "freeze", "freeze longer", "server"])
        if blow == "server":
            kill(self.server)
            time.sleep(dice.uniform(0.0, 0.5))
            self.server = self.serve()
        elif blow == "kill":
            self.frozen.pop(self.agents[number], None)
            kill(self.agents[number])
            self.agents[number] = self.agent()
        elif self.agents[number] not in self.frozen and self.agents[number].poll() is None:
            os.kill(self.agents[number].pid, signal.SIGSTOP)
            # The lease is two seconds: some wake up in time, others when their runs belong to somebody else.
            self.frozen[self.agents[number]] = time.monotonic() + (0.7 if blow == "freeze" else 4.0)

    def thaw(self, *, everybody: bool = False) -> None:
        for process, until in list(self.frozen.items()):
            if everybody or time.monotonic() > until:
                os.kill(process.pid, signal.SIGCONT)
                del self.frozen[process]

    def over(self) -> list[Run]:
        found = self.store.runs.list(RunFilter(queue="q", limit=RUNS + 10))
        return [run for run in found if run.state.is_terminal]

    def close(self) -> None:
        for process in (*self.agents, self.server):
            kill(process)
        runner = self.app.create_runner("process")
        for folder in (self.home / "runs").glob("*"):
            if (handle := runner.find(folder.name)) is not None:
                runner.cleanup(handle)
        runner.close()
        self.store.close()
        self.app.close()


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(10)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def submit(stage: Stage, folder: Path) -> None:
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.launch.request import LaunchRequest
    from windlass.launch.submit import submit

    source = folder / "source"
    source.mkdir()
    (source / "job.sh").write_text(SCRIPT.format(marks=stage.marks))
    engine = ArtifactEngine(stage.app, stage.store, stage.app.settings)
    request = LaunchRequest(uri=str(source), entry_point="sh job.sh", queue="q", run_id="c0")
    first = submit(request, app=stage.app, store=stage.store, engine=engine)
    assert first.spec is not None
    ref = QueueRef(entity="me", name="q")
    stage.store.queues.enqueue([NewItem(run_id=f"c{n}", queue=ref, spec=first.spec) for n in range(1, RUNS)])


@pytest.mark.slow
@pytest.mark.timeout(LIMIT + 60)
def test_each_run_is_executed_once_whatever_dies(stage: Stage, tmp_path: Path) -> None:
    print(f"WINDLASS_TEST_SEED={SEED}")
    dice = random.Random(SEED)
    submit(stage, tmp_path)
    end, blow = time.monotonic() + LIMIT, time.monotonic() + 1.0
    blows = 0
    while len(stage.over()) < RUNS:
        assert time.monotonic() < end, f"seed {SEED}: {len(stage.over())} of {RUNS} are over\n{tail(stage.log)}"
        if time.monotonic() > blow:
            stage.strike(dice)
            blows += 1
            blow = time.monotonic() + dice.uniform(0.3, 1.0)
        stage.thaw()
        time.sleep(0.1)
    stage.thaw(everybody=True)
    time.sleep(1.5)  # late comers have their say
    assert blows >= 3, "nothing happened to anybody"
    for run in stage.over():
        what = f"seed {SEED}: {run}\n{tail(stage.log)}"
        assert (run.state.value, run.exit_code) == ("finished", 0), what
        executed = (stage.marks / run.id).read_text().split()
        assert executed == ["1"], f"executed {executed}; {what}"
        lines = stage.store.runs.read_log(run.id, limit=100_000).lines
        assert b"".join(line.data for line in lines if line.stream == "stdout") == OUTPUT, what
    assert len(stage.over()) == RUNS


def tail(path: Path) -> str:
    return path.read_text(errors="replace")[-4000:]
