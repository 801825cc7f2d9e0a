"""Triggers and budgets in memory."""

from __future__ import annotations

from attrs import evolve

from windlass.errors import ConflictError, NotFoundError
from windlass.metastore import ScheduleStore
from windlass.models.schedule import Budget, Trigger
from windlass.schedule.costs import check_budget
from windlass.schedule.triggers import check_trigger, next_due
from windlass_testkit.fakes.faults import Faults, faulty
from windlass_testkit.fakes.memory.tending import used
from windlass_testkit.fakes.memory.world import World

__all__ = ["MemorySchedule"]


@faulty
class MemorySchedule(ScheduleStore):
    """See `ScheduleStore`."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self.faults = faults

    def create_trigger(self, trigger: Trigger) -> Trigger:
        check_trigger(trigger)
        key = (trigger.entity, trigger.name)
        with self._world.changing(ring=True) as now:
            if trigger.queue not in self._world.queues:
                raise NotFoundError(f"there is no queue '{trigger.queue.name}'", hint="windlass queue list")
            if key in self._world.triggers:
                raise ConflictError(f"there is a trigger '{trigger.name}'", hint="Choose another name.")
            self._world.triggers[key] = evolve(
                trigger, next_at=next_due(trigger, now), fired=0, last_run="", last_at=0.0, error="", created_at=now,
                updated_at=now,
            )  # fmt: skip
            return self._world.triggers[key]

    def get_trigger(self, entity: str, name: str) -> Trigger:
        with self._world.changing():
            return self._trigger(entity, name)

    def triggers(self, entity: str = "") -> tuple[Trigger, ...]:
        with self._world.changing():
            return tuple(t for _, t in sorted(self._world.triggers.items()) if entity in ("", t.entity))

    def pause_trigger(self, entity: str, name: str, paused: bool) -> Trigger:
        with self._world.changing(ring=True) as now:
            changed = evolve(self._trigger(entity, name), paused=paused, updated_at=now)
            self._world.triggers[(entity, name)] = evolve(changed, next_at=next_due(changed, now))
            return self._world.triggers[(entity, name)]

    def delete_trigger(self, entity: str, name: str) -> None:
        with self._world.changing():
            self._trigger(entity, name)
            del self._world.triggers[(entity, name)]

    def set_budget(self, budget: Budget) -> Budget:
        check_budget(budget)
        key = (budget.entity, budget.user, budget.unit)
        with self._world.changing(ring=True) as now:
            if budget.limit < 0:
                self._world.budgets.pop(key, None)
                return budget
            self._world.budgets[key] = budget
            return used(self._world, budget, now)

    def budgets(self, entity: str = "") -> tuple[Budget, ...]:
        with self._world.changing() as now:
            found = [b for _, b in sorted(self._world.budgets.items()) if entity in ("", b.entity)]
            return tuple(used(self._world, b, now) for b in found)

    def _trigger(self, entity: str, name: str) -> Trigger:
        try:
            return self._world.triggers[(entity, name)]
        except KeyError:
            names = sorted(n for e, n in self._world.triggers if e == entity)
            raise NotFoundError(f"there is no trigger '{name}'", hint=f"Triggers: {', '.join(names)}.") from None
