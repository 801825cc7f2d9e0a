"""Several processes on one store: nothing lost, nothing twice, nobody starved, kill -9 at the worst moment."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from windlass.models.queue import Queue, QueueRef
from windlass.models.run import RunFilter, RunState
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_testkit.metastore_queues import claim, ids_of, items

REF = QueueRef(entity="kit", name="q")
PROCESSES, SUBMITTERS, EACH = 4, 4, 150
STARVED = 5.0  # without turns somebody waits until all others are done; `bench_claims.py` measures how long it is

AGENT = """
import json, sys, time
from windlass.models.queue import ClaimRequest, QueueRef
from windlass.models.run import RunState, RunUpdate
from windlass.plugins.app import App
from windlass.settings import Settings

home, url, name = sys.argv[1:]
store = App(Settings.from_env({"WINDLASS_HOME": home})).open_store(url)
ref = QueueRef(entity="kit", name="q")
got, worst, quiet = [], 0.0, 0
while quiet < 2:
    began = time.perf_counter()
    found = store.queues.claim(ClaimRequest(agent=name, queues=(ref,)))
    worst = max(worst, time.perf_counter() - began)
    for c in found:
        got.append(c.run.id)
        store.runs.update(c.run.id, RunUpdate(state=RunState.FINISHED, exit_code=0), fence=c.run.fence)
    quiet = 0 if found else quiet + (not store.queues.wait((ref,), 1.0))
print(json.dumps([got, worst]))
store.close()
"""

SUBMITTER = """
import sys
from windlass.models.queue import QueueRef
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_testkit.metastore_queues import items

home, url, name, each = sys.argv[1:]
store = App(Settings.from_env({"WINDLASS_HOME": home})).open_store(url)
ref = QueueRef(entity="kit", name="q")
for n in range(int(each)):
    store.queues.enqueue(items(ref, f"{name}-{n:04}"))
store.close()
"""


def begin(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def outcome(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    return out


def rush(home: str, url: str) -> None:
    store = App(Settings.from_env({"WINDLASS_HOME": home})).open_store(url)
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    agents = [begin(AGENT, home, url, f"a{n}") for n in range(PROCESSES)]
    submitters = [begin(SUBMITTER, home, url, f"s{n}", str(EACH)) for n in range(SUBMITTERS)]
    for process in submitters:
        outcome(process)
    found = [json.loads(outcome(process)) for process in agents]
    everything = [run_id for got, _ in found for run_id in got]
    assert len(everything) == len(set(everything)), "an item was claimed twice"
    assert set(everything) == {f"s{s}-{n:04}" for s in range(SUBMITTERS) for n in range(EACH)}
    for got, worst in found:
        assert worst < STARVED, f"somebody waited {worst:.3f} s for a claim"
        for submitter in range(SUBMITTERS):
            own = [run_id for run_id in got if run_id.startswith(f"s{submitter}-")]
            assert own == sorted(own), "items of one submitter left out of order"
    assert len(store.runs.list(RunFilter(states=(RunState.FINISHED,), limit=10000))) == SUBMITTERS * EACH
    assert store.queues.status(REF).queued == 0
    store.close()


@pytest.mark.slow
def test_rush_on_sqlite(tmp_path: Path) -> None:
    settings = Settings.from_env({"WINDLASS_HOME": str(tmp_path)})
    rush(str(tmp_path), settings.store_url)


@pytest.mark.slow
@pytest.mark.service("postgresql")
def test_rush_on_postgresql(tmp_path: Path, postgresql_url: str) -> None:
    rush(str(tmp_path), postgresql_url)


IN_THE_MIDDLE = """
import sys, time
from windlass.plugins.app import App
from windlass.settings import Settings

store = App(Settings.from_env({"WINDLASS_HOME": sys.argv[1]})).open_store()
with store._db.write() as tx:
    tx.run("UPDATE items SET status = 1, agent = 'dead', lease_until = 9e9")
    tx.run("UPDATE runs SET state = 'pending'")
    print("now", flush=True)
    time.sleep(60)
"""


def test_kill_in_the_middle_of_a_claim(tmp_path: Path) -> None:
    store = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path)})).open_store()
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    store.queues.enqueue(items(REF, "r1", "r2"))
    process = begin(IN_THE_MIDDLE, str(tmp_path))
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    began = time.monotonic()
    assert ids_of(claim(store, REF, limit=5)) == ["r1", "r2"]
    assert time.monotonic() - began < 10.0, "nobody waits for a turn that has died"
    store.close()


CREATE = """
import sys, time
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass.errors import ConflictError
from windlass.models.queue import Queue

time.sleep(max(0, float(sys.argv[2]) - time.time()))
store = App(Settings.from_env({"WINDLASS_HOME": sys.argv[1]})).open_store()
try:
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    print("made")
except ConflictError:
    print("there")
assert not {"sqlalchemy", "alembic"} & set(sys.modules)
store.close()
"""


def test_several_processes_make_the_database_at_once(tmp_path: Path) -> None:
    processes = [begin(CREATE, str(tmp_path), str(time.time() + 1.0)) for _ in range(4)]
    assert sorted(outcome(process) for process in processes) == ["made\n", "there\n", "there\n", "there\n"]
