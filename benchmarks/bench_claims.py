"""Claims per second of the SQLite store: 1, 4 and 16 processes, against the bare sqlite3 module doing the same job.

    python benchmarks/bench_claims.py [ITEMS] [WORKERS …]

The bare loop is what a claim costs at least: BEGIN IMMEDIATE, one UPDATE … RETURNING, COMMIT, in WAL mode with
synchronous=NORMAL, and SQLite's own busy handler. `worst wait` is the longest time anybody waited for one claim.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.queue import ClaimRequest, NewItem, Queue, QueueRef
from windlass.plugins.app import App
from windlass.settings import Settings

REF = QueueRef(entity="bench", name="q")
Result = tuple[int, float, float]


def _settings(home: str) -> Settings:
    return Settings.from_env({"WINDLASS_HOME": home})


def fill_store(home: str, count: int) -> None:
    store = App(_settings(home)).open_store()
    store.queues.create(Queue(entity="bench", name="q", resource="process"))
    spec = LaunchSpec(source=JobSource(kind=SourceKind.IMAGE, image="x"))
    items = [NewItem(run_id=f"r{number}", queue=REF, spec=spec) for number in range(count)]
    for start in range(0, count, 1000):
        store.queues.enqueue(items[start : start + 1000])
    store.close()


def claim_store(home: str, worker: int, start: Any, results: Any) -> None:
    store = App(_settings(home)).open_store()
    request = ClaimRequest(agent=f"a{worker}", queues=(REF,))
    _measure(lambda: bool(store.queues.claim(request)), start, results)
    store.close()


def fill_bare(home: str, count: int) -> None:
    connection = sqlite3.connect(f"{home}/bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, status INTEGER, agent TEXT, spec TEXT)")
    connection.execute("CREATE INDEX waiting ON items (id) WHERE status = 0")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO items VALUES (?, 0, '', ?)", [(n, "x" * 450) for n in range(count)])
    connection.execute("COMMIT")
    connection.close()


def claim_bare(home: str, worker: int, start: Any, results: Any) -> None:
    connection = sqlite3.connect(f"{home}/bare.db", isolation_level=None, timeout=60)
    connection.execute("PRAGMA synchronous=NORMAL")
    sql = (
        "UPDATE items SET status = 1, agent = ? WHERE id = "
        "(SELECT id FROM items WHERE status = 0 ORDER BY id LIMIT 1) RETURNING id, spec"
    )

    def claim() -> bool:
        connection.execute("BEGIN IMMEDIATE")
        found = connection.execute(sql, (f"a{worker}",)).fetchall()
        connection.execute("COMMIT")
        return bool(found)

    _measure(claim, start, results)
    connection.close()


def _measure(claim: Callable[[], bool], start: Any, results: Any) -> None:
    start.wait()
    count, worst, first = 0, 0.0, time.perf_counter()
    before = first
    while claim():
        now = time.perf_counter()
        count, worst, before = count + 1, max(worst, now - before), now
    results.put((count, worst, before - first))


def run(fill: Any, work: Any, count: int, workers: int) -> tuple[float, float, list[int]]:
    """Claims per second, worst wait in seconds, claims of each worker."""
    with tempfile.TemporaryDirectory() as home:
        fill(home, count)
        context = multiprocessing.get_context("spawn")
        start, results = context.Barrier(workers), context.Queue()
        processes = [context.Process(target=work, args=(home, n, start, results)) for n in range(workers)]
        for process in processes:
            process.start()
        found: list[Result] = [results.get(timeout=300) for _ in processes]
        for process in processes:
            process.join()
    total = sum(done for done, _, _ in found)
    assert total == count, f"{total} of {count} items were claimed"
    return count / max(seconds for *_, seconds in found), max(w for _, w, _ in found), sorted(d for d, _, _ in found)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    for workers in [int(word) for word in sys.argv[2:]] or [1, 4, 16]:
        bare, bare_wait, bare_shares = run(fill_bare, claim_bare, count, workers)
        rate, wait, shares = run(fill_store, claim_store, count, workers)
        bare_text = f"bare sqlite3 {bare:7.0f}/s, {bare_wait * 1000:7.1f} ms, {bare_shares[0]}–{bare_shares[-1]}"
        print(
            f"{workers:2} workers: {rate:7.0f} claims/s, worst wait {wait * 1000:6.1f} ms, "
            f"shares {shares[0]}–{shares[-1]}   | {bare_text}   | ratio {rate / bare:.2f}"
        )


if __name__ == "__main__":
    main()
