"""Enqueue and claim+ack on PostgreSQL: 1, 4 and 16 workers, against bare SQL and against other queues.

    python benchmarks/bench_postgres.py [--items N] [--workers 1 4 16] [--batch 10] [--peers VENV]

Starts a server of its own (in `TMPDIR`). In each of many short rounds all workers use one queue after the other, so
that a machine that is slower for a second is so for all. Numbers are time of Windlass ÷ time of bare SQL in the same
round, median and quartiles (smaller is better). The bare loop is what the same promises cost at least, each in one
prepared statement: a durable row with the request and one in the queue, then a NOTIFY; a claim under a lease with a
fencing number (`SKIP LOCKED`, not flushed, like ours); an end that is durable. procrastinate and pgqueuer are measured
when they are there; they keep one row and know no fence. With `--batch`, so many items are claimed at once; ours and
the bare ones end one by one all the same, as runs do, while pgqueuer ends them together.

    python benchmarks/bench_postgres.py --archived ROWS

Claim latency (p50, p99) behind that many finished runs, against an empty database, in alternating rounds.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from contestants import CONTESTANTS, REF, SPEC, Windlass, open_store

from windlass.models.queue import ClaimRequest, NewItem
from windlass.models.run import RunState, RunUpdate
from windlass_testkit.servers import free_port, start, stop, wait_for_port
from windlass_testkit.services import POSTGRESQL_FOLDERS, program

WARM = 10
"""Items by which each worker warms up in each round: statements are prepared, and plans are made for good."""


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


def work(urls: dict[str, str], number: int, plan: Plan, meet: Any, results: Any) -> None:
    """One worker: in each round it uses each queue in turn, side by side with the other workers."""
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in urls}
    for turn in range(plan.rounds):
        for name, url in urls.items():
            queue = CONTESTANTS[name](url, number, plan.batch)  # nobody listens for work yet
            first = turn * (plan.each + WARM)
            queue.put(range(first, first + WARM))
            meet.wait()
            began = time.perf_counter()
            queue.put(range(first + WARM, first + WARM + plan.each))
            enqueued = time.perf_counter() - began
            meet.wait()
            done = queue.take(WARM)
            meet.wait()
            began = time.perf_counter()
            done += queue.take()
            found[name].append((enqueued, time.perf_counter() - began, done))
            meet.wait()
            queue.close()
    results.put(found)


class Plan(NamedTuple):
    """What a worker does.

    Attributes:
        each: Items of one worker in one round.
        rounds: So many.
        batch: Items of one claim.
    """

    each: int
    rounds: int
    batch: int


def race(base: str, names: list[str], workers: int, plan: Plan) -> dict[str, list[tuple[float, float]]]:
    """For each queue and round the seconds that enqueueing took, and claiming and ending."""
    urls = {name: database(base, f"bench_{name.split()[0]}") for name in names}
    for name, url in urls.items():
        CONTESTANTS[name].prepare(url)
    context = multiprocessing.get_context("spawn")
    meet, results = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=work, args=(urls, n, plan, meet, results)) for n in range(workers)]
    for process in processes:
        process.start()
    found = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    times = {}
    for name in names:
        rounds = list(zip(*(each[name] for each in found), strict=True))
        assert all(sum(done for *_, done in turn) == (plan.each + WARM) * workers for turn in rounds), (
            f"{name}: not each once"
        )
        times[name] = [(max(put for put, *_ in turn), max(take for _, take, _ in turn)) for turn in rounds]
    return times


def throughput(base: str, options: argparse.Namespace) -> None:
    names = [name for name in CONTESTANTS if name in ("bare SQL", "windlass") or importlib.util.find_spec(name)]
    for workers in options.workers:
        plan = Plan(each=max(options.items // workers, 1), rounds=options.rounds, batch=options.batch)
        times = race(base, names, workers, plan)
        for name in names:
            texts = []
            for place, word in enumerate(("enqueue", "claim+ack")):
                rate = plan.each * workers / statistics.median(turn[place] for turn in times[name])
                ratios = sorted(
                    own[place] / bare[place] for bare, own in zip(times["bare SQL"], times[name], strict=True)
                )
                low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
                texts.append(f"{word} {rate:7.0f}/s ({middle:4.2f} × bare, {low:.2f}–{high:.2f})")
            print(f"{workers:2} workers, batch {options.batch:2}  {name:14} {'   '.join(texts)}", flush=True)


def fill(url: str, rows: int) -> None:
    """Put finished runs into a new database; indexes are made afterwards, which is many times faster."""
    Windlass.prepare(url)
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
    stores = {name: open_store(url) for name, url in urls.items()}
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
    parser.add_argument("--items", type=int, default=160, help="in one round, all workers together")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--batch", type=int, default=1, help="items of one claim")
    parser.add_argument("--rounds", type=int, default=25)
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
