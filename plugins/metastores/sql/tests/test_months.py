"""Attempts that are at work when a month ends count for each month with their part, in every store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.clock import months
from windlass.models.queue import Queue, QueueRef
from windlass.models.run import RunState, RunUpdate
from windlass.models.schedule import Budget, BudgetUnit
from windlass.plugins.app import App
from windlass.settings import Settings
from windlass_testkit.fakes.memory import MemoryMetadataStore
from windlass_testkit.metastore_queues import items, take

REF = QueueRef(entity="kit", name="q")


def at(*parts: int) -> float:
    return dt.datetime(*parts, tzinfo=dt.UTC).timestamp()  # type: ignore[arg-type,misc]


NEW_YEAR = at(2026, 1, 1)


class Clock:
    """The store's, as the test says."""

    def __init__(self) -> None:
        self.now = NEW_YEAR

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(
    params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.service("postgresql"))],
)
def store(request: Any, tmp_path: Path, clock: Clock) -> Iterator[Any]:
    if request.param == "memory":
        store: Any = MemoryMetadataStore()
        store.world.clock = clock
    else:
        url = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else ""
        store = App(Settings.from_env({"WINDLASS_HOME": str(tmp_path)})).open_store(url)
        store._db.now = clock
    yield store
    store.close()


def used(store: Any) -> tuple[float, ...]:
    return tuple(budget.used for budget in store.schedule.budgets("kit"))


def begin(store: Any, run_id: str) -> int:
    store.queues.enqueue(items(REF, run_id))
    lease = take(store, REF, lease_seconds=1e6)
    store.runs.update(run_id, RunUpdate(state=RunState.RUNNING), fence=lease.fence)
    return lease.fence


def test_each_month_gets_its_part(store: Any, clock: Clock) -> None:
    store.queues.create(Queue(entity="kit", name="q", resource="process", prices={"hour": 2.0}))
    for unit in BudgetUnit:
        store.schedule.set_budget(Budget(entity="kit", unit=unit, limit=1e6))
    clock.now = NEW_YEAR - 3600 * 3
    old = begin(store, "old")
    clock.now = NEW_YEAR + 3600
    new = begin(store, "new")
    clock.now = NEW_YEAR + 3600 * 2
    assert used(store) == pytest.approx((3.0, 6.0)), "what is at work counts from the month's beginning on"
    ended = store.runs.update("old", RunUpdate(state=RunState.FINISHED, exit_code=0), fence=old)
    assert ended.cost == pytest.approx(10.0)
    assert used(store) == pytest.approx((3.0, 6.0))
    store.runs.update("new", RunUpdate(state=RunState.FINISHED, exit_code=0), fence=new)
    assert used(store) == pytest.approx((3.0, 6.0))
    later = begin(store, "later")
    clock.now += 1800
    assert store.runs.update("later", RunUpdate(state=RunState.FAILED), fence=later).cost == pytest.approx(1.0)
    assert used(store) == pytest.approx((3.5, 7.0))
    clock.now = NEW_YEAR - 1
    assert used(store) == pytest.approx((3.0, 6.0)), "three hours were December's"


def test_an_attempt_that_goes_back_is_split_as_well(store: Any, clock: Clock) -> None:
    store.queues.create(Queue(entity="kit", name="q", resource="process"))
    store.schedule.set_budget(Budget(entity="kit", limit=1e6))
    clock.now = NEW_YEAR - 3600
    store.queues.enqueue(items(REF, "r"))
    lease = take(store, REF, lease_seconds=1e6)
    store.runs.update("r", RunUpdate(state=RunState.RUNNING), fence=lease.fence)
    clock.now = NEW_YEAR + 7200
    store.queues.release(lease, 0.0, RunUpdate(), next_attempt=True)
    assert used(store) == pytest.approx((2.0,))
    clock.now = NEW_YEAR - 1
    assert used(store) == pytest.approx((1.0,))


def test_spans_of_months() -> None:
    assert months(at(2025, 12, 31, 23), at(2026, 3, 1, 1)) == {
        "2025-12": 3600.0, "2026-01": 31 * 86400.0, "2026-02": 28 * 86400.0, "2026-03": 3600.0,
    }  # fmt: skip
    assert months(NEW_YEAR, NEW_YEAR + 5) == {"2026-01": 5.0}
    assert months(NEW_YEAR - 5, NEW_YEAR) == {"2025-12": 5.0, "2026-01": 0.0}
    assert months(NEW_YEAR + 5, NEW_YEAR) == {"2026-01": 0.0}, "a clock that was set back"
