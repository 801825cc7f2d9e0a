"""What a run records gets to the store: in parts that it takes, whatever it refuses, and after the process."""

from __future__ import annotations

import threading
import time

import pytest

import windlass
from windlass import wire
from windlass.errors import NoSpaceError, StoreError, StoreUnavailableError, UsageError
from windlass.models.run import RunState
from windlass.sdk.leftovers import send_all
from windlass.sdk.sender import Sender
from windlass.sdk.settings import Settings


def quick(**more) -> Settings:
    return Settings(flush_seconds=0.01, disable_git=True, **more)


def test_what_is_on_its_way_when_time_is_up_is_kept(store, monkeypatch) -> None:
    """A client that retries by itself is in the middle of a call for a long time."""
    gone = threading.Event()
    update = store.runs.update

    def hang(*args, **more):
        if gone.is_set():
            time.sleep(1)
            raise StoreUnavailableError("gone")
        return update(*args, **more)

    monkeypatch.setattr(store.runs, "update", hang)
    run = windlass.init(settings=quick(finish_timeout=0.2, disable_job_creation=True))
    assert run.flush()
    monkeypatch.setattr(Sender, "close", _without_waiting)
    gone.set()
    run.config["late"] = 1
    time.sleep(0.2)
    assert not run.flush(0.1)
    run.finish()
    gone.clear()
    assert send_all(store, run._session.settings) == 1
    found = store.runs.get(run.id)
    assert (found.state, found.config["late"]) == (RunState.FINISHED, 1)


def _without_waiting(sender, timeout: float) -> bool:
    with sender._wake:
        sender._closing = True
        sender._give_up = time.monotonic() + timeout
    sender._thread.join(timeout)
    return sender._idle


def test_batches_have_a_size(store, monkeypatch) -> None:
    log, most = store.runs.log_metrics, 8 << 20

    def limited(run_id, rows, **more):
        if len(wire.encode(rows)) > most:
            raise UsageError("a request may have so many bytes")
        return log(run_id, rows, **more)

    monkeypatch.setattr(store.runs, "log_metrics", limited)
    with windlass.init(settings=Settings(flush_seconds=60, disable_git=True)) as run:
        for _ in range(40):
            run.log({"weights": "x" * 500_000})
    assert len(store.runs.metrics(run.id)) == 40


def test_what_the_store_refuses_is_left_out_alone(store, monkeypatch, caplog) -> None:
    log, update = store.runs.log_metrics, store.runs.update

    def picky(run_id, rows, **more):
        if any("huge" in row.values for row in rows):
            raise UsageError("too large")
        return log(run_id, rows, **more)

    def picky_too(run_id, changes, **more):
        if "huge" in (changes.summary or {}):
            raise UsageError("too large")
        return update(run_id, changes, **more)

    monkeypatch.setattr(store.runs, "log_metrics", picky)
    monkeypatch.setattr(store.runs, "update", picky_too)
    with windlass.init(settings=Settings(flush_seconds=60, disable_git=True)) as run:
        for step in range(20):
            run.log({"huge" if step == 7 else "i": step})
    assert [row.step for row in store.runs.metrics(run.id)] == [step for step in range(20) if step != 7]
    assert store.runs.get(run.id).state is RunState.FINISHED
    assert "step 7 is left out" in caplog.text


@pytest.mark.parametrize("error", [StoreError("the database failed"), NoSpaceError("the disk is full")])
def test_a_store_that_fails_for_a_while_is_asked_again(store, error) -> None:
    with windlass.init(settings=quick()) as run:
        store.runs.faults.fail("log_metrics", error, times=2)
        run.log({"i": 1})
    assert len(store.runs.metrics(run.id)) == 1
    assert store.runs.get(run.id).state is RunState.FINISHED


def test_a_process_that_died_while_it_sent_leftovers_keeps_none(store, tmp_path) -> None:
    run = windlass.init(settings=quick(finish_timeout=0.1))
    run.flush()
    store.runs.faults.fail("log_metrics", StoreUnavailableError("gone"), times=1000)
    run.log({"i": 7})
    run.finish()
    settings = run._session.settings
    store.runs.faults.__init__()
    store.runs.faults.fail("log_metrics", SystemExit("killed"))
    try:
        send_all(store, settings)
    except SystemExit:
        pass
    assert send_all(store, settings) == 1
    assert len(store.runs.metrics(run.id)) == 1
    assert not list((tmp_path / "home" / "spool").iterdir())


def test_ctrl_c_while_the_last_is_sent_loses_nothing(store, monkeypatch) -> None:
    run = windlass.init(settings=quick(disable_job_creation=True))
    run.flush()
    store.runs.faults.fail("log_metrics", StoreUnavailableError("gone"), times=1000)
    run.log({"i": 7})
    close = Sender.close

    def interrupted(sender, timeout):
        close(sender, 0.1)
        raise KeyboardInterrupt

    monkeypatch.setattr(Sender, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.finish()
    assert windlass.run is None
    store.runs.faults.__init__()
    assert send_all(store, run._session.settings) == 1
    assert len(store.runs.metrics(run.id)) == 1
    assert store.runs.get(run.id).state is RunState.FINISHED
