"""Queues for one run: a launch "here and now" is a launch onto a queue that nobody else serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windlass.models.launch import LaunchPolicy
from windlass.models.queue import Queue, queue_of
from windlass.models.run import Run

if TYPE_CHECKING:
    from windlass.metastore import MetadataStore

__all__ = ["discard", "is_private", "private_queue", "was_private"]

_PREFIX = "run-"
_DESCRIPTION = "Made for one launch without a queue."
_MANY = 1_000_000


def private_queue(run_id: str, entity: str, resource: str) -> Queue:
    """The queue of a launch without one: everything is open, for who submits also owns it."""
    no_limit = 1e12
    return Queue(
        entity=entity,
        name=f"{_PREFIX}{run_id}",
        resource=resource,
        open_fields=("resource_args", "env", "secrets"),
        prioritized=True,
        policy_max=LaunchPolicy(
            retries={"infrastructure": _MANY, "preemption": _MANY, "out-of-memory": _MANY, "exit-code": _MANY},
            retry_delay=no_limit,
            retry_max_delay=no_limit,
            queue_timeout=no_limit,
            start_timeout=no_limit,
            attempt_timeout=no_limit,
            deadline=no_limit,
            stop_grace=no_limit,
            idle_timeout=no_limit,
            idle_cpu=no_limit,
        ),
        description=_DESCRIPTION,
    )


def is_private(queue: Queue) -> bool:
    """True for queues made by `private_queue`; lists leave them out."""
    return queue.name.startswith(_PREFIX) and queue.description == _DESCRIPTION


def was_private(run: Run, store: MetadataStore) -> bool:
    """Whether a run had no queue but its private one, which may be gone."""
    from windlass.errors import NotFoundError

    if run.queue != f"{_PREFIX}{run.id}":
        return False
    try:
        return is_private(store.queues.get(queue_of(run)))
    except NotFoundError:
        return True


def discard(run: Run, store: MetadataStore) -> None:
    """Remove the private queue of a run that is over. Does nothing for other queues."""
    from windlass.errors import NotFoundError

    if not run.queue.startswith(_PREFIX):
        return
    ref = queue_of(run)
    try:
        if is_private(store.queues.get(ref)):
            store.queues.delete(ref, force=True)
    except NotFoundError:
        pass
