"""What `windlass.Api` can do with queues, agents, triggers and budgets: every verb of the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from attrs import evolve

from windlass.launch.templates import TemplateField, found_fields
from windlass.models.queue import Agent, Queue, QueueRef, QueueStatus, Waiting
from windlass.models.run import Run, RunState
from windlass.models.schedule import Budget, BudgetUnit, Trigger, TriggerEvent

if TYPE_CHECKING:
    from windlass.launch.keywords import TriggerKeywords
    from windlass.sdk.session import Session

__all__ = ["Operations"]

_WHEN = ("artifact_name", "artifact_type", "artifact_project", "alias", "cron", "timezone")
"""What of a trigger's keywords says when it fires."""


class Operations:
    """Part of `windlass.Api`. `entity` is the settings' one where none is named."""

    _session: Session

    # -- queues -----------------------------------------------------------------------------------------------

    def queues(self, entity: str = "") -> tuple[Queue, ...]:
        """Queues of an entity, by name; without those made for single runs."""
        from windlass.launch.private import is_private

        return tuple(q for q in self._session.store.queues.list(self._owner(entity)) if not is_private(q))

    def queue(self, name: str, entity: str = "") -> Queue:
        """One queue. Raises `NotFoundError`."""
        return self._session.store.queues.get(self._ref(name, entity))

    def create_queue(self, queue: Queue) -> Queue:
        """Store a queue. Raises `ConflictError` if the name is taken, `ConfigError` with all that does not fit."""
        self._check(queue)
        return self._session.store.queues.create(queue)

    def update_queue(self, queue: Queue) -> Queue:
        """Change a queue that was read before: ``api.update_queue(evolve(api.queue("q"), paused=True))``.

        Raises:
            ConflictError: Somebody else has changed it meanwhile.
            ConfigError: All that does not fit; nothing was changed.
        """
        self._check(queue)
        return self._session.store.queues.update(queue)

    def pause_queue(self, name: str, entity: str = "") -> Queue:
        """Let agents take nothing from a queue; what runs goes on."""
        return self._pause(name, entity, True)

    def resume_queue(self, name: str, entity: str = "") -> Queue:
        """Let agents take from a queue again."""
        return self._pause(name, entity, False)

    def delete_queue(self, name: str, entity: str = "", *, force: bool = False) -> None:
        """Remove a queue. Raises `ConflictError` if it holds items; `force` kills the waiting ones."""
        self._session.store.queues.delete(self._ref(name, entity), force)

    def queue_status(self, name: str, entity: str = "") -> QueueStatus:
        """Counts of a queue's items that are not over, and of its agents."""
        return self._session.store.queues.status(self._ref(name, entity))

    def template_fields(self, name: str, entity: str = "") -> tuple[TemplateField, ...]:
        """The ``{{fields}}`` of a queue's config, as ``windlass queue update --parse`` lists them."""
        found = self.queue(name, entity)
        return found_fields(found.config, found.templates)

    def waiting(self, run_id: str) -> Waiting:
        """Why a run is not running yet, and when it is expected to start. Raises `RunNotFoundError`."""
        return self._session.store.queues.explain(run_id)

    # -- runs -------------------------------------------------------------------------------------------------

    def retry(self, run_id: str, *, exact: bool = False, once: bool = False) -> Run:
        """Launch again what a run ran; see `windlass.launch.again.launch_again`. Returns the new run."""
        from windlass.launch.again import launch_again

        return launch_again(self._session.store, run_id, exact=exact, once=once)[0]

    def dead_letters(
        self, queue: str = "", entity: str = "", *, states: Sequence[str] = (), reasons: Sequence[str] = ()
    ) -> Iterator[Run]:
        """Launched runs that did not finish, newest first; see `windlass.launch.again.dead_letters`."""
        from windlass.launch.again import DEAD, dead_letters

        wanted = tuple(map(RunState, states)) or DEAD
        return dead_letters(self._session.store, self._owner(entity), queue=queue, states=wanted, reasons=reasons)

    # -- agents -----------------------------------------------------------------------------------------------

    def agents(self, entity: str = "", *, everything: bool = False) -> tuple[Agent, ...]:
        """Agents at work, of all entities by default; with `everything` those that ended or are lost, too."""
        found = self._session.store.agents.list(entity)
        return tuple(agent for agent in found if everything or agent.state not in ("stopped", "lost"))

    def drain_agent(self, agent_id: str) -> Agent:
        """Ask an agent to take nothing more and end when its runs are over. Raises `NotFoundError`."""
        return self._session.store.agents.request_drain(agent_id)

    # -- triggers ---------------------------------------------------------------------------------------------

    def triggers(self, entity: str = "") -> tuple[Trigger, ...]:
        """Triggers of an entity, by name."""
        return self._session.store.schedule.triggers(self._owner(entity))

    def trigger(self, name: str, entity: str = "") -> Trigger:
        """One trigger. Raises `NotFoundError`."""
        return self._session.store.schedule.get_trigger(self._owner(entity), name)

    def create_trigger(self, name: str, event: TriggerEvent | str, **given: Unpack[TriggerKeywords]) -> Trigger:
        """Make a trigger: one run for each event.

        Args:
            name: Of the trigger.
            event: ``version``, ``alias`` or ``cron``.
            given: When: ``artifact_name, artifact_type, artifact_project, alias, cron, timezone``, see `Trigger`. And
                what is launched, as for `windlass.sdk.launch.launch_add`: ``job=…`` or ``uri=…``, ``queue=…``.

        Raises:
            WindlassError: What ``windlass trigger create`` would say; nothing was stored.
        """
        from windlass.launch.keywords import request_of
        from windlass.launch.triggering import create_trigger

        session = self._session
        rest: dict[str, Any] = {**given}
        when = {key: rest.pop(key) for key in _WHEN if key in rest}
        return create_trigger(
            request_of(rest), app=session.app, store=session.store, engine=session.engine, name=name,
            event=event, **when,
        )  # fmt: skip

    def pause_trigger(self, name: str, entity: str = "") -> Trigger:
        """Let a trigger start nothing; what happens meanwhile is not made up for."""
        return self._session.store.schedule.pause_trigger(self._owner(entity), name, True)

    def resume_trigger(self, name: str, entity: str = "") -> Trigger:
        """Let a trigger go on from now."""
        return self._session.store.schedule.pause_trigger(self._owner(entity), name, False)

    def delete_trigger(self, name: str, entity: str = "") -> None:
        """Remove a trigger; runs it has started stay. Raises `NotFoundError`."""
        self._session.store.schedule.delete_trigger(self._owner(entity), name)

    # -- budgets ----------------------------------------------------------------------------------------------

    def budgets(self, entity: str = "") -> tuple[Budget, ...]:
        """Budgets of an entity and its users, with what was used this month."""
        return self._session.store.schedule.budgets(self._owner(entity))

    def set_budget(self, limit: float, *, unit: str = "hours", user: str = "", entity: str = "") -> Budget:
        """Let runs use at most `limit` hours (or ``money``) a calendar month; `user` empty: all of the entity."""
        return self._session.store.schedule.set_budget(
            Budget(entity=self._owner(entity), user=user, unit=BudgetUnit(unit), limit=limit)
        )

    def remove_budget(self, *, unit: str = "hours", user: str = "", entity: str = "") -> None:
        """Remove a budget. Raises `NotFoundError`."""
        from windlass.schedule.costs import remove_budget

        wanted = Budget(entity=self._owner(entity), user=user, unit=BudgetUnit(unit))
        remove_budget(self._session.store.schedule, wanted)

    def set_prices(self, queue: str, prices: Mapping[str, float], entity: str = "") -> Queue:
        """Set what runs of a queue cost an hour, see `Queue.prices`; prices that are not named stay."""
        found = self.queue(queue, entity)
        return self._session.store.queues.update(evolve(found, prices={**found.prices, **prices}))

    # -- inside -----------------------------------------------------------------------------------------------

    def _owner(self, entity: str) -> str:
        return entity or self._session.settings.entity

    def _ref(self, name: str, entity: str) -> QueueRef:
        return QueueRef(entity=self._owner(entity), name=name)

    def _pause(self, name: str, entity: str, paused: bool) -> Queue:
        found = self.queue(name, entity)
        return found if found.paused == paused else self._session.store.queues.update(evolve(found, paused=paused))

    def _check(self, queue: Queue) -> None:
        """With the words of its runner, where that is installed; the store checks the rest anyway."""
        from windlass.launch.definition import check_queue
        from windlass.launch.plan import resource_name

        if resource_name(queue.resource) in self._session.app.runners.names():
            check_queue(queue, self._session.app)
