"""The contract of metadata stores: runs, history, logs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from attrs import evolve

from windlass.errors import ConflictError, FencedError, RunNotFoundError, UsageError, WindlassError
from windlass.metastore import MetadataStore
from windlass.models.reason import Reason
from windlass.models.run import (
    LOST_AFTER,
    LogLine,
    MetricRow,
    ResourceUsage,
    Run,
    RunFilter,
    RunHandle,
    RunPhase,
    RunState,
    RunUpdate,
)
from windlass_testkit.metastore_queues import items, make_queue, take


def _run(run_id: str, **values: Any) -> Run:
    return evolve(Run(id=run_id, entity="kit", project="contract"), **values)


def _lines(*texts: bytes) -> list[LogLine]:
    return [LogLine(stream="stdout", data=text, cursor=str(i), time=1.5) for i, text in enumerate(texts)]


class RunTests:
    """Tests of `RunStore`."""

    def test_a_created_run_comes_back_as_it_was(self, store: MetadataStore) -> None:
        run = _run("r1", name="ünïcode ☃", config={"a": [1, {"b": None}], "n": 1.5}, tags=("x", "y"), group="g")
        created = store.runs.create(run)
        assert created.created_at > 0
        assert created.started_at > 0
        assert store.runs.get("r1") == created
        assert evolve(created, created_at=0.0, started_at=0.0) == run

    def test_a_taken_id_is_a_conflict(self, store: MetadataStore) -> None:
        store.runs.create(_run("r1", name="first"))
        with pytest.raises(ConflictError):
            store.runs.create(_run("r1", name="second"))
        assert store.runs.get("r1").name == "first"

    def test_what_is_nested_deeply_hides_nothing_from_others(self, store: MetadataStore) -> None:
        """It is refused, or everybody can read it, however deep in calls he is himself."""
        store.runs.create(_run("r1", config={"a": 1}))
        deep: Any = 1
        for _ in range(900):
            deep = [deep]

        def called_by(others: int) -> int:
            if others:
                return called_by(others - 1)
            store.runs.metrics("r1")
            return len(store.runs.list(RunFilter(entity="kit")))

        there = 1
        for write in (
            lambda: store.runs.create(_run("r2", config={"deep": deep})),
            lambda: store.runs.update("r1", RunUpdate(summary={"deep": deep})),
            lambda: store.runs.log_metrics("r1", [MetricRow(step=0, time=1.0, values={"deep": deep})]),
        ):
            with suppress(WindlassError):
                write()
            there = len(store.runs.list(RunFilter(entity="kit")))
            assert called_by(150) == there
        assert called_by(0) == there

    def test_an_unknown_run_is_named(self, store: MetadataStore) -> None:
        for call in (
            lambda: store.runs.get("nope"),
            lambda: store.runs.update("nope", RunUpdate(notes="x")),
            lambda: store.runs.request_stop("nope"),
            lambda: store.runs.delete("nope"),
            lambda: store.runs.log_metrics("nope", [MetricRow(step=0, time=1.0, values={})]),
            lambda: store.runs.append_log("nope", [], "s", "", "1"),
        ):
            with pytest.raises(RunNotFoundError, match="nope"):
                call()

    def test_runs_are_listed_newest_first_in_pages(self, store: MetadataStore) -> None:
        for number in range(5):
            store.runs.create(_run(f"r{number}", group="even" if number % 2 == 0 else "odd"))
        store.runs.create(_run("elsewhere", project="other"))
        where = RunFilter(entity="kit", project="contract", limit=2)
        first = store.runs.list(where)
        assert [run.id for run in first] == ["r4", "r3"]
        assert [run.id for run in store.runs.list(evolve(where, before="r3"))] == ["r2", "r1"]
        assert [run.id for run in store.runs.list(RunFilter(group="odd"))] == ["r3", "r1"]
        store.runs.update("r1", RunUpdate(state=RunState.FAILED, job="kit/p/job:v1"))
        assert [run.id for run in store.runs.list(RunFilter(states=(RunState.FAILED,)))] == ["r1"]
        assert [run.id for run in store.runs.list(RunFilter(job="kit/p/job:v1"))] == ["r1"]
        assert len(store.runs.list(RunFilter(entity="kit", states=(RunState.RUNNING,)))) == 5

    def test_live_runs_are_listed_whatever_way_they_came(self, store: MetadataStore) -> None:
        at_work, live = (RunState.PENDING, RunState.RUNNING), (RunState.QUEUED, RunState.PENDING, RunState.RUNNING)

        def ids(*states: RunState) -> list[str]:
            return [run.id for run in store.runs.list(RunFilter(states=states))]

        ref = make_queue(store)
        for name in ("t1", "t2"):
            store.runs.create(_run(name))
        store.runs.create(_run("imported", state=RunState.FINISHED, finished_at=1.0))
        store.queues.enqueue(items(ref, "q1", "q2", "q3", "q4"))
        lease = take(store, ref)
        second = take(store, ref)
        assert ids(*live) == ["q4", "q3", "q2", "q1", "t2", "t1"]
        assert ids(*at_work) == ["q2", "q1", "t2", "t1"]
        store.runs.update("q1", RunUpdate(state=RunState.RUNNING), fence=lease.fence)
        assert ids(RunState.RUNNING) == ["q1", "t2", "t1"]
        store.queues.release(second, 0.0, RunUpdate(), next_attempt=True)
        assert (ids(*at_work), ids(RunState.QUEUED)) == (["q1", "t2", "t1"], ["q4", "q3", "q2"])
        store.queues.release(lease, 0.0, RunUpdate(), next_attempt=True)
        store.runs.request_stop("q4")
        store.runs.update("t1", RunUpdate(state=RunState.FINISHED))
        assert (ids(*at_work), ids(*live)) == (["t2"], ["q3", "q2", "q1", "t2"])
        store.runs.update("t1", RunUpdate(state=RunState.RUNNING, reopen=True))
        assert ids(*at_work) == ["t2", "t1"]
        assert [run.id for run in store.runs.list(RunFilter(states=live, limit=2, before="q3"))] == ["q2", "q1"]
        for name in ("t1", "t2"):
            store.runs.update(name, RunUpdate(state=RunState.CRASHED))
        assert ids(*at_work) == []

    def test_an_update_changes_what_it_names(self, store: MetadataStore) -> None:
        store.runs.create(_run("r", config={"a": 1, "b": {"c": 1}}, summary={"x": 1}, tags=("t",)))
        changed = store.runs.update(
            "r",
            RunUpdate(
                config={"b": 2},
                summary={"y": 2},
                timings={"build": 1.5},
                handle=RunHandle(runner="process", id="r", data={"pid": 7}),
                usage=ResourceUsage(max_rss=5),
                exit_code=3,
                image="i",
                phase=RunPhase.STARTING,
                reason=Reason(code="c", message="m", context={"k": [1]}),
                heartbeat=True,
            ),
        )
        assert changed == store.runs.get("r")
        assert changed.config == {"a": 1, "b": 2}
        assert changed.summary == {"x": 1, "y": 2}
        assert changed.handle is not None
        assert changed.handle.data == {"pid": 7}
        assert (changed.tags, changed.exit_code, changed.timings) == (("t",), 3, {"build": 1.5})
        assert changed.reason == Reason(code="c", message="m", context={"k": [1]})
        assert changed.heartbeat_at > 0
        assert store.runs.update("r", RunUpdate()) == changed

    def test_a_terminal_state_stays(self, store: MetadataStore) -> None:
        store.runs.create(_run("r"))
        over = store.runs.update("r", RunUpdate(state=RunState.FAILED, exit_code=2))
        assert over.finished_at > 0
        assert store.runs.update("r", RunUpdate(state=RunState.FAILED)).finished_at == over.finished_at
        with pytest.raises(ConflictError):
            store.runs.update("r", RunUpdate(state=RunState.FINISHED, notes="no"))
        after = store.runs.update("r", RunUpdate(summary={"late": 1}, tags=("z",), notes="n"))
        assert (after.state, after.summary, after.tags, after.notes) == (RunState.FAILED, {"late": 1}, ("z",), "n")

    def test_a_run_that_was_not_queued_can_be_resumed(self, store: MetadataStore) -> None:
        store.runs.create(_run("r"))
        store.runs.update("r", RunUpdate(state=RunState.FAILED, exit_code=2))
        again = store.runs.update("r", RunUpdate(reopen=True))
        assert (again.state, again.finished_at, again.exit_code) == (RunState.RUNNING, 0.0, None)

    def test_claim_and_attempt_guard_updates(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "r"))
        lease = take(store, ref)
        store.runs.update("r", RunUpdate(state=RunState.RUNNING), fence=lease.fence, attempt=1)
        before = store.runs.get("r")
        assert before.started_at > 0
        with pytest.raises(FencedError):
            store.runs.update("r", RunUpdate(notes="x"), fence=lease.fence + 1)
        with pytest.raises(FencedError):
            store.runs.update("r", RunUpdate(notes="x"), attempt=2)
        with pytest.raises(FencedError):
            store.runs.update("r", RunUpdate(notes="x"), fence=lease.fence, agent="another")
        with pytest.raises(FencedError):
            store.queues.release(evolve(lease, agent="another"), 0.0, RunUpdate(), next_attempt=True)
        with pytest.raises(FencedError):
            store.runs.log_metrics("r", [MetricRow(step=0, time=1.0, values={"a": 1})], attempt=2)
        with pytest.raises(FencedError):
            store.runs.append_log("r", _lines(b"x"), "r", "", "1", fence=lease.fence + 1)
        assert store.runs.get("r") == before
        assert store.runs.update("r", RunUpdate(), fence=lease.fence, agent=before.agent) == before
        assert store.runs.metrics("r") == ()
        assert store.runs.read_log("r").lines == ()

    def test_a_waiting_run_is_stopped_at_once(self, store: MetadataStore) -> None:
        ref = make_queue(store)
        store.queues.enqueue(items(ref, "r"))
        stopped = store.runs.request_stop("r")
        assert (stopped.state, stopped.stop_requested) == (RunState.KILLED, True)
        assert stopped.reason is not None
        assert stopped.reason.code == "stopped-by-user"
        assert store.runs.request_stop("r").state is RunState.KILLED
        assert store.queues.status(ref).queued == 0

    def test_a_run_whose_process_is_gone_is_ended_by_who_stops_it(self, store: MetadataStore) -> None:
        long_ago = store.now() - 2 * LOST_AFTER
        for name in ("gone", "alive"):
            store.runs.create(evolve(_run(name), created_at=long_ago, started_at=long_ago))
        store.runs.update("alive", RunUpdate(heartbeat=True))
        gone, alive = store.runs.request_stop("gone"), store.runs.request_stop("alive")
        assert (gone.state, gone.reason and gone.reason.code) == (RunState.CRASHED, "lost")
        assert gone.finished_at > 0
        assert (alive.state, alive.stop_requested) == (RunState.RUNNING, True)
        store.runs.delete("gone")

    def test_a_run_that_fell_silent_is_ended_by_who_looks(self, store: MetadataStore) -> None:
        long_ago = store.now() - 2 * LOST_AFTER
        times: dict[str, Any] = {"created_at": long_ago - 9, "started_at": long_ago - 9, "heartbeat_at": long_ago}
        for name in ("gone", "lost", "alive"):
            store.runs.create(evolve(_run(name), **times))
        store.runs.create(evolve(_run("mute"), **{**times, "heartbeat_at": 0.0}))  # it never says that it lives
        store.runs.update("alive", RunUpdate(heartbeat=True))
        gone = store.runs.get("gone")
        assert (gone.state, gone.reason, gone.finished_at) == (RunState.CRASHED, Reason.unheard(), long_ago)
        assert [run.id for run in store.runs.list(RunFilter(states=(RunState.RUNNING,)))] == ["mute", "alive"]
        assert {run.id for run in store.runs.list(RunFilter(states=(RunState.CRASHED,)))} == {"gone", "lost"}
        assert {store.runs.get(name).state for name in ("alive", "mute")} == {RunState.RUNNING}

    def test_a_run_that_is_heard_of_again_goes_on(self, store: MetadataStore) -> None:
        long_ago = store.now() - 2 * LOST_AFTER
        store.runs.create(evolve(_run("r"), created_at=long_ago, started_at=long_ago, heartbeat_at=long_ago))
        assert store.runs.get("r").state is RunState.CRASHED
        store.runs.update("r", RunUpdate(summary={"loss": 1}))
        assert store.runs.get("r").state is RunState.CRASHED, "anybody may write that"
        again = store.runs.update("r", RunUpdate(heartbeat=True))
        assert (again.state, again.reason, again.finished_at) == (RunState.RUNNING, None, 0.0)
        assert [run.id for run in store.runs.list(RunFilter(states=(RunState.RUNNING,)))] == ["r"]
        ended = store.runs.update("r", RunUpdate(heartbeat=True, state=RunState.FINISHED, exit_code=0))
        assert (ended.state, ended.exit_code) == (RunState.FINISHED, 0)
        store.runs.update("r", RunUpdate(heartbeat=True))
        assert store.runs.get("r").state is RunState.FINISHED

    def test_only_a_run_that_is_over_is_deleted(self, store: MetadataStore) -> None:
        store.runs.create(_run("r"))
        store.runs.append_log("r", _lines(b"x"), "r", "", "1")
        with pytest.raises(ConflictError):
            store.runs.delete("r")
        store.runs.update("r", RunUpdate(state=RunState.FINISHED))
        store.runs.delete("r")
        with pytest.raises(RunNotFoundError):
            store.runs.get("r")

    def test_history_rows_are_merged_by_step(self, store: MetadataStore) -> None:
        store.runs.create(_run("r"))
        store.runs.log_metrics("r", [MetricRow(step=s, time=float(s), values={"loss": s}) for s in range(10)])
        for _ in range(2):  # may be repeated
            store.runs.log_metrics("r", [MetricRow(step=3, time=9.0, values={"acc": 1}), *_steps(20)])
        rows = store.runs.metrics("r", after_step=2, limit=3)
        assert [row.step for row in rows] == [3, 4, 5]
        assert rows[0].values == {"loss": 3, "acc": 1}
        assert len(store.runs.metrics("r")) == 11
        with pytest.raises(UsageError):
            store.runs.log_metrics("r", [MetricRow(step=-1, time=0.0, values={})])

    def test_logs_are_stored_exactly_once(self, store: MetadataStore, other: MetadataStore) -> None:
        store.runs.create(_run("r"))
        assert store.runs.log_cursor("r", "r") == ""
        assert store.runs.append_log("r", _lines(b"one\n", b"\xff\x00two"), "r", "", "c2")
        assert not other.runs.append_log("r", _lines(b"one\n", b"\xff\x00two"), "r", "", "c2")
        assert other.runs.log_cursor("r", "r") == "c2"
        assert other.runs.append_log("r", _lines(b"three"), "r", "c2", "c3")
        assert other.runs.append_log("r", (), "r", "c3", "c3")
        assert not store.runs.append_log("r", (), "r", "c4", "c4")
        assert other.runs.append_log("r", _lines(b"build"), "r/build", "", "9")
        page = store.runs.read_log("r")
        assert [line.data for line in page.lines] == [b"one\n", b"\xff\x00two", b"three", b"build"]
        assert page.lines[1] == LogLine(stream="stdout", data=b"\xff\x00two", cursor="1", time=1.5)
        assert (page.next, page.ended) == (4, False)
        part = store.runs.read_log("r", start=1, limit=2)
        assert ([line.data for line in part.lines], part.next) == ([b"\xff\x00two", b"three"], 3)
        store.runs.update("r", RunUpdate(state=RunState.FINISHED))
        assert store.runs.read_log("r", start=4).ended
        assert not store.runs.read_log("r", start=0, limit=1).ended

    def test_the_middle_of_a_huge_log_is_left_out(self, store: MetadataStore) -> None:
        store.runs.create(_run("r"))
        mebibyte = 1024 * 1024
        for number in range(12):
            lines = [LogLine(data=b"%03d" % number + bytes(mebibyte - 3)) for _ in range(6)]
            assert store.runs.append_log("r", lines, "r", str(number) if number else "", str(number + 1))
        found: list[bytes] = []
        position = 0
        while lines_ := store.runs.read_log("r", position, 4):
            if lines_.next == position:
                break
            found += [line.data for line in lines_.lines]
            position = lines_.next
        total = sum(len(data) for data in found)
        assert total <= 64 * mebibyte + 200
        assert total > 40 * mebibyte
        assert found[0].startswith(b"000")
        assert found[-1].startswith(b"011")
        assert any(len(data) < 200 for data in found), "no mark stands where output was left out"


def _steps(step: int) -> list[MetricRow]:
    return [MetricRow(step=step, time=0.0, values={"text": "ü", "nested": {"a": [1, None]}})]
