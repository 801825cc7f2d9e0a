"""What time brings, schema upgrades with data in them, and what a dead process leaves to others."""

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from windlass.errors import AccessError, StoreError, UsageError
from windlass.metastore import MetadataStore
from windlass.models.access import Member, Role, User
from windlass.models.artifact import ArtifactRef, NewVersion
from windlass.models.queue import Agent, Queue, QueueRef
from windlass.models.run import Run, RunFilter, RunState, RunUpdate
from windlass.models.schedule import TriggerEvent
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_metastore_sql import explaining, schema
from windlass_metastore_sql.store import SqlStore
from windlass_testkit.fakes.memory import MemoryMetadataStore
from windlass_testkit.metastore_queues import SPEC, claim, ids_of, items
from windlass_testkit.metastore_schedule import make_trigger, publish

REF = QueueRef(entity="kit", name="q")


def opened(home: Path, url: str = "", **options: Any) -> SqlStore:
    settings = Settings.from_env({"WINDLASS_HOME": str(home)})
    store = App(settings).create("metastore", "sql", {"url": url or settings.store_url, **options})
    assert isinstance(store, SqlStore)
    return store


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.service("postgresql"))])
def test_a_clock_that_was_years_ahead(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> None:
    """A schedule that was reckoned meanwhile would wait until it is that time again."""
    store = opened(tmp_path, request.getfixturevalue("postgresql_url") if database == "postgresql" else "")
    real = store._db.now
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    agent = store.agents.register(Agent(id="a", entity="kit", queues=(REF,)))
    make_trigger(store, REF, event=TriggerEvent.CRON, cron="@hourly", spec=SPEC)
    store._db.now = lambda: real() + 9 * 365 * 86400  # type: ignore[method-assign]
    assert len(claim(store, REF)) == 1, "the time that has passed is made up for by one run"
    make_trigger(store, REF, name="late", event=TriggerEvent.CRON, cron="@daily", spec=SPEC)
    store._db.now = real  # type: ignore[method-assign]
    store.agents.heartbeat(agent.id, "polling", ())
    for name, most in (("t", 3600), ("late", 86400)):
        found = store.schedule.get_trigger("kit", name)
        assert 0 < found.next_at - store.now() <= most
        assert found.last_at <= store.now()
    store.close()


def many_agents_one_run(store: SqlStore, home: Path, url: str) -> None:
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    make_trigger(store, REF, event=TriggerEvent.CRON, cron="@hourly", spec=SPEC)
    with store._db.write() as tx:
        tx.run("UPDATE triggers SET next_at = ?", store.now() - 7 * 3600)  # nobody was there for hours
    others = [opened(home, url) for _ in range(4)]
    found: list[str] = []
    threads = [threading.Thread(target=lambda s=s: found.extend(ids_of(claim(s, REF)))) for s in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found += ids_of(claim(store, REF))
    (run,) = store.runs.list(RunFilter())
    assert found == [run.id]
    assert 0 < store.schedule.get_trigger("kit", "t").next_at - store.now() <= 3600
    for passed in range(1, 4):  # each time that comes while somebody is there makes one
        with store._db.write() as tx:
            tx.run("UPDATE triggers SET next_at = ?", store.now() - 0.01)
        threads = [threading.Thread(target=claim, args=(each, REF)) for each in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.runs.list(RunFilter())) == 1 + passed
    for other in others:
        other.close()


def test_a_missed_time_is_made_up_for_once(tmp_path: Path) -> None:
    store = opened(tmp_path)
    many_agents_one_run(store, tmp_path, "")
    store.close()


@pytest.mark.service("postgresql")
def test_a_missed_time_is_made_up_for_once_on_postgresql(tmp_path: Path, postgresql_url: str) -> None:
    store = opened(tmp_path, postgresql_url)
    many_agents_one_run(store, tmp_path, postgresql_url)
    store.close()


def test_a_waiting_agent_wakes_when_a_trigger_is_due(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    make_trigger(store, REF, event=TriggerEvent.CRON, cron="@hourly", spec=SPEC)

    def waited() -> float:
        with store._db.write() as tx:
            tx.run("UPDATE triggers SET next_at = ?", store.now() + 0.4)
        assert claim(store, REF) == []
        began = time.monotonic()
        assert store.queues.wait((REF,), 5.0)
        spent = time.monotonic() - began
        assert spent > 0.3
        assert len(claim(store, REF)) == 1
        return spent

    assert any(waited() < 0.9 for _ in range(5)), "not with the look of every second"
    store.close()


def test_what_nobody_looks_after_does_not_ring_all_the_time(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    make_trigger(store, REF, event=TriggerEvent.CRON, cron="@hourly", spec=SPEC)
    with store._db.write() as tx:
        tx.run("UPDATE triggers SET next_at = ?", store.now() - 1.0)  # and the agent is about to end
    began, rings = time.monotonic(), 0
    while time.monotonic() - began < 1.5:
        rings += store.queues.wait([REF], 5.0)
    assert 1 <= rings <= 3
    store.close()


def test_a_trigger_whose_time_zone_is_unknown_here_keeps_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    make_trigger(store, REF, event=TriggerEvent.CRON, cron="@hourly", timezone="Europe/Berlin", spec=SPEC)
    with store._db.write() as tx:
        tx.run("UPDATE triggers SET next_at = ?", store.now() - 1.0)
    store.queues.enqueue(items(REF, "r"))

    def unknown(name: str) -> NoReturn:
        raise UsageError(f"there is no time zone {name!r}")

    with monkeypatch.context() as there:
        there.setattr("windlass.schedule.triggers.zone", unknown)
        assert ids_of(claim(store, REF, limit=5)) == ["r"]
        assert "Europe/Berlin" in store.schedule.get_trigger("kit", "t").error
    (made,) = claim(store, REF, limit=5)  # an agent that knows it
    assert store.schedule.get_trigger("kit", "t").last_run == made.run.id
    assert store.schedule.get_trigger("kit", "t").error == ""
    store.close()


def test_an_event_whose_process_died_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path)
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    make_trigger(store, REF)
    with monkeypatch.context() as patch:
        patch.setattr(store.artifacts, "_fire", lambda: None)  # killed right behind the commit
        publish(store, 1)
    assert store.runs.list(RunFilter()) == ()
    successor = opened(tmp_path)
    (found,) = claim(successor, REF)
    assert found.run.config["data"] == "kit/p/data:v0"
    assert claim(store, REF) == []
    store.close()
    successor.close()


def test_the_order_foretold_is_the_order_taken(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.queues.create(Queue(entity="kit", name="q", resource="process", fair_share=True, prioritized=True))
    for author, count in (("ada", 6), ("bob", 3), ("eve", 1)):
        for n in range(count):
            store.queues.enqueue(items(REF, f"{author}{n}", author=author, priority=1 + n % 3))
    assert len(claim(store, REF)) == 1
    left = [run.id for run in store.runs.list(RunFilter(states=(RunState.QUEUED,)))]
    (turn,) = [why for why in store.queues.explain("ada1").reasons if why.code == "fair-share"]
    assert turn.context == {"author": "ada", "at_work": 1, "later": 1}
    foretold = sorted(left, key=lambda run_id: store.queues.explain(run_id).position)
    assert [run_id for _ in left for run_id in ids_of(claim(store, REF))] == foretold
    store.close()


def hours_among_critical_ones(store: SqlStore, *, fair_share: bool) -> int:
    """How long an item of low priority waits while each hour brings as much critical work as is taken."""
    store.queues.create(Queue(entity="kit", name="q", resource="process", prioritized=True, fair_share=fair_share))
    store.queues.enqueue(items(REF, "low", author="ann", priority=3))
    for hour in range(48):
        store.queues.enqueue(items(REF, f"a{hour}", f"b{hour}", author="bob", priority=0))
        if "low" in ids_of(claim(store, REF, limit=2)):
            return hour
        assert store.queues.explain("low").position >= 1
        with store._db.write() as tx:
            tx.run("UPDATE items SET rank = rank - 3600")  # an hour passes
    return 48


@pytest.mark.parametrize("fair_share", [False, True])
def test_nothing_starves(tmp_path: Path, fair_share: bool) -> None:
    store = opened(tmp_path)
    assert 12 < hours_among_critical_ones(store, fair_share=fair_share) <= 19
    store.close()


@pytest.mark.service("postgresql")
@pytest.mark.parametrize("fair_share", [False, True])
def test_nothing_starves_on_postgresql(tmp_path: Path, postgresql_url: str, fair_share: bool) -> None:
    store = opened(tmp_path, postgresql_url)
    assert 12 < hours_among_critical_ones(store, fair_share=fair_share) <= 19
    store.close()


def a_large_run_gets_its_turn(store: MetadataStore, monkeypatch: pytest.MonkeyPatch, fair_share: bool) -> None:
    large = Queue(entity="kit", name="large", resource="process", config={"gpus": 2}, fair_share=fair_share)
    small = Queue(entity="kit", name="small", resource="process", config={"gpus": 1})
    refs = [QueueRef(entity="kit", name=store.queues.create(queue).name) for queue in (large, small)]
    store.agents.register(Agent(id="a", entity="kit", queues=tuple(refs), max_jobs=-1, slots={"gpu": 2.0}))
    store.agents.register(Agent(id="s", entity="kit", queues=tuple(refs), max_jobs=-1, slots={"gpu": 1.0}))
    store.queues.enqueue([*items(refs[0], "l1"), *items(refs[1], "s1", "s2")])
    one, two = {"gpu": 1.0}, {"gpu": 2.0}
    assert ids_of(claim(store, *refs, capacity=one)) == ["s1"], "it is overtaken for a while"
    monkeypatch.setattr("windlass.launch.needs.PATIENCE", 0.0)
    assert claim(store, *refs, capacity=one, limit=5) == [], "and then the agent makes room for it"
    assert ids_of(claim(store, *refs, agent="s", capacity=one)) == ["s2"], "one that cannot hold it goes on"
    assert ids_of(claim(store, *refs, capacity=two, limit=5)) == ["l1"]


@pytest.mark.parametrize("fair_share", [False, True])
def test_a_large_run_gets_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fair_share: bool) -> None:
    for store in (opened(tmp_path), MemoryMetadataStore()):
        with monkeypatch.context() as there:
            a_large_run_gets_its_turn(store, there, fair_share)
        store.close()


@pytest.mark.service("postgresql")
def test_a_large_run_gets_its_turn_on_postgresql(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path, postgresql_url)
    a_large_run_gets_its_turn(store, monkeypatch, True)
    store.close()


def test_what_is_claimed_together_fits_together(tmp_path: Path) -> None:
    store = opened(tmp_path)
    queue = Queue(entity="kit", name="q", resource="process", config={"gpus": 1}, fair_share=True)
    store.queues.create(queue)
    for author in ("ann", "bob", "eve"):
        store.queues.enqueue(items(REF, author, author=author))
    assert ids_of(claim(store, REF, capacity={"gpu": 2.0}, limit=5)) == ["ann", "bob"]
    store.close()


def test_a_forecast_looks_behind_all_that_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "_LOOK_BACK", 3)
    store = opened(tmp_path)
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    store.queues.enqueue(items(REF, "old"))
    (told,) = claim(store, REF)
    store.runs.update("old", RunUpdate(state=RunState.FINISHED), fence=told.run.fence)
    store.queues.enqueue(items(REF, *(f"r{number}" for number in range(9))))
    assert store.queues.explain("r8").history == 1
    store.close()


def test_an_older_file_is_upgraded_with_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first schema, with a waiting and a claimed run written by hand as its program did."""
    path = tmp_path / "windlass.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    for statement in schema.statements(schema.VERSIONS[0], "sqlite"):
        connection.execute(statement)
    connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    connection.execute("INSERT INTO alembic_version VALUES (?)", (schema.VERSIONS[0],))
    connection.execute("PRAGMA user_version=1")
    connection.execute(
        "INSERT INTO queues (id, entity, name, resource, created_at, updated_at) "
        "VALUES (1, 'kit', 'q', 'process', 1, 1)"
    )
    for number, status in ((1, 1), (2, 0)):
        connection.execute(
            "INSERT INTO runs (id, entity, state, queue, created_at) VALUES (?, 'kit', ?, 'q', 1)",
            (f"r{number}", "pending" if status else "queued"),
        )
        connection.execute(
            "INSERT INTO items (run_id, queue_id, status, priority, rank, pos, author, lease_until) "
            "VALUES (?, 1, ?, 2, 1, ?, 'ada', 9e12)",
            (f"r{number}", status, number),
        )
    connection.execute(
        "INSERT INTO agents (id, name, entity, host, pid, version, queues, max_jobs, state, runs, drain_requested, "
        "created_at, heartbeat_at) VALUES ('a', 'a', 'kit', 'h', 1, '0', '', 1, 'polling', '', 0, 1, 1)"
    )
    connection.close()
    store = opened(tmp_path)
    store.check()
    assert ids_of(claim(store, REF, limit=9)) == ["r2"]
    assert store.runs.get("r1").cost == 0.0
    with store._db.read() as tx:
        assert tx.rows("SELECT owner FROM items ORDER BY run_id") == [("kit",), ("kit",)]
    store.queues.enqueue(items(REF, "r3"))
    assert store.queues.get(REF).prices == {}
    assert store.agents.get("a").slots == {}
    store.close()


@pytest.mark.service("postgresql")
def test_an_older_database_is_upgraded_with_what_is_in_it(tmp_path: Path, postgresql_url: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        for statement in schema.statements(schema.VERSIONS[0], "postgresql"):
            connection.execute(statement)
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES (%s)", (schema.VERSIONS[0],))
        connection.execute(
            "INSERT INTO queues (entity, name, resource, created_at, updated_at) VALUES ('kit', 'q', 'process', 1, 1)"
        )
        connection.execute(
            "INSERT INTO runs (id, entity, state, queue, created_at) "
            "SELECT 'r' || n, 'kit', CASE WHEN n % 100 = 0 THEN 'queued' ELSE 'finished' END, 'q', n "
            "FROM generate_series(1, 2000) n"
        )
        connection.execute(
            "INSERT INTO items (run_id, queue_id, status, priority, rank, pos, author) "
            "SELECT id, 1, 0, 2, created_at, seq, 'ada' FROM runs WHERE state = 'queued'"
        )
    with pytest.raises(StoreError):
        opened(tmp_path, postgresql_url)  # somebody must decide to upgrade a database that others use
    opened(tmp_path, postgresql_url, upgrade=True).close()
    store = opened(tmp_path, postgresql_url)
    assert len(claim(store, REF, limit=100)) == 20
    assert len(store.runs.list(RunFilter(states=(RunState.FINISHED,), limit=5000))) == 1980
    store.close()


LIVE = RunFilter(states=(RunState.QUEUED, RunState.PENDING, RunState.RUNNING))


def down_and_up(home: Path, url: str = "") -> None:
    """What the first schema has a place for is the same afterwards; what waits is claimed in its order."""
    store = opened(home, url)
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    store.queues.enqueue([*items(REF, *(f"r{n}" for n in range(5))), *items(REF, "late", depends_on=("r0",))])
    (at_work, over) = claim(store, REF, limit=2, lease_seconds=3600)
    store.runs.update(over.run.id, RunUpdate(state=RunState.FINISHED, summary={"a": 1}), fence=over.run.fence)
    for name in ("tracked", "gone"):
        store.runs.create(Run(id=name, entity="kit"))
    store.runs.update("gone", RunUpdate(state=RunState.FAILED))
    before, live = store.runs.list(RunFilter()), [run.id for run in store.runs.list(LIVE)]
    assert live == ["tracked", "late", "r4", "r3", "r2", at_work.run.id]
    store.access.create_user(User(name="ada"))
    lasting, ending = store.access.create_key("ada"), store.access.create_key("ada", expires_in=3600)
    store.access.authenticate(ending.secret)
    store.close()
    for version in (8, 7, 6, 5, 4, 3, 2, 1):
        opened(home, url, schema_version=version).close()
        with pytest.raises(StoreError, match="there is no schema"):
            opened(home, url, schema_version=99)
        opened(home, url, upgrade=True).close()
    store = opened(home, url)
    assert store.runs.list(RunFilter()) == before
    assert [run.id for run in store.runs.list(LIVE)] == live
    assert store.access.authenticate(lasting.secret).name == "ada"
    with pytest.raises(AccessError):  # the older schema cannot say that it ends
        store.access.authenticate(ending.secret)
    assert ids_of(claim(store, REF, limit=9)) == ["r2", "r3", "r4"]
    assert store.queues.status(REF).queued == 1
    end = RunUpdate(state=RunState.FINISHED)
    store.runs.update(at_work.run.id, end, fence=at_work.run.fence)  # it is still known that somebody waits for it
    assert ids_of(claim(store, REF)) == ["late"]
    store.close()


def test_people_go_on_saying_who_has_which_role_and_programs_do_not(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for user in (User(name="ada"), User(name="robot", service=True)):
        store.access.create_user(user)
        store.access.set_member(Member(entity="team", user=user.name, role=Role.OWNER))
    store.close()
    opened(tmp_path, schema_version=7).close()
    opened(tmp_path, upgrade=True).close()
    store = opened(tmp_path)
    assert {m.user: m.role for m in store.access.members("team")} == {"ada": Role.ADMIN, "robot": Role.OWNER}
    store.close()


def taken_over(home: Path, url: str = "") -> None:
    """Versions whose content came from others are not left to a program that cannot tell; the others stay whole."""
    store = opened(home, url)
    for number, origins in enumerate(((), ("strangers",))):
        digest = f"blake3:{number:064x}"
        new = NewVersion(entity="kit", project="p", name="d", type="t", digest=digest, manifest=digest, origins=origins)
        store.artifacts.commit(new)
    store.close()
    opened(home, url, schema_version=5).close()
    opened(home, url, upgrade=True).close()
    store = opened(home, url)
    assert store.artifacts.get(ArtifactRef(entity="kit", project="p", name="d")).version == 0
    store.close()


def test_what_was_taken_over_does_not_stay_in_a_file_of_older_schema(tmp_path: Path) -> None:
    taken_over(tmp_path)


@pytest.mark.service("postgresql")
def test_what_was_taken_over_does_not_stay_in_a_database_of_older_schema(tmp_path: Path, postgresql_url: str) -> None:
    taken_over(tmp_path, postgresql_url)


def test_a_file_goes_back_to_older_schemas_and_forward(tmp_path: Path) -> None:
    down_and_up(tmp_path)


@pytest.mark.service("postgresql")
def test_a_database_goes_back_to_older_schemas_and_forward(tmp_path: Path, postgresql_url: str) -> None:
    down_and_up(tmp_path, postgresql_url)


@pytest.mark.service("postgresql")
def test_a_file_is_copied_to_postgresql_and_back(tmp_path: Path, postgresql_url: str) -> None:
    from windlass.errors import ConflictError
    from windlass.models.run import LogLine, MetricRow
    from windlass_metastore_sql.copying import _TABLES

    store = opened(tmp_path / "a")
    store.queues.create(Queue(entity="kit", name="q", resource="process", prices={"hour": 2.0}))
    store.access.create_user(User(name="ada"))
    secret = store.access.create_key("ada").secret
    make_trigger(store, REF)
    publish(store, 1)
    store.queues.enqueue(items(REF, *(f"r{n:04}" for n in range(1200))))
    (found,) = claim(store, REF)
    store.runs.append_log(found.run.id, [LogLine(data=b"\xff\x00")], "s", "", "1")
    store.runs.log_metrics(found.run.id, [MetricRow(step=n, time=1.0, values={"a": n}) for n in range(700)])
    digest = "blake3:" + __import__("blake3").blake3(b"bytes").hexdigest()
    store.blobs.put(digest, b"bytes")
    with store._db.read() as tx:
        there = {name for (name,) in tx.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert there - {"facts", "alembic_version", "sqlite_sequence"} == set(_TABLES)

    middle = opened(tmp_path / "b", f"{postgresql_url}?blobs={(tmp_path / 'b' / 'blobs').as_uri()}")
    counts = store.copy_to(middle)
    assert (counts["runs"], counts["metrics"], counts["blobs"]) == (1201, 700, 1)
    with pytest.raises(ConflictError):
        store.copy_to(middle)
    back = opened(tmp_path / "c")
    middle.copy_to(back)
    for copy in (middle, back):
        assert copy.runs.list(RunFilter(limit=5000)) == store.runs.list(RunFilter(limit=5000))
        assert copy.access.authenticate(secret).name == "ada"
        assert copy.runs.read_log(found.run.id).lines[0].data == b"\xff\x00"
        with copy.blobs.open(digest) as stream:
            assert stream.read() == b"bytes"
        assert ids_of(claim(copy, REF)) == ["r0000"]
        publish(copy, 2)
        assert copy.schedule.get_trigger("kit", "t").fired == 2
        copy.close()
    store.close()
