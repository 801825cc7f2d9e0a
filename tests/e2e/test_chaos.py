"""Everything dies at random: agents, server and database are killed, frozen, cut off and given wrong clocks.

``WINDLASS_TEST_SEED`` replays the blows of one run of this test; ``WINDLASS_TEST_RUNS`` makes it larger.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest

from windlass.errors import StoreUnavailableError
from windlass.models.launch import LaunchPolicy
from windlass.models.queue import NewItem, Queue, QueueRef
from windlass.models.run import Run
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_metastore_sql.access import sweep_tokens
from windlass_testkit import servers
from windlass_testkit.services import require

T = TypeVar("T")
AGENTS, JOBS, LEASE = 3, 8, 2.0
RUNS = int(os.environ.get("WINDLASS_TEST_RUNS") or 30)
SEED = int(os.environ.get("WINDLASS_TEST_SEED") or 7)
LIMIT = 180.0 + 10.0 * RUNS
REF = QueueRef(entity="me", name="q")
SKEWED = Path(__file__).with_name("skewed.py")
BURST = 1500
SCRIPT = """
echo "$WINDLASS_ATTEMPT" >> "{marks}/$WINDLASS_RUN_ID"
say() {{ echo "attempt $WINDLASS_ATTEMPT line $1"; echo "beside $1" >&2; sleep 0.15; }}
say 1; say 2; say 3
seq 1 {burst}
say 4; say 5
case "$WINDLASS_RUN_ID" in
  fails*) [ "$WINDLASS_ATTEMPT" = 1 ] && exit 3 ;;
  stays*) sleep 1000 ;;
esac
say 6
"""


def kind(number: int) -> str:
    """What a run does: some fail once, some stay until they are stopped."""
    return "fails" if number % 5 == 0 else "stays" if number % 25 == 7 else "ends"


def output(attempt: int, last: int) -> bytes:
    """What one attempt writes."""
    said = [b"attempt %d line %d\n" % (attempt, number) for number in range(1, last + 1)]
    return b"".join([*said[:3], *(b"%d\n" % number for number in range(1, BURST + 1)), *said[3:]])


class Stage:
    """A store, agents, perhaps a server between them, and what befalls them.

    Args:
        folder: For everything.
        mode: ``sqlite``, ``postgresql`` (agents open the database) or ``server`` (on PostgreSQL, agents ask it).
        dice: Decides.
    """

    def __init__(self, folder: Path, mode: str, dice: random.Random) -> None:
        self.folder, self.mode, self.dice = folder, mode, dice
        self.home, self.marks, self.log = folder / "home", folder / "marks", folder / "log"
        self.home.mkdir()
        self.marks.mkdir()
        self.blows: Counter[str] = Counter()
        self.frozen: dict[int, float] = {}
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.database: servers.Running | None = None
        self.server: subprocess.Popen[bytes] | None = None
        self.agents: list[subprocess.Popen[bytes]] = []
        url = ""
        if mode != "sqlite":
            self.database = servers.start_postgresql()
            url = f"postgresql://windlass@127.0.0.1:{self.database.facts['port']}/postgres"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("WINDLASS_")}
        self.env |= {"WINDLASS_HOME": str(self.home), "WINDLASS_ENTITY": "me", "WINDLASS_BASE_URL": url}
        self.env["WINDLASS_LEASE_SECONDS"] = str(LEASE)
        self.app = App(Settings.from_env(self.env))
        self.store = self.app.open_store()
        policy = LaunchPolicy(retries={"exit-code": 1}, retry_delay=0.3, stop_grace=1.0)
        self.store.queues.create(Queue(entity="me", name="q", resource="process", policy=policy))
        self.port = servers.free_port()
        self.clocks = [folder / f"clock{0 if mode == 'sqlite' else number}" for number in range(AGENTS)]
        for clock in self.clocks:
            set_clock(clock, 0.0 if mode == "sqlite" else dice.uniform(-7200, 7200))
        if mode == "server":
            self.server = self.serve()
        self.agents = [self.agent(number) for number in range(AGENTS)]

    # -- processes --------------------------------------------------------------------------------------------

    def spawn(self, *command: str, **env: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *command],
                env={**self.env, **env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def serve(self) -> subprocess.Popen[bytes]:
        process = self.spawn("-m", "windlass_cli", "-v", "server", "--anonymous", "--port", str(self.port))
        servers.wait_for_port(self.port, pid=process.pid, log=self.log, timeout=120)
        return process

    def agent(self, number: int, *more: str) -> subprocess.Popen[bytes]:
        url = f"http://127.0.0.1:{self.port}" if self.mode == "server" else self.env["WINDLASS_BASE_URL"]
        words = ("-v", "launch-agent", "-q", "q", "-j", str(JOBS), *more)
        return self.spawn(str(SKEWED), str(self.clocks[number]), *words, WINDLASS_BASE_URL=url)

    # -- blows ------------------------------------------------------------------------------------------------

    def strike(self) -> None:
        """One blow."""
        known = ["kill", "freeze", "freeze longer", "clock"]
        known += ["cut", "crash"] if self.database else []
        known += ["server", "freeze server"] if self.server else []
        blow, number = self.dice.choice(known), self.dice.randrange(AGENTS)
        self.blows[blow] += 1
        if blow == "kill":
            self.kill(self.agents[number])
            self.agents[number] = self.agent(number)
        elif blow.startswith("freeze"):
            process = self.server if blow == "freeze server" else self.agents[number]
            # The lease is two seconds: some wake up in time, others when their runs belong to somebody else.
            seconds = (
                self.dice.uniform(2.5, 5.0) * LEASE / 2 if blow == "freeze longer" else self.dice.uniform(0.2, 1.0)
            )
            if process is not None and process.pid not in self.frozen and process.poll() is None:
                with self.lock:
                    os.kill(process.pid, signal.SIGSTOP)
                    self.frozen[process.pid] = time.monotonic() + seconds
        elif blow == "clock":
            # One machine has one clock; on it, backwards is how long a dead agent's claims last longer.
            seconds = (
                self.dice.choice([3600.0, 30.0, -1.5]) if self.mode == "sqlite" else self.dice.uniform(-7200, 7200)
            )
            set_clock(self.clocks[number], seconds + (get_clock(self.clocks[number]) if self.mode == "sqlite" else 0.0))
        elif blow == "cut":
            self.cut()
        elif blow == "crash":
            self.crash()
        elif self.server is not None:
            self.kill(self.server)
            time.sleep(self.dice.uniform(0.0, 0.5))
            self.server = self.serve()

    def cut(self) -> None:
        """End about half of the connections to the database."""
        import psycopg

        with suppress(psycopg.OperationalError), psycopg.connect(self.env["WINDLASS_BASE_URL"], autocommit=True) as own:
            found = own.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname IS NOT NULL AND pid <> pg_backend_pid() ORDER BY pid"
            ).fetchall()
            for (pid,) in found:
                if self.dice.random() < 0.5:
                    own.execute("SELECT pg_terminate_backend(%s)", (pid,))

    def crash(self) -> None:
        """Kill the database server, with what it had not written yet, and start it again."""
        assert self.database is not None
        os.kill(self.database.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.database.pid, 0)
        time.sleep(self.dice.uniform(0.0, 1.0))
        self.database = servers.restart_postgresql(self.database)

    def thaw(self, *, everybody: bool = False) -> None:
        with self.lock:
            for pid, until in list(self.frozen.items()):
                if everybody or time.monotonic() > until:
                    os.kill(pid, signal.SIGCONT)
                    del self.frozen[pid]

    def thaw_in_time(self) -> None:
        """Thaw from a thread: the test itself may be waiting for a lock that a frozen process holds."""
        while not self.over.wait(0.1):
            self.thaw()

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        with self.lock:  # a process that was waited for is nobody any more
            kill(process)
            self.frozen.pop(process.pid, None)

    # -- looks ------------------------------------------------------------------------------------------------

    def ask(self, call: Callable[[], T]) -> T:
        """Ask the store, again when a blow has hit our own connection."""
        end = time.monotonic() + 60
        while True:
            try:
                return call()
            except StoreUnavailableError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def left(self) -> int:
        status = self.ask(lambda: self.store.queues.status(REF))
        return status.queued + status.pending + status.running

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]

    def words_about(self, run_id: str) -> str:
        with self.log.open(errors="replace") as log:
            return "".join([line for line in log if run_id in line][-40:])

    def close(self) -> None:
        for process in (*self.agents, *([self.server] if self.server else [])):
            kill(process)
        runner = self.app.create_runner("process")
        for folder in (self.home / "runs").glob("*"):
            if (handle := runner.find(folder.name)) is not None:
                runner.cleanup(handle)
        runner.close()
        self.store.close()
        self.app.close()
        if self.database is not None:
            servers.stop(self.database.pid)
            shutil.rmtree(self.database.folder, ignore_errors=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(10)


def set_clock(path: Path, seconds: float) -> None:
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(struct.pack("d", seconds))


def get_clock(path: Path) -> float:
    return float(struct.unpack("d", path.read_bytes())[0])


@pytest.fixture(
    params=["sqlite", *(pytest.param(m, marks=pytest.mark.service("postgresql")) for m in ("postgresql", "server"))]
)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    if request.param != "sqlite":
        require("postgresql")
    made = Stage(tmp_path, request.param, random.Random(SEED))
    thread = threading.Thread(target=made.thaw_in_time)
    thread.start()
    yield made
    made.over.set()
    thread.join(10)
    made.close()


def submit(stage: Stage) -> list[str]:
    from windlass.artifacts.engine import ArtifactEngine
    from windlass.launch.request import LaunchRequest
    from windlass.launch.submit import submit

    source = stage.folder / "source"
    source.mkdir()
    (source / "job.sh").write_text(SCRIPT.format(marks=stage.marks, burst=BURST))
    engine = ArtifactEngine(stage.app, stage.store, stage.app.settings)
    ids = [f"{kind(number)}{number}" for number in range(RUNS)]
    request = LaunchRequest(uri=str(source), entry_point="sh job.sh", queue="q", run_id=ids[0])
    first = submit(request, app=stage.app, store=stage.store, engine=engine)
    assert first.spec is not None
    stage.store.queues.enqueue([NewItem(run_id=run_id, queue=REF, spec=first.spec) for run_id in ids[1:]])
    return ids


@pytest.mark.slow
@pytest.mark.timeout(LIMIT + 120)
def test_each_run_is_executed_once_whatever_dies(stage: Stage) -> None:
    print(f"WINDLASS_TEST_SEED={SEED} {stage.mode}, {RUNS} runs")
    ids = submit(stage)
    staying = [run_id for run_id in ids if run_id.startswith("stays")]
    began = time.monotonic()
    blow = began + 1.0
    while (left := stage.left()) > 0:
        assert time.monotonic() < began + LIMIT, f"seed {SEED}: {left} of {RUNS} are left\n{stage.tail()}"
        if time.monotonic() > blow:
            stage.strike()
            blow = time.monotonic() + stage.dice.uniform(0.3, 1.5)
        if staying and (left <= len(staying) or stage.dice.random() < 0.02):
            run_id = staying.pop()
            stage.ask(lambda run_id=run_id: stage.store.runs.request_stop(run_id))  # type: ignore[misc]
        time.sleep(0.1)
    stage.thaw(everybody=True)
    print(f"over after {time.monotonic() - began:.0f} s; blows: {dict(stage.blows)}")
    assert sum(stage.blows.values()) >= 3, "nothing happened to anybody"
    runs = {run_id: stage.ask(lambda run_id=run_id: stage.store.runs.get(run_id)) for run_id in ids}  # type: ignore[misc]
    time.sleep(LEASE + 0.5)  # late comers have their say
    for run_id, run in runs.items():
        assert stage.store.runs.get(run_id) == run, "what is over does not change"
        check(stage, run)
    check_nothing_is_left(stage)


def check(stage: Stage, run: Run) -> None:
    """One run: its state, how often it was executed, its output."""
    end = f"{run.state}, exit code {run.exit_code}, attempt {run.attempt}, claim {run.fence}, {run.reason}"
    what = f"seed {SEED}: {run.id} {end}\n{stage.words_about(run.id)}"
    mark = stage.marks / run.id
    executed = mark.read_text().split() if mark.exists() else []
    attempts = ["1", "2"] if run.id.startswith("fails") else ["1"]
    lines = stage.store.runs.read_log(run.id, limit=100_000).lines
    written = b"".join(line.data for line in lines if line.stream == "stdout")
    if run.id.startswith("stays"):
        assert run.state.value == "killed", what
        assert run.reason is not None
        assert run.reason.code == "stopped-by-user", what
        assert executed in ([], attempts), f"executed {executed}; {what}"
        assert differ(written, output(1, 5)[: len(written)]) == "", what
        return
    assert (run.state.value, run.exit_code) == ("finished", 0), what
    assert executed == attempts, f"executed {executed}; {what}"
    assert run.attempt == len(attempts), what
    expected = (output(1, 5) if len(attempts) > 1 else b"") + output(len(attempts), 6)
    assert differ(written, expected) == "", what
    beside = b"".join(line.data for line in lines if line.stream == "stderr")
    ends = [5, 6] if len(attempts) > 1 else [6]
    assert differ(beside, b"".join(b"beside %d\n" % n for end in ends for n in range(1, end + 1))) == "", what


def differ(found: bytes, wanted: bytes) -> str:
    """Where two outputs part; empty when they do not."""
    if found == wanted:
        return ""
    place = next(
        (n for n, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), min(len(found), len(wanted))
    )
    return f"at byte {place} of {len(wanted)}: {found[place - 40 : place + 40]!r}, not {wanted[place : place + 40]!r}"


def check_nothing_is_left(stage: Stage) -> None:
    """Agents end when they are asked to; no process, folder, claim or token stays."""
    for process in stage.agents:
        process.terminate()
    for process in stage.agents:
        assert process.wait(30) in (0, 1), stage.tail()
    last = stage.agent(0, "--drain")  # the sweep of an agent that starts removes what dead ones left
    assert last.wait(60) == 0, stage.tail()
    if stage.server is not None:
        kill(stage.server)
    with stage.store._db.write() as tx:  # type: ignore[attr-defined]
        sweep_tokens(tx)  # those of runs that are over are void, and go with later ones
        for table in ("items", "item_needs", "run_tokens"):
            assert tx.row(f"SELECT count(*) FROM {table}") == (0,), table
    assert [path.name for part in ("runs", "work") for path in (stage.home / part).glob("*")] == []
    assert processes(str(stage.folder)) == []


def processes(word: str) -> list[str]:
    """Command lines of processes that have a word in them or in their environment, without ours."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            if word.encode() in command + environment and int(folder.name) != os.getpid():
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found
