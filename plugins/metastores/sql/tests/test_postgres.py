"""The short ways on PostgreSQL: one statement each, with the outcome of the long ones."""

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from attrs import evolve

from windlass.errors import AccessError, FencedError, NotFoundError, StoreUnavailableError, UsageError
from windlass.models.launch import LaunchPolicy
from windlass.models.queue import ClaimRequest, NewItem, Queue, QueueLimits, QueueRef
from windlass.models.run import ResourceUsage, Run, RunHandle, RunState, RunUpdate
from windlass.models.schedule import Budget, BudgetUnit
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_metastore_sql import access, arrivals, endings, line, queues
from windlass_metastore_sql.claims import find_queue
from windlass_metastore_sql.postgres_link import _numbered
from windlass_metastore_sql.store import SqlStore
from windlass_testkit.metastore_queues import SPEC, claim, ids_of, items, take

REF = QueueRef(entity="kit", name="q")
pytestmark = pytest.mark.service("postgresql")


def opened(home: Path, url: str = "") -> SqlStore:
    store = App(Settings.from_env({"WINDLASS_HOME": str(home)})).open_store(url)
    assert isinstance(store, SqlStore)
    return store


@pytest.fixture
def store(tmp_path: Path, postgresql_url: str) -> Iterator[SqlStore]:
    made = opened(tmp_path, postgresql_url)
    yield made
    made.close()


@pytest.fixture
def other(tmp_path: Path, postgresql_url: str, store: SqlStore) -> Iterator[SqlStore]:
    made = opened(tmp_path, postgresql_url)
    yield made
    made.close()


def test_a_queued_run_is_stored_as_it_was_told(store: SqlStore) -> None:
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    spec = evolve(SPEC, job="kit/p/job:v1", resource="docker", policy=LaunchPolicy(queue_timeout=50.0, deadline=90.0))
    item = NewItem(run_id="r", queue=REF, spec=spec, name="n", project="p", author="ada", priority=1, config={"a": 1})
    (told,) = store.queues.enqueue([item])
    assert store.runs.get("r") == told
    assert (told.resource, told.job, told.config) == ("docker", "kit/p/job:v1", {"a": 1})
    with store._db.read() as tx:
        (times,) = tx.rows("SELECT expires_at, deadline_at FROM items")
    assert times == pytest.approx((told.created_at + 50, told.created_at + 90))


def test_a_queue_that_changed_is_read_again(store: SqlStore, other: SqlStore) -> None:
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    store.queues.enqueue(items(REF, "first"))
    other.queues.update(evolve(other.queues.get(REF), prioritized=True, resource="docker"))
    (late,) = store.queues.enqueue(items(REF, "late", priority=0))
    assert late.resource == "docker"
    assert ids_of(claim(store, REF, limit=2)) == ["late", "first"]
    store.queues.create(Queue(entity="kit", name="gone", resource="process"))
    gone = QueueRef(entity="kit", name="gone")
    store.queues.enqueue(items(gone, "x"))
    other.queues.delete(gone, force=True)
    with pytest.raises(NotFoundError):
        store.queues.enqueue(items(gone, "y"))
    with pytest.raises(NotFoundError):
        store.runs.get("y")


def _ended(store: SqlStore) -> tuple[Run, object, object]:
    """A run that cost something, ended with all that an agent tells; what is left of it."""
    store.queues.create(Queue(entity="kit", name="q", resource="process", prices={"hour": 3600.0}))
    store.queues.enqueue(items(REF, "r", author="ada"))
    lease = take(store, REF, host="h")
    store.access.issue_run_token("r", 1, lease.fence)
    begin = RunUpdate(state=RunState.RUNNING, handle=RunHandle(runner="process", id="r-1"), timings={"queue": 0.5})
    store.runs.update("r", begin, fence=lease.fence)
    store.runs.update("r", RunUpdate(summary={"loss": 0.25}))
    with store._db.write() as tx:
        tx.run("UPDATE items SET began_at = began_at - 2")
    end = RunUpdate(
        state=RunState.FINISHED, exit_code=0, usage=ResourceUsage(cpu_seconds=1.5), timings={"run": 2.0}, heartbeat=True
    )
    told = store.runs.update("r", end, fence=lease.fence)
    assert store.runs.get("r") == told
    assert told.cost == pytest.approx(2.0, abs=1.0)
    with store._db.read() as tx:
        left = [tx.rows(f"SELECT count(*) FROM {table}") for table in ("items", "item_needs")]
        spent = tx.rows('SELECT entity, "user", round(CAST(money AS NUMERIC), 0) > 0 FROM spending')
    with pytest.raises(FencedError):
        store.queues.release(lease, 0.0, RunUpdate(), next_attempt=True)
    dated = ("created_at", "queued_at", "claimed_at", "started_at", "finished_at", "heartbeat_at", "cost")
    assert all(getattr(told, name) > 0 for name in dated)
    return evolve(told, **dict.fromkeys(dated, 0.0)), left, [(a, b, bool(c)) for a, b, c in spent]


def test_the_short_end_is_the_long_one(store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[Run | None] = []
    end = endings.end
    monkeypatch.setattr(endings, "end", lambda *values: ends.append(end(*values)) or ends[-1])
    short = _ended(store)
    assert ends[0] is not None, "it must have gone the short way"
    embedded = opened(tmp_path / "long")
    assert _ended(embedded) == short
    assert len(ends) == 1
    embedded.close()


def test_an_end_sees_who_has_just_begun_to_wait(store: SqlStore, other: SqlStore) -> None:
    """A dependent arrives while its run ends: whichever is first, it is not forgotten."""
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    store.queues.enqueue(items(REF, "r"))
    lease = take(store, REF)
    end = RunUpdate(state=RunState.FINISHED)
    thread = threading.Thread(target=lambda: other.runs.update("r", end, fence=lease.fence))
    with store._db.write() as tx:
        arrivals.enqueue(tx, items(REF, "next", depends_on=("r",)), store.now())
        thread.start()
        time.sleep(0.5)
        assert thread.is_alive(), "it must wait for the lock on the run's item"
    thread.join()
    assert ids_of(claim(store, REF)) == ["next"]


def test_the_short_claim_leaves_what_needs_a_look(store: SqlStore) -> None:
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    limited = QueueRef(entity="kit", name="limited")
    store.queues.create(Queue(entity="kit", name="limited", resource="process", limits=QueueLimits(concurrency=1)))
    store.queues.enqueue([*items(REF, "a", "b"), *items(limited, "c", "d")])
    request = ClaimRequest(agent="a", queues=(REF, limited), lease_seconds=0.1)
    with store._db.single() as tx:
        queues = [find_queue(tx, REF), find_queue(tx, limited)]
        assert [line.is_plain(queue) for _, queue in queues] == [True, False]
        assert ids_of(line.take(tx, request, *queues[0], 1, store.now())) == ["a"]
    time.sleep(0.2)
    with store._db.single() as tx:
        assert line.due(tx, queues, store.now()), "a claim has ended: it goes first"
        assert not line.due(tx, queues[1:], store.now())
    assert ids_of(claim(store, limited, REF, agent="b", limit=9)) == ["a", "c", "b"]


def test_a_busy_process_sees_a_budget_after_a_moment(store: SqlStore, other: SqlStore) -> None:
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    store.queues.enqueue(items(REF, "a", "b", "c"))
    assert ids_of(claim(store, REF)) == ["a"]
    other.schedule.set_budget(Budget(entity="kit", user="", unit=BudgetUnit.HOURS, limit=0.0))
    time.sleep(queues._LOOK_EVERY + 0.05)
    assert claim(store, REF) == []
    other.schedule.set_budget(Budget(entity="kit", user="", unit=BudgetUnit.HOURS, limit=-1.0))
    assert ids_of(claim(store, REF, limit=9)) == ["b", "c"]


def test_a_claim_sees_that_its_queue_has_changed(store: SqlStore, other: SqlStore) -> None:
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    store.queues.enqueue(items(REF, "a", "b", "c"))
    assert ids_of(claim(store, REF)) == ["a"]
    paused = other.queues.update(evolve(other.queues.get(REF), paused=True))
    assert claim(store, REF) == []
    other.queues.update(evolve(paused, paused=False, resource="docker"))
    (told,) = claim(store, REF)
    assert (told.run.id, told.queue.resource) == ("b", "docker")
    store.runs.update("a", RunUpdate(state=RunState.FINISHED), fence=1)
    store.runs.update("b", RunUpdate(state=RunState.FINISHED), fence=1)
    other.queues.delete(REF, force=True)
    with pytest.raises(NotFoundError):
        claim(store, REF)


@pytest.mark.parametrize("name", ['a\\ "ü"\n', "a\x1fb\x1f", "0", ""])
def test_a_run_is_read_from_its_claim_and_end_as_from_its_row(store: SqlStore, name: str) -> None:
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    odd = {"text": '"\\\n\u2028 \x1f ü {table} %s ?', "number": 12345678901234567890, "nothing": None, "list": [1.0, 2]}
    store.queues.enqueue([NewItem(run_id="r", queue=REF, spec=SPEC, name=name, author=name, priority=0, config=odd)])
    (told,) = store.queues.claim(ClaimRequest(agent="a", queues=(REF,)))
    assert told.run == store.runs.get("r")
    assert (told.run.config, told.run.name, told.run.author, told.run.priority) == (odd, name or "r", name, 0)
    end = RunUpdate(state=RunState.FAILED, exit_code=0, notes=name, usage=ResourceUsage(cpu_seconds=0.1 + 0.2))
    with store._db.single() as tx:
        ended = endings.end(tx, "r", end, told.run.fence, "a", store.now())
    assert ended == store.runs.get("r")
    assert ended is not None
    assert (ended.exit_code, ended.notes) == (0, name)


def test_neither_claim_nor_end_changes_an_index_of_runs(store: SqlStore, other: SqlStore) -> None:
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    for number in range(40):
        store.queues.enqueue(items(REF, f"r{number}"))
        lease = take(store, REF)
        store.runs.update(lease.run_id, RunUpdate(state=RunState.RUNNING, host="h"), fence=lease.fence)
        end = RunUpdate(state=RunState.FINISHED, exit_code=0, timings={"run": 1.0})
        store.runs.update(lease.run_id, end, fence=lease.fence)
    store.close()  # a server process tells what it has done when it ends
    with other._db.read() as tx:
        counts = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'runs'"
        for _ in range(100):
            (changed, beside) = tx.row(counts) or (0, 0)
            if changed >= 120:
                break
            time.sleep(0.05)
            tx.row("SELECT pg_stat_clear_snapshot()")
    assert changed == 120
    assert beside >= 115, "the others did not fit on their pages"


def test_tokens_of_runs_that_are_over_go_with_later_ones(store: SqlStore) -> None:
    """The short end leaves them, which takes nothing from anybody: they are void."""
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    store.queues.enqueue(items(REF, "over", "live"))
    tokens = {}
    for claimed in claim(store, REF, limit=2):
        run = claimed.run
        tokens[run.id] = store.access.issue_run_token(run.id, run.attempt, run.fence)
    store.runs.update("over", RunUpdate(state=RunState.FINISHED), fence=1)
    with pytest.raises(AccessError):
        store.access.authenticate(tokens["over"])

    def kept() -> list[str]:
        with store._db.read() as tx:
            return [run_id for (run_id,) in tx.rows("SELECT run_id FROM run_tokens ORDER BY run_id")]

    assert kept() == ["live", "over"]
    for _ in range(access._SWEEP_EVERY - 2):
        store.access.issue_run_token("live", 1, 1)
    assert "over" in kept()
    last = store.access.issue_run_token("live", 1, 1)
    assert set(kept()) == {"live"}
    assert len(kept()) == access._SWEEP_EVERY
    for token in (tokens["live"], last):
        assert store.access.authenticate(token).run == "live"


def test_plans_made_for_a_few_rows_are_good_for_many(store: SqlStore) -> None:
    """The server keeps the plan of a prepared statement: what it reads whole while it is small it would for ever."""
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    for number in range(4):
        store.queues.enqueue(items(REF, f"r{number}"))
    end = endings._statement(("exit_code", "state"), True)
    for sql in (line._statement(1), end):
        with store._db.connection() as connection:
            connection.execute("SET plan_cache_mode = force_generic_plan")
            connection.execute(b"PREPARE looked_at AS " + _numbered(sql))
            values = ", ".join(["NULL"] * sql.count("?"))
            plan = "\n".join(text for (text,) in connection.execute(f"EXPLAIN EXECUTE looked_at({values})"))
            connection.execute("DEALLOCATE looked_at")
        assert not re.search(r"Seq Scan on (runs|items|queues|run_tokens)", plan), plan
        assert "items_claimed" not in plan, plan


def test_the_short_way_survives_that_the_driver_forgets(store: SqlStore) -> None:
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    for number in range(4):
        store.queues.enqueue(items(REF, f"r{number}"))
        assert ids_of(claim(store, REF)) == [f"r{number}"]
        with pytest.raises(NotFoundError), store._db.write():  # rolled back: what was prepared is thrown away
            store.runs.get("nothing")
    with pytest.raises(UsageError, match="NUL"), store._db.single() as tx:
        tx.row("SELECT ?::text", "a\0b")
    with pytest.raises(UsageError, match="zero"), store._db.single() as tx:
        tx.row("SELECT 1 / ?::int", 0)
    with store._db.single() as tx:
        assert tx.row("SELECT ?::float8, ?::bigint, ?::text, NULL, true", 0.1, -5, "ü\n") == (
            0.1,
            -5,
            "ü\n",
            None,
            True,
        )


def test_connections_are_few_and_those_that_broke_are_replaced(store: SqlStore) -> None:
    with store._db.read() as tx:
        first = tx.row("SELECT pg_backend_pid()")
    with store._db.read() as tx, store._db.read() as beside:
        assert tx.row("SELECT pg_backend_pid()") == first
        beside.row("SELECT pg_terminate_backend(?)", first[0] if first else 0)
        with pytest.raises(StoreUnavailableError), store._db.connection() as connection:
            time.sleep(0.2)
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        with pytest.raises(psycopg.OperationalError):
            tx.row("SELECT 1")
    with store._db.connection() as connection:
        left = (connection.info.backend_pid,)
        connection.execute("BEGIN")  # and is never ended
    with store._db.read() as tx:
        assert tx.row("SELECT pg_backend_pid()") not in (first, left)


def test_a_rush_is_rung_for_to_its_end(store: SqlStore, other: SqlStore) -> None:
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    assert claim(other, REF) == []  # from here on it listens
    found: list[str] = []
    for number in range(100):
        store.queues.enqueue(items(REF, f"r{number}"))
    began = time.monotonic()
    while len(found) < 100 and other.queues.wait((REF,), 5.0):
        found += ids_of(claim(other, REF, limit=200))
    assert len(found) == 100
    assert time.monotonic() - began < 5.0


def test_closing_rings_what_is_late(store: SqlStore, other: SqlStore) -> None:
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    assert claim(other, REF) == []
    for number in range(3):
        store.queues.enqueue(items(REF, f"r{number}"))
    store.close()
    assert other.queues.wait((REF,), 5.0)
    assert len(claim(other, REF, limit=9)) == 3
