"""A database server that is killed forgets what it had not written to the disk; some things must stay."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
from attrs import evolve

from windlass.errors import FencedError, StoreUnavailableError
from windlass.metastore import MetadataStore
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.queue import Claim, ClaimRequest, NewItem, Queue, QueueRef
from windlass.models.run import LogLine, RunPhase, RunUpdate
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_testkit import servers

pytestmark = pytest.mark.service("postgresql")
T = TypeVar("T")
REF = QueueRef(entity="me", name="q")


class Cluster:
    """A PostgreSQL server that writes late, and a store on it."""

    def __init__(self, home: Path) -> None:
        self.running = servers.start_postgresql()
        self.url = f"postgresql://windlass@127.0.0.1:{self.running.facts['port']}/postgres"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
            connection.execute("SELECT pg_reload_conf()")
        self.app = App(Settings.from_env({"WINDLASS_HOME": str(home), "WINDLASS_BASE_URL": self.url}))
        self.store: MetadataStore = self.app.open_store()
        self.store.queues.create(Queue(entity="me", name="q", resource="process"))
        spec = LaunchSpec(source=JobSource(kind=SourceKind.IMAGE, image="x"))
        self.store.queues.enqueue([NewItem(run_id="r", queue=REF, spec=spec)])

    def crash(self) -> None:
        """Kill it and start it again."""
        os.kill(self.running.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.running.pid, 0)
        self.running = servers.restart_postgresql(self.running)
        self.ask(self.store.check)

    def ask(self, call: Callable[[], T]) -> T:
        """Ask until it answers again."""
        end = time.monotonic() + 30
        while True:
            try:
                return call()
            except StoreUnavailableError:
                assert time.monotonic() < end
                time.sleep(0.1)

    def claim(self, agent: str) -> Claim:
        """Claim the run."""
        found = self.ask(lambda: self.store.queues.claim(ClaimRequest(agent=agent, host="h", queues=(REF,))))
        assert len(found) == 1
        return found[0]

    def close(self) -> None:
        """End everything."""
        self.store.close()
        self.app.close()
        servers.stop(self.running.pid)
        shutil.rmtree(self.running.folder)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.close()


def test_a_claim_that_was_forgotten_holds_nothing(cluster: Cluster) -> None:
    """Its number is given out a second time, but the agent it belonged to changes nothing any more."""
    first = cluster.claim("a1")
    cluster.crash()
    second = cluster.claim("a2")
    assert second.run.fence == first.run.fence, "the claim was still in memory only, which this test is about"
    runs, starting = cluster.store.runs, RunUpdate(phase=RunPhase.STARTING, host="h")
    with pytest.raises(FencedError):
        runs.update("r", starting, fence=first.run.fence, agent="a1")
    assert runs.update("r", starting, fence=second.run.fence, agent="a2").host == "h"


def test_that_an_attempt_starts_is_not_forgotten(cluster: Cluster) -> None:
    claim = cluster.claim("a1")
    starting = RunUpdate(phase=RunPhase.STARTING, host="h")
    cluster.store.runs.update("r", starting, fence=claim.run.fence, agent="a1")
    cluster.crash()
    run = cluster.ask(lambda: cluster.store.runs.get("r"))
    assert (run.phase, run.host, run.agent) == (RunPhase.STARTING, "h", "a1")


def test_output_stays_from_when_the_store_was_asked_to_keep_it(cluster: Cluster) -> None:
    runs, line = cluster.store.runs, LogLine(stream="stdout", data=b"one\n", cursor="1", time=1.0)
    assert runs.append_log("r", [line], "r", "", "1")
    cluster.crash()
    assert not cluster.ask(lambda: runs.append_log("r", (), "r", "1", "1")), "it was still in memory only"
    assert runs.append_log("r", [line], "r", "", "1")
    assert runs.append_log("r", (), "r", "1", "1")
    assert runs.append_log("r", [evolve(line, data=b"two\n")], "r", "1", "2")
    cluster.crash()
    assert cluster.ask(lambda: runs.read_log("r").lines)[:1] == (line,)
