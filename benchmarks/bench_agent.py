"""One agent: a thousand runs at once, an empty queue, and how soon it sees a new item.

    python benchmarks/bench_agent.py [crowd [RUNS]] [idle [SECONDS]] [reaction [ITEMS]]

`crowd` gives one agent (max_jobs -1) RUNS jobs that sleep until all of them are alive, on SQLite with the process
runner: peak memory, threads and file descriptors of the agent, time until all run and until all are over, beside the
same number of bare `subprocess.Popen(["sleep", …])`. `idle` measures the CPU of an agent whose queue is empty.
`reaction` is the time from the commit of an item in one process to its claim by an agent in another; beside it the
commit itself. PostgreSQL and HTTP are measured where PostgreSQL is installed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.queue import NewItem, Queue, QueueRef
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_testkit import servers
from windlass_testkit.services import missing

REF = QueueRef(entity="bench", name="q")
COMMAND = (sys.executable, "-m", "windlass_cli")


class Agent:
    """An agent in a process of its own, on a store of its own."""

    def __init__(self, folder: Path, store_url: str = "", agent_url: str = "") -> None:
        env = {"WINDLASS_HOME": str(folder / "home"), "WINDLASS_ENTITY": "bench", "WINDLASS_BASE_URL": store_url}
        self.app = App(Settings.from_env(env))
        self.store = self.app.open_store()
        self.store.queues.create(Queue(entity="bench", name="q", resource="process"))
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "launch-agent", "-q", "q", "-j", "-1"],
                env={**os.environ, **env, "WINDLASS_BASE_URL": agent_url or store_url},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait(lambda: self.store.agents.list("bench"))
        time.sleep(1.0)

    def is_idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        status = self.store.queues.status(REF)
        return not (status.queued or status.pending or status.running)

    def cpu(self) -> float:
        """Seconds of CPU used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_bytes().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def status(self, name: str) -> int:
        """A number of kB or of threads."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split(f"{name}:")[1].split()[0])

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self.store.close()
        self.app.close()


def wait(true: Callable[[], object], seconds: float = 900.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


def enqueue(agent: Agent, folder: Path, ids: list[str], script: str) -> None:
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.launch.sources import code_artifact

    code = folder / "code"
    code.mkdir(exist_ok=True)
    (code / "main.py").write_text("")
    engine = ArtifactEngine(agent.app, agent.store, agent.app.settings)
    logged = engine.log(code_artifact(code, "code"), entity="bench", project="p")
    source = JobSource(kind=SourceKind.CODE, artifact=f"bench/p/code:{logged.version}", entry_point=("true",))
    spec = LaunchSpec(source=source, entry_point=("sh", "-c", script))
    agent.store.queues.enqueue([NewItem(run_id=run_id, queue=REF, spec=spec, project="p") for run_id in ids])


def crowd(count: int) -> None:
    with place() as folder:
        began = time.monotonic()
        bare = [subprocess.Popen(["sh", "-c", "exec sleep 1000"], stdin=subprocess.DEVNULL) for _ in range(count)]
        floor = time.monotonic() - began
        for process in bare:
            process.kill()
            process.wait()
        agent = Agent(folder)
        before = agent.status("VmRSS")
        gate = folder / "gate"
        began = time.monotonic()
        enqueue(agent, folder, [f"r{n}" for n in range(count)], f"while [ ! -e {gate} ]; do sleep 5; done")
        wait(lambda: agent.store.queues.status(REF).running == count)
        started = time.monotonic() - began
        threads, files = agent.status("Threads"), len(os.listdir(f"/proc/{agent.process.pid}/fd"))
        memory, used = agent.status("VmRSS"), agent.cpu()
        time.sleep(10.0)
        share, grown = (agent.cpu() - used) / 10.0, agent.status("VmRSS") - memory
        gate.touch()
        began = time.monotonic()
        wait(lambda: agent.store.queues.status(REF).running == 0)
        print(
            f"{count} runs at once: all alive after {started:.1f} s ({started / floor:.1f} x bare processes, "
            f"{floor:.1f} s), over {time.monotonic() - began:.1f} s after they could end; "
            f"agent: {threads} threads, {files} descriptors, "
            f"{before / 1024:.0f} MB idle, {memory / 1024:.0f} MB with all ({grown / 1024:+.1f} MB in 10 s), "
            f"peak {agent.status('VmHWM') / 1024:.0f} MB, {share:.0%} of a core while they sleep"
        )
        agent.close()


def idle(seconds: float) -> None:
    for name, agent, _ in stores():
        before = agent.cpu()
        time.sleep(seconds)
        print(f"idle for {seconds:.0f} s on {name}: {(agent.cpu() - before) / seconds:.2%} of a core")


def reaction(count: int) -> None:
    for name, agent, folder in stores():
        enqueue(agent, folder, ["warm"], "true")
        delays, commits = zip(*sorted(react(agent, f"r{number}") for number in range(count)), strict=True)
        print(
            f"reaction on {name}: median {median(delays) * 1000:.0f} ms, worst of {count} {delays[-1] * 1000:.0f} ms "
            f"(of which the commit: {median(commits) * 1000:.0f} ms)"
        )


def react(agent: Agent, run_id: str) -> tuple[float, float]:
    """Seconds from the request to the claim, and those of the request's commit."""

    wait(agent.is_idle)
    time.sleep(0.2)
    spec = agent.store.runs.get("warm").spec
    assert spec is not None
    began = time.monotonic()
    (run,) = agent.store.queues.enqueue([NewItem(run_id=run_id, queue=REF, spec=spec, project="p")])
    commit = time.monotonic() - began
    wait(lambda: agent.store.runs.get(run_id).claimed_at > 0)
    return agent.store.runs.get(run_id).claimed_at - run.queued_at, commit


def stores() -> Iterator[tuple[str, Agent, Path]]:
    """An idle agent on each kind of store."""
    with place() as folder, contextlib.closing(Agent(folder)) as agent:
        yield "SQLite", agent, folder
    if missing("postgresql"):
        return
    database = servers.start_postgresql()
    url = f"postgresql://windlass@127.0.0.1:{database.facts['port']}/postgres"
    try:
        with place() as folder:
            with contextlib.closing(Agent(folder, url)) as agent:
                yield "PostgreSQL", agent, folder
                wait(agent.is_idle)
                agent.store.queues.delete(REF, force=True)
            port = servers.free_port()
            env = {**os.environ, "WINDLASS_HOME": str(folder / "home"), "WINDLASS_BASE_URL": url}
            command = [*COMMAND, "server", "--anonymous", "--port", str(port)]
            with (folder / "server.log").open("wb") as log:
                server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
            try:
                servers.wait_for_port(port, pid=server.pid)
                with contextlib.closing(Agent(folder, url, f"http://127.0.0.1:{port}")) as agent:
                    yield "a server on PostgreSQL", agent, folder
            finally:
                server.terminate()
                server.wait(30)
    finally:
        servers.stop(database.pid)
        shutil.rmtree(database.folder, ignore_errors=True)


@contextlib.contextmanager
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="windlass-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def main() -> None:
    words = sys.argv[1:] or ["crowd", "idle", "reaction"]
    parts: dict[str, tuple[Callable[[int], None], int]] = {
        "crowd": (crowd, 1000), "idle": (idle, 30), "reaction": (reaction, 20),
    }  # fmt: skip
    for place_of, word in enumerate(words):
        if word in parts:
            do, count = parts[word]
            after = words[place_of + 1 : place_of + 2]
            do(int(after[0]) if after and after[0].isdigit() else count)


if __name__ == "__main__":
    main()
