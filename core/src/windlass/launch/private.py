"""Queues for one run: a launch "here and now" is a launch onto a queue that nobody else serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from windlass.errors import AccessError, NotFoundError
from windlass.models.launch import LaunchPolicy
from windlass.models.queue import Queue, QueueRef, queue_of
from windlass.models.run import Run

if TYPE_CHECKING:
    from windlass.metastore import MetadataStore

__all__ = ["discard", "is_private", "made", "private_queue", "was_private"]

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


@contextmanager
def made(queue: Queue, store: MetadataStore) -> Iterator[None]:
    """Make a private queue for what is put on it in the block, and remove it if that fails.

    Raises:
        AccessError: Who launches may not serve a queue; says so.
    """
    try:
        store.queues.create(queue)
    except AccessError as error:
        raise AccessError(
            f"a run without a queue is served by who launches it: {error.message}",
            where="launch",
            hint=f"Put it on a queue that an agent serves (--queue), or ask an owner of '{queue.entity}' for the role.",
            context=error.context,
        ) from error
    try:
        yield
    except Exception:
        store.queues.delete(QueueRef(entity=queue.entity, name=queue.name), force=True)
        raise


def is_private(queue: Queue) -> bool:
    """True for queues made by `private_queue`; lists leave them out."""
    return queue.name.startswith(_PREFIX) and queue.description == _DESCRIPTION


def was_private(run: Run, store: MetadataStore) -> bool:
    """Whether a run had no queue but its private one, which may be gone."""
    if run.queue != f"{_PREFIX}{run.id}":
        return False
    try:
        return is_private(store.queues.get(queue_of(run)))
    except NotFoundError:
        return True


def discard(run: Run, store: MetadataStore) -> None:
    """Remove the private queue of a run that is over. Does nothing for other queues."""
    if not run.queue.startswith(_PREFIX):
        return
    ref = queue_of(run)
    try:
        if is_private(store.queues.get(ref)):
            store.queues.delete(ref, force=True)
    except NotFoundError:
        pass
