"""What is special about the embedded store."""

import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.errors import NoSpaceError, StoreError, StoreUnavailableError
from windlass.models.queue import Queue, QueueRef
from windlass.models.run import LogLine, Run, RunFilter, RunState, RunUpdate
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_metastore_sql import schema
from windlass_metastore_sql.config import SqlConfig
from windlass_metastore_sql.store import SqlStore, open_store
from windlass_metastore_sql.turns import FairLock, Turns
from windlass_testkit.metastore_queues import claim, items, make_queue


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"WINDLASS_HOME": str(tmp_path / "home")})


@pytest.fixture
def open_(settings: Settings) -> Iterator[Callable[..., SqlStore]]:
    opened: list[SqlStore] = []

    def open_again(timeout: float = 30.0, url: str = "") -> SqlStore:
        store = open_store(SqlConfig(url=url or settings.store_url, timeout=timeout), App(settings).context())
        opened.append(store)
        return store

    yield open_again
    for store in opened:
        store.close()


def path_of(settings: Settings) -> Path:
    return settings.home / "windlass.db"


def test_the_file_is_private_and_in_wal_mode(open_: Callable[..., SqlStore], settings: Settings) -> None:
    open_()
    assert stat.S_IMODE(path_of(settings).stat().st_mode) == 0o600
    connection = sqlite3.connect(path_of(settings))
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.LATEST,)
    assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (schema.VERSIONS[-1],)
    connection.close()


def test_a_newer_schema_is_refused(open_: Callable[..., SqlStore], settings: Settings) -> None:
    open_().close()
    connection = sqlite3.connect(path_of(settings))
    connection.execute(f"PRAGMA user_version={schema.LATEST + 1}")
    connection.close()
    with pytest.raises(StoreError, match="newer Windlass"):
        open_()


def test_an_older_schema_is_upgraded_by_alembic(
    open_: Callable[..., SqlStore], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_()
    make_queue(store)
    store.close()
    connection = sqlite3.connect(path_of(settings), isolation_level=None)
    made = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        if not table.startswith("sqlite_"):
            connection.execute(f'DROP TABLE "{table}"')
    connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    connection.execute("PRAGMA user_version=1")
    connection.close()
    monkeypatch.setattr(schema, "LATEST", 2)  # as if the file were of the version before the first
    store = open_()
    make_queue(store)
    store.close()
    connection = sqlite3.connect(path_of(settings))
    assert {row[0] for row in connection.execute("SELECT name FROM sqlite_master")} >= made - {"sqlite_sequence"}
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    connection.close()


def test_the_file_of_another_program_is_left_alone(open_: Callable[..., SqlStore], settings: Settings) -> None:
    settings.home.mkdir()
    connection = sqlite3.connect(path_of(settings))
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        open_()
    path_of(settings).write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreError, match="not a sound database"):
        open_()


def test_a_locked_database_is_unavailable_and_unchanged(open_: Callable[..., SqlStore], settings: Settings) -> None:
    store = open_(timeout=0.3)
    ref = make_queue(store)
    shell = sqlite3.connect(path_of(settings), isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        store.queues.enqueue(items(ref, "r"))
    assert time.monotonic() - began < 10.0
    assert caught.value.retryable
    assert store.queues.status(ref).queued == 0, "reading must go on"
    shell.execute("ROLLBACK")
    shell.close()
    store.queues.enqueue(items(ref, "r"))


def test_a_full_disk_leaves_nothing_half_done(open_: Callable[..., SqlStore]) -> None:
    store = open_()
    ref = make_queue(store)
    writer = store._db._writer  # type: ignore[attr-defined]
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count={pages + 5}")
    with pytest.raises(NoSpaceError):
        store.queues.enqueue(items(ref, *(f"r{number}" for number in range(500))))
    assert store.runs.list(RunFilter()) == ()
    writer.execute(f"PRAGMA max_page_count={pages + 10000}")
    assert len(store.queues.enqueue(items(ref, *(f"r{number}" for number in range(500))))) == 500


def test_a_failing_call_changes_nothing(open_: Callable[..., SqlStore]) -> None:
    store = open_()
    store.runs.create(Run(id="r"))
    with pytest.raises(RuntimeError), store._db.write() as tx:
        tx.run("UPDATE runs SET name = 'half'")
        raise RuntimeError
    assert store.runs.get("r").name == ""


def test_claims_cost_the_same_after_many_runs(open_: Callable[..., SqlStore]) -> None:
    store = open_()
    ref = make_queue(store)
    store.queues.enqueue(items(ref, "first"))
    claim(store, ref)
    store.runs.update("first", RunUpdate(state=RunState.FINISHED))
    with store._db.write() as tx:
        tx.run(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) "
            "INSERT INTO runs (id, state, queue, finished_at) SELECT 'old' || i, 'finished', 'q', 1 FROM n"
        )
    store.queues.enqueue(items(ref, "next"))
    with store._db.read() as tx:
        steps = tx.rows(
            "EXPLAIN QUERY PLAN SELECT run_id FROM items WHERE queue_id = 1 AND status = 0 ORDER BY rank, pos LIMIT 1"
        )
        left = tx.row("SELECT count(*) FROM items")
    assert left == (1,)
    assert "items_waiting" in str(steps)
    assert "TEMP B-TREE" not in str(steps)
    assert len(claim(store, ref)) == 1


def test_waiting_costs_no_cpu(open_: Callable[..., SqlStore]) -> None:
    store = open_()
    ref = make_queue(store)
    claim(store, ref)
    before = time.thread_time()  # other threads of the test process may be at work
    assert not store.queues.wait((ref,), 2.0)
    assert time.thread_time() - before < 0.1


def test_bells_of_the_dead_are_removed(open_: Callable[..., SqlStore], settings: Settings) -> None:
    import socket

    store = open_()
    ref = make_queue(store)
    bells = settings.home / "bells"
    claim(store, ref)
    assert len(list(bells.iterdir())) == 1
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(str(bells / "999-dead"))
    dead.close()
    store.queues.enqueue(items(ref, "r"))
    assert len(list(bells.iterdir())) == 1
    store.close()
    assert list(bells.iterdir()) == []


def test_blobs_lie_where_the_database_says(open_: Callable[..., SqlStore], settings: Settings, tmp_path: Path) -> None:
    elsewhere = (tmp_path / "elsewhere").as_uri()
    store = open_(url=f"{settings.store_url}?blobs={elsewhere}")
    assert store.blob_root() == elsewhere
    assert open_().blob_root() == elsewhere
    with pytest.raises(StoreError, match="elsewhere"):
        open_(url=f"{settings.store_url}?blobs=file:///third").blob_root()


def test_secrets_are_not_in_the_database(open_: Callable[..., SqlStore], settings: Settings) -> None:
    from windlass.models.access import User

    store = open_()
    store.access.create_user(User(name="ada"))
    secret = store.access.create_key("ada").secret
    store.runs.create(Run(id="r"))
    token = store.access.issue_run_token("r", 1, 0)
    store.close()
    everything = b"".join(path.read_bytes() for path in settings.home.glob("windlass.db*"))
    for text in (secret, token):
        assert len(text) > 40
        assert text.encode() not in everything


def test_a_clock_that_jumps_back_reorders_nothing(settings: Settings) -> None:
    from msgspec.structs import replace

    clock = [1000.0]
    context = replace(App(settings).context(), clock=lambda: clock[0])
    store = open_store(SqlConfig(url=settings.store_url), context)
    ref = make_queue(store)
    store.queues.enqueue(items(ref, "first"))
    clock[0] = 10.0
    store.queues.enqueue(items(ref, "second"))
    assert [found.run.id for found in claim(store, ref, limit=2)] == ["first", "second"]
    store.close()


def test_waiting_raises_a_priority(settings: Settings) -> None:
    from msgspec.structs import replace

    clock = [1000.0]
    context = replace(App(settings).context(), clock=lambda: clock[0])
    store = open_store(SqlConfig(url=settings.store_url), context)
    store.queues.create(Queue(entity="kit", name="q", resource="process", prioritized=True))
    ref = QueueRef(entity="kit", name="q")
    store.queues.enqueue(items(ref, "old-low", priority=3))
    clock[0] += 13 * 3600
    store.queues.enqueue(items(ref, "high", priority=1))
    store.queues.enqueue(items(ref, "critical", priority=0))
    assert [found.run.id for found in claim(store, ref, limit=3)] == ["critical", "old-low", "high"]
    store.close()


def test_a_deleted_log_position_is_skipped_by_a_follower(open_: Callable[..., SqlStore]) -> None:
    store = open_()
    store.runs.create(Run(id="r"))
    big = [LogLine(data=bytes(1 << 20)) for _ in range(20)]
    store.runs.append_log("r", big, "r", "", "1")
    position = 0
    while position < 20:
        position = store.runs.read_log("r", position, 20).next
    for number in range(1, 5):
        store.runs.append_log("r", big, "r", str(number), str(number + 1))
    page = store.runs.read_log("r", position, 1)
    assert b"left out" in page.lines[0].data
    assert page.next > position


def test_turns_are_taken_in_order() -> None:
    lock = FairLock()
    assert lock.acquire(1.0)
    order: list[int] = []

    def work(number: int) -> None:
        assert lock.acquire(10.0)
        order.append(number)
        lock.release()

    threads = []
    for number in range(8):
        threads.append(threading.Thread(target=work, args=(number,)))
        threads[-1].start()
        time.sleep(0.01)
    assert not lock.acquire(0.01)
    lock.release()
    for thread in threads:
        thread.join()
    assert order == list(range(8))
    assert lock.acquire(0.0)


def test_a_stopped_writer_does_not_stop_everybody_for_ever(tmp_path: Path) -> None:
    first, second = Turns(tmp_path / "db"), Turns(tmp_path / "db")
    with first.turn(1.0):
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError), second.turn(0.2):
            pass
        assert 0.15 < time.monotonic() - began < 10.0
    with second.turn(1.0):
        pass
    first.close()
    second.close()


def test_runs_of_a_job_on_a_queue_are_looked_up(open_: Callable[..., SqlStore]) -> None:
    """As ``run retry`` asks for them, among all runs of a project."""
    store, asked = open_(), []
    with store._db.read() as tx:
        rows = type(tx).rows

        def watched(self: Any, sql: str, *values: Any) -> Any:
            asked.append((sql, values))
            return rows(self, sql, *values)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(tx), "rows", watched)
            store.runs.list(RunFilter(entity="kit", project="p", queue="q", job="kit/p/job:v1"))
        (plan,) = tx.rows(f"EXPLAIN QUERY PLAN {asked[-1][0]}", *asked[-1][1])
    assert "runs_by_job (entity=? AND queue=? AND job=?)" in plan[-1]
