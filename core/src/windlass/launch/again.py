"""Launching again what a run ran: one by one, or the dead letters of a queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from windlass.errors import UsageError
from windlass.ids import new_run_id
from windlass.models.queue import NewItem, queue_of
from windlass.models.run import Run, RunFilter, RunState

if TYPE_CHECKING:
    from windlass.metastore import MetadataStore

__all__ = ["DEAD", "dead_letters", "launch_again"]

DEAD = (RunState.FAILED, RunState.CRASHED, RunState.KILLED)
"""States of runs that are over and did not finish."""
_PAGE = 200
_LONGEST_ID = 48


def launch_again(
    store: MetadataStore,
    run_id: str,
    *,
    exact: bool = False,
    once: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Run, bool]:
    """Launch what a run ran again, with the same inputs, as a new run on its queue.

    Args:
        store: Where the run is recorded.
        run_id: A run that is over.
        exact: Pin all that can be pinned, see `windlass.launch.provenance.pinned`.
        say: Is told what `exact` could not pin.
        once: The new run is named after the old one (``<id>-r``), so that a repeated call makes no second one.

    Returns:
        The new run, and whether it was made now.

    Raises:
        UsageError: The run was not launched, or is not over.
        NotFoundError: There is no such run, or its queue is gone.
    """
    old = store.runs.get(run_id)
    if old.spec is None or not old.queue:
        raise UsageError(
            f"run {run_id} was not launched, so there is nothing to launch again", where="run retry",
            hint="Start its program again, or make a job of it: windlass job create",
        )  # fmt: skip
    if not old.state.is_terminal:
        raise UsageError(f"run {run_id} is {old.state}", where="run retry", hint=f"windlass run stop {run_id}")
    spec, queue = old.spec, queue_of(old)
    if exact:
        from windlass.launch.provenance import pinned

        spec, loose = pinned(old, store.queues.get(queue))
        for what in loose:
            say(f"not pinned: {what}")
    own = f"{old.id}-r"
    new_id = own if once and len(own) <= _LONGEST_ID else new_run_id()
    before = store.now()
    name = "" if old.name == old.id else old.name  # one that nobody gave stays its own
    (new,) = store.queues.enqueue(
        [
            NewItem(
                run_id=new_id, queue=queue, spec=spec, name=name, project=old.project, entity=old.entity,
                author=store.whoami().name, priority=old.priority, config=dict(spec.run_config),
            )
        ]
    )  # fmt: skip
    return new, new.created_at >= before


def dead_letters(
    store: MetadataStore,
    entity: str,
    *,
    queue: str = "",
    states: Sequence[RunState] = DEAD,
    reasons: Sequence[str] = (),
) -> Iterator[Run]:
    """Launched runs that are over and did not finish, newest first.

    Args:
        store: Where they are recorded.
        entity: Their owner.
        queue: Only this queue.
        states: Only these states.
        reasons: Only these reason codes (``agent-lost``, ``out-of-memory`` …); empty: any.
    """
    before = ""
    while True:
        page = store.runs.list(RunFilter(entity=entity, queue=queue, states=tuple(states), before=before, limit=_PAGE))
        for run in page:
            code = run.reason.code if run.reason is not None else ""
            if run.queue and run.spec is not None and (not reasons or code in reasons):
                yield run
        if len(page) < _PAGE:
            return
        before = page[-1].id
