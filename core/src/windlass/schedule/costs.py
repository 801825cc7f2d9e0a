"""What runs cost."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve

from windlass.clock import month_of
from windlass.errors import NotFoundError, Problem, UsageError
from windlass.launch.needs import SLOTS, SLOTS_KEY, needs_of
from windlass.models.launch import LaunchSpec
from windlass.models.queue import Queue
from windlass.models.schedule import Budget

if TYPE_CHECKING:
    from windlass.metastore import ScheduleStore

__all__ = ["check_budget", "check_prices", "hourly_rate", "month_of", "remove_budget"]


def hourly_rate(queue: Queue, spec: LaunchSpec) -> float:
    """Money for one hour of a run, by the queue's prices and what the run needs (cores, GiB, devices)."""
    if not queue.prices:
        return 0.0
    needs = needs_of(queue, spec)
    amounts = {**needs, "hour": 1.0, "memory": needs.get("memory", 0.0) / 1024**3}
    return sum(
        price * (amounts[name] if name in amounts else _amount(name, spec.resource_args, queue.config))
        for name, price in queue.prices.items()
    )


def _amount(name: str, *sources: Mapping[str, Any]) -> float:
    for source in sources:
        value = source.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return 0.0


def check_prices(queue: Queue) -> list[Problem]:
    """What is wrong with a queue's prices: numbers that are none, and names of what no run could have."""
    from windlass.launch.plan import queue_config  # agents and stores reckon costs without it

    problems = []
    config = queue_config(queue)
    slots = config.get(SLOTS_KEY)
    opened = [tuple(text.split(".")) for text in queue.open_fields]
    known = ["hour", *SLOTS, *(slots if isinstance(slots, Mapping) else ()), *config]
    known += [path[1] for path in opened if path[0] == "resource_args" and len(path) > 1]
    for name, price in queue.prices.items():
        if not 0 <= price < 1e12:
            hint = "a number from 0, money per hour"
            problems.append(Problem(f"{price!r} is no price", where=f"$.prices.{name}", hint=hint))
        elif name not in known and ("resource_args",) not in opened:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"{', '.join(dict.fromkeys(known))}"
            problems.append(Problem(f"no run of this queue has '{name}'", where=f"$.prices.{name}", hint=hint))
    return problems


def check_budget(budget: Budget) -> None:
    """Raise `UsageError` for a budget that is none."""
    if not budget.entity:
        raise UsageError("a budget needs an entity", where="entity")
    if not -1e12 < budget.limit < 1e12:
        raise UsageError(
            f"{budget.limit!r} is no limit", where="limit", hint="Give a number from 0; without a budget there is none."
        )


def remove_budget(schedule: ScheduleStore, budget: Budget) -> None:
    """Remove the budget of this entity, user and unit. Raises `NotFoundError` when there is none."""
    found = schedule.budgets(budget.entity)
    if not any((b.user, b.unit) == (budget.user, budget.unit) for b in found):
        there = ", ".join(f"{b.user or '(all)'} {b.unit}" for b in found)
        raise NotFoundError(
            f"'{budget.user or budget.entity}' has no budget of {budget.unit}",
            hint=f"Budgets there: {there}." if there else f"There is none in '{budget.entity}'.",
        )
    schedule.set_budget(evolve(budget, limit=-1.0))
