"""Enqueue and claim+ack on PostgreSQL: 1, 4 and 16 workers, against bare SQL and against other queues.

    python benchmarks/bench_postgres.py [--items N] [--workers 1 4 16] [--batch 10] [--peers VENV]

Starts a server of its own (in `TMPDIR`). Numbers are ratios of one run, medians of interleaved rounds: time of
Windlass ÷ time of bare SQL (smaller is better). The bare loop is what the same promises cost at least, each in one
prepared statement: a durable row with the request and one in the queue, then a NOTIFY; a claim under a lease with a
fencing number (`SKIP LOCKED`, not flushed, like ours); an end that is durable. procrastinate and pgqueuer are measured
when they are there; they keep one row and know no fence. With `--batch`, so many items are claimed at once; ours and
the bare ones end one by one all the same, as runs do, while pgqueuer ends them together.

    python benchmarks/bench_postgres.py --archived ROWS

Claim latency (p50, p99) behind that many finished runs, against an empty database, in alternating rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import multiprocessing
import pathlib
import pwd
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.queue import ClaimRequest, NewItem, Queue, QueueRef
from windlass.models.run import RunState, RunUpdate
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_testkit.servers import free_port, start, stop, wait_for_port
from windlass_testkit.services import POSTGRESQL_FOLDERS, program

REF = QueueRef(entity="bench", name="q")
SPEC = LaunchSpec(source=JobSource(kind=SourceKind.IMAGE, image="x"))
BODY = "x" * 450


@contextmanager
def server() -> Iterator[str]:
    """A PostgreSQL server with the settings it comes with; gives the URL's beginning."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="windlass-bench-"))
    user = "postgres" if "postgres" in {entry.pw_name for entry in pwd.getpwall()} else None
    if user:
        shutil.chown(folder, user)
    port = free_port()
    subprocess.run(
        [program("initdb", *POSTGRESQL_FOLDERS), "-D", str(folder / "data"), "-U", "bench", "-A", "trust"],
        check=True, capture_output=True, user=user, cwd="/",
    )  # fmt: skip
    pid = start(
        [program("postgres", *POSTGRESQL_FOLDERS), "-D", str(folder / "data"), "-h", "127.0.0.1", "-p", str(port),
         "-k", str(folder), "-c", "max_connections=200"],
        log=folder / "log", user=user,
    )  # fmt: skip
    try:
        wait_for_port(port, pid=pid, log=folder / "log")
        _wait_until_ready(f"postgresql://bench@127.0.0.1:{port}/postgres")
        yield f"postgresql://bench@127.0.0.1:{port}/"
    finally:
        stop(pid)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(url: str) -> None:
    for _ in range(200):
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)


def database(base: str, name: str) -> str:
    """An empty database."""
    with psycopg.connect(base + "postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name}")
    return base + name


# -- the contestants: prepare(url) and worker(url, number, count, start, results) ------------------------------------


def _store(url: str) -> Any:
    return App(Settings.from_env({"WINDLASS_HOME": tempfile.gettempdir()})).open_store(url)


def prepare_windlass(url: str) -> None:
    store = _store(url)
    store.queues.create(Queue(entity="bench", name="q", resource="process"))
    store.close()


def work_windlass(url: str, number: int, count: int, batch: int, start: Any, results: Any) -> None:
    store = _store(url)
    request = ClaimRequest(agent=f"a{number}", queues=(REF,), limit=batch)

    def put(n: int) -> None:
        store.queues.enqueue([NewItem(run_id=f"r{number}-{n}", queue=REF, spec=SPEC, config={"body": BODY})])

    def take() -> int:
        found = store.queues.claim(request)
        for claim in found:
            end = RunUpdate(state=RunState.FINISHED, exit_code=0, timings={"run": 1.0})
            store.runs.update(claim.run.id, end, fence=claim.run.fence)
        return len(found)

    store.queues.get(REF)  # connects; only who claims listens, here as with the others
    _measure(put, take, count, start, results)
    store.close()


def prepare_bare(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE runs (id TEXT PRIMARY KEY, state TEXT NOT NULL, body TEXT NOT NULL, fence BIGINT NOT NULL "
            "DEFAULT 0, agent TEXT NOT NULL DEFAULT '', finished_at FLOAT8 NOT NULL DEFAULT 0)"
        )
        connection.execute(
            "CREATE TABLE items (pos BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, id TEXT UNIQUE, "
            "status INT NOT NULL DEFAULT 0, agent TEXT NOT NULL DEFAULT '', fence BIGINT NOT NULL DEFAULT 0, "
            "lease_until FLOAT8 NOT NULL DEFAULT 0)"
        )
        connection.execute("CREATE INDEX waiting ON items (pos) WHERE status = 0")


_RELAXED = "set_config('synchronous_commit', 'off', true)"
_BARE_PUT = (
    "WITH run AS (INSERT INTO runs (id, state, body) VALUES (%(id)s, 'queued', %(body)s)) "
    "INSERT INTO items (id) VALUES (%(id)s)"
)
_BARE_RING = f"SELECT {_RELAXED}, pg_notify('bare', 'q')"
_BARE_CLAIM = (
    "WITH head AS (SELECT pos FROM items WHERE status = 0 ORDER BY pos LIMIT {batch} FOR UPDATE SKIP LOCKED), "
    "took AS (UPDATE items SET status = 1, agent = %(agent)s, fence = fence + 1, lease_until = %(until)s FROM head "
    "WHERE items.pos = head.pos RETURNING id, fence), "
    "moved AS (UPDATE runs SET state = 'pending', fence = took.fence, agent = %(agent)s FROM took "
    "WHERE runs.id = took.id RETURNING runs.id, runs.fence, runs.body) "
    f"SELECT moved.*, {_RELAXED} FROM moved"
)
_BARE_END = (
    "WITH gone AS (DELETE FROM items WHERE id = %(id)s AND fence = %(fence)s RETURNING id) "
    "UPDATE runs SET state = 'finished', finished_at = %(now)s FROM gone WHERE runs.id = gone.id"
)


def work_bare(url: str, number: int, count: int, batch: int, start: Any, results: Any) -> None:
    connection = psycopg.connect(url, autocommit=True, prepare_threshold=1)
    claim = _BARE_CLAIM.format(batch=batch)

    def put(n: int) -> None:
        connection.execute(_BARE_PUT, {"id": f"r{number}-{n}", "body": BODY})
        connection.execute(_BARE_RING)

    def take() -> int:
        rows = connection.execute(claim, {"agent": f"a{number}", "until": time.time() + 60}).fetchall()
        for run_id, fence, *_ in rows:
            connection.execute(_BARE_END, {"id": run_id, "fence": fence, "now": time.time()})
        return len(rows)

    _measure(put, take, count, start, results)
    connection.close()


def prepare_procrastinate(url: str) -> None:
    import procrastinate

    app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=url))
    with app.open():
        app.schema_manager.apply_schema()


def work_procrastinate(url: str, _number: int, count: int, _batch: int, start: Any, results: Any) -> None:
    import procrastinate

    app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=url))
    with app.open():
        deferrer = app.configure_task("job", queue="q")
        connection = psycopg.connect(url, autocommit=True, prepare_threshold=1)
        worker = _procrastinate_worker(connection)

        def put(_: int) -> None:
            deferrer.defer(body=BODY)

        def take() -> int:
            # What its worker sends: one function call to fetch a job, one to finish it.
            row = connection.execute(
                "SELECT id FROM procrastinate_fetch_job_v2(%s, %s::bigint)", (["q"], worker)
            ).fetchone()
            if row is None or row[0] is None:
                return 0
            connection.execute(
                "SELECT procrastinate_finish_job_v1(%s, 'succeeded'::procrastinate_job_status, false)", (row[0],)
            )
            return 1

        _measure(put, take, count, start, results)
        connection.close()


def _procrastinate_worker(connection: Any) -> int:
    row = connection.execute("SELECT worker_id FROM procrastinate_register_worker_v1()").fetchone()
    return int(row[0])


def prepare_pgqueuer(url: str) -> None:
    asyncio.run(_install_pgqueuer(url))


async def _install_pgqueuer(url: str) -> None:
    from pgqueuer.db import PsycopgDriver
    from pgqueuer.queries import Queries

    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    async with PsycopgDriver(connection) as driver:
        await Queries(driver).install()
    await connection.close()


def work_pgqueuer(url: str, _number: int, count: int, batch: int, start: Any, results: Any) -> None:
    asyncio.run(_work_pgqueuer(url, count, batch, start, results))


async def _work_pgqueuer(url: str, count: int, batch: int, start: Any, results: Any) -> None:
    import datetime as dt
    import uuid

    from pgqueuer.db import PsycopgDriver
    from pgqueuer.queries import EntrypointExecutionParameter, Queries

    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    async with PsycopgDriver(connection) as driver:
        queries, manager = Queries(driver), uuid.uuid4()
        entry, patience = EntrypointExecutionParameter(0), dt.timedelta(hours=1)
        start.wait()
        began = time.perf_counter()
        for _ in range(count):
            await queries.enqueue(["job"], [BODY.encode()], [0])
        put = time.perf_counter() - began
        start.wait()
        began, done = time.perf_counter(), 0
        while jobs := await queries.dequeue(
            batch_size=batch, entrypoints={"job": entry}, queue_manager_id=manager, global_concurrency_limit=None,
            heartbeat_timeout=patience,
        ):  # fmt: skip
            await queries.log_jobs([(job, "successful", None) for job in jobs])
            done += len(jobs)
        results.put((put, time.perf_counter() - began, done))
    await connection.close()


CONTESTANTS: dict[str, tuple[Callable[[str], None], Callable[..., None]]] = {
    "bare SQL": (prepare_bare, work_bare),
    "windlass": (prepare_windlass, work_windlass),
    "procrastinate": (prepare_procrastinate, work_procrastinate),
    "pgqueuer": (prepare_pgqueuer, work_pgqueuer),
}


def _measure(put: Callable[[int], None], take: Callable[[], int], count: int, start: Any, results: Any) -> None:
    start.wait()
    began = time.perf_counter()
    for n in range(count):
        put(n)
    enqueued = time.perf_counter() - began
    start.wait()
    began, done = time.perf_counter(), 0
    while taken := take():
        done += taken
    results.put((enqueued, time.perf_counter() - began, done))


def run(base: str, name: str, count: int, workers: int, batch: int) -> tuple[float, float]:
    """Enqueued and claimed+acknowledged items per second."""
    prepare, work = CONTESTANTS[name]
    url = database(base, "bench")
    prepare(url)
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(workers), context.Queue()
    each = count // workers
    processes = [context.Process(target=work, args=(url, n, each, batch, start, results)) for n in range(workers)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sum(done for *_, done in found) == each * workers, f"{name} did not do each item once"
    total = each * workers
    return total / max(put for put, *_ in found), total / max(take for _, take, _ in found)


def throughput(base: str, options: argparse.Namespace) -> None:
    there = [n for n in CONTESTANTS if n in ("bare SQL", "windlass") or importlib.util.find_spec(n)]
    for workers in options.workers:
        rounds: list[dict[str, tuple[float, float]]] = []
        for _ in range(options.rounds):
            rounds.append({})
            for name in there:
                try:
                    rounds[-1][name] = run(base, name, options.items, workers, options.batch)
                except Exception as error:
                    print(f"  {name} could not be measured: {type(error).__name__}: {error}")
        for name in there:
            pairs = [(found["bare SQL"], found[name]) for found in rounds if name in found]
            texts = []
            for place, word in enumerate(("enqueue", "claim+ack")):
                rate = statistics.median(own[place] for _, own in pairs)
                ratios = sorted(bare[place] / own[place] for bare, own in pairs)
                spread = f"{ratios[0]:.2f}–{ratios[-1]:.2f}"
                texts.append(f"{word} {rate:7.0f}/s ({statistics.median(ratios):4.2f} × bare, {spread})")
            print(f"{workers:2} workers, batch {options.batch:2}  {name:14} {'   '.join(texts)}", flush=True)


def fill(url: str, rows: int) -> None:
    """Put finished runs into a new database; indexes are made afterwards, which is many times faster."""
    prepare_windlass(url)
    with psycopg.connect(url, autocommit=True) as connection:
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'runs' AND indexdef NOT LIKE '%UNIQUE%'"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        connection.execute(
            "INSERT INTO runs (id, name, entity, project, state, queue, job, author, agent, created_at, claimed_at, "
            "finished_at, spec, config) SELECT 'old' || n, 'old', 'bench', 'p' || n %% 20, 'finished', 'q', "
            "'j' || n %% 9, 'u' || n %% 50, 'a' || n %% 100, n, n, n + 1, repeat('s', 200), '' "
            "FROM generate_series(1, %s) n",
            (rows,),
        )
        for _, definition in indexes:
            connection.execute(definition)
        connection.execute("VACUUM ANALYZE")


def archived(urls: dict[str, str], rows: int, claims: int = 2000) -> None:
    """Claim latency behind many finished runs, claim by claim in turns with an empty database."""
    stores = {name: _store(url) for name, url in urls.items()}
    times: dict[str, list[float]] = {name: [] for name in stores}
    request = ClaimRequest(agent="a", queues=(REF,))
    for number in range(-50, claims):
        for name, store in stores.items():
            store.queues.enqueue([NewItem(run_id=f"n{number}", queue=REF, spec=SPEC)])
            began = time.perf_counter()
            (claim,) = store.queues.claim(request)
            if number >= 0:
                times[name].append(time.perf_counter() - began)
            store.runs.update(claim.run.id, RunUpdate(state=RunState.FINISHED), fence=claim.run.fence)
    p99 = {}
    for name, values in times.items():
        cuts = statistics.quantiles(values, n=100)
        p99[name] = cuts[98]
        print(f"{name:6} claim p50 {cuts[49] * 1000:6.2f} ms   p99 {cuts[98] * 1000:6.2f} ms")
    print(f"p99 behind {rows} archived runs ÷ p99 of an empty database: {p99['full'] / p99['empty']:.2f}")
    for store in stores.values():
        store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--batch", type=int, default=1, help="items of one claim")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=pathlib.Path, help="a virtual environment with procrastinate and pgqueuer")
    parser.add_argument("--archived", type=int, metavar="ROWS", help="claim latency behind that many finished runs")
    options = parser.parse_args()
    if options.peers:
        sys.path += map(str, options.peers.glob("lib/python*/site-packages"))
    with server() as base:
        if options.archived:
            urls = {name: database(base, f"archive_{name}") for name in ("empty", "full")}
            fill(urls["empty"], 0)
            fill(urls["full"], options.archived)
            archived(urls, options.archived)
        else:
            throughput(base, options)


if __name__ == "__main__":
    main()
