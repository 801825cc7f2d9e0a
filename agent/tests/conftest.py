"""A world for agent tests: a home with a SQLite store, a process queue, and agents in threads or processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.ids import new_run_id
from windlass.metastore import MetadataStore
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchPolicy, LaunchSpec
from windlass.models.queue import NewItem, Queue, QueueRef
from windlass.models.run import Run
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_agent.agent import Agent
from windlass_agent.config import AgentConfig

DRIVER = Path(__file__).parent / "driver.py"


class World:
    """One home, one store, and what tests do with them."""

    def __init__(self, home: Path, lease: float = 2.0) -> None:
        self.env = {
            "WINDLASS_HOME": str(home),
            "WINDLASS_ENTITY": "me",
            "WINDLASS_PROJECT": "p",
            "WINDLASS_LEASE_SECONDS": str(lease),
        }
        self.home = home
        self.app = App(Settings.from_env(self.env))
        self.store: MetadataStore = self.app.open_store()
        self.marks = home / "marks"
        self.marks.mkdir()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[tuple[Agent, threading.Thread]] = []
        self._source = ""

    # -- queues and items -------------------------------------------------------------------------------------

    def queue(self, name: str = "q", resource: str = "process", **changes: Any) -> Queue:
        """A queue, on the process runner by default."""
        return self.store.queues.create(Queue(entity="me", name=name, resource=resource, **changes))

    def item(self, script: str, queue: str = "q", policy: LaunchPolicy | None = None, **changes: Any) -> NewItem:
        """A request to run a shell script."""
        return NewItem(
            run_id=new_run_id(),
            queue=QueueRef(entity="me", name=queue),
            spec=LaunchSpec(
                source=changes.pop("source", None) or self.source(),
                entry_point=("sh", "-c", script),
                policy=policy or LaunchPolicy(),
            ),
            entity="me",
            project="p",
            author="me",
            **changes,
        )

    def source(self) -> JobSource:
        """A code artifact, logged once."""
        if not self._source:
            self._source = self.code("code", {"main.py": "print('main')\n"})
        return JobSource(kind=SourceKind.CODE, artifact=self._source, entry_point=("python", "main.py"))

    def code(self, name: str, files: dict[str, str]) -> str:
        """Log files as a code artifact; returns its path."""
        from windlass.artifacts.engine import ArtifactEngine
        from windlass.launch.sources import code_artifact

        folder = self.home / name
        folder.mkdir()
        for path, text in files.items():
            (folder / path).write_text(text)
        engine = ArtifactEngine(self.app, self.store, self.app.settings)
        logged = engine.log(code_artifact(folder, name), entity="me", project="p")
        return f"me/p/{name}:{logged.version}"

    def launch(self, script: str, **changes: Any) -> str:
        """Put a shell script on the queue; returns the run id."""
        return self.store.queues.enqueue([self.item(script, **changes)])[0].id

    # -- agents -----------------------------------------------------------------------------------------------

    def agent(self, **changes: Any) -> Agent:
        """An agent in a thread."""
        faults = changes.pop("faults", None)
        config = AgentConfig(**{"queues": ("q",), "max_jobs": 8, **changes})
        agent = Agent(config, self.app, self.store, faults=faults)
        thread = threading.Thread(target=agent.run, name="test-agent")
        thread.start()
        self._threads.append((agent, thread))
        return agent

    def drain(self, **changes: Any) -> None:
        """Run an agent here until everything is done."""
        config = AgentConfig(**{"queues": ("q",), "max_jobs": 8, "drain": True, **changes})
        Agent(config, self.app, self.store).run()

    def spawn(self, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
        """An agent in a process; see driver.py for arguments."""
        with (self.home / "agents.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, str(DRIVER), *arguments],
                env={**os.environ, **self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    # -- waiting ----------------------------------------------------------------------------------------------

    def wait(self, run_id: str, until: Callable[[Run], bool] | None = None, seconds: float = 40.0) -> Run:
        """Wait until a run is over, or `until` is true."""
        limit = time.monotonic() + seconds
        while True:
            run = self.store.runs.get(run_id)
            if run.state.is_terminal or (until is not None and until(run)):
                return run
            assert time.monotonic() < limit, f"{run}\n{self.log()}"
            time.sleep(0.02)

    def output(self, run_id: str, stream: str = "stdout") -> bytes:
        """What is stored of a run's output."""
        lines = self.store.runs.read_log(run_id, 0, 100_000).lines
        return b"".join(line.data for line in lines if line.stream == stream)

    def log(self) -> str:
        """What spawned agents said."""
        path = self.home / "agents.log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def close(self) -> None:
        """End all agents."""
        for agent, thread in self._threads:
            agent.stop()
            agent.stop()
            thread.join(30)
            assert not thread.is_alive()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
                process.kill()
            process.wait(10)
        runner = self.app.create_runner("process")
        for folder in (self.home / "runs").glob("*"):
            handle = runner.find(folder.name)
            if handle is not None:
                runner.cleanup(handle)
        self.store.close()
        self.app.close()


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes worlds with a queue ``q``; they end with the test."""
    made: list[World] = []

    def make(lease: float = 2.0) -> World:
        made.append(World(tmp_path / f"home{len(made) or ''}", lease))
        made[-1].queue()
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A world with a queue ``q`` and a lease of two seconds."""
    return make_world()
