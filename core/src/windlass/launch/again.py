"""Launching again what a run ran: one by one, or the dead letters of a queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from difflib import get_close_matches
from itertools import takewhile
from typing import TYPE_CHECKING

from attrs import evolve

from windlass.errors import NotFoundError, UsageError, all_errors
from windlass.ids import new_run_id
from windlass.launch.private import made, private_queue, was_private
from windlass.models import INPUTS, INTERNAL, RETRY_OF, noted
from windlass.models.queue import NewItem, QueueRef, queue_of
from windlass.models.reason import ENDINGS
from windlass.models.run import Run, RunFilter, RunState
from windlass.schedule.triggers import with_chain

if TYPE_CHECKING:
    from windlass.metastore import MetadataStore

__all__ = ["DEAD", "dead_letters", "in_order", "launch_again"]

DEAD = (RunState.FAILED, RunState.CRASHED, RunState.KILLED)
"""States of runs that are over and did not finish."""
_PAGE = 200
_LONGEST_ID = 48
_LONGEST_CHAIN = 20
"""So many runs are named in advice."""


def launch_again(
    store: MetadataStore,
    run_id: str,
    *,
    exact: bool = False,
    once: bool = False,
    here: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Run, bool]:
    """Launch what a run ran again, with the same inputs, as a new run on its queue.

    It waits for the newest retries of the runs that the old one waited for.

    Args:
        store: Where the run is recorded.
        run_id: A run that is over.
        exact: Pin all that can be pinned, see `windlass.launch.provenance.pinned`.
        once: The new run is named after the old one (``<id>-r``), so that a repeated call makes no second one.
        here: A run that had no queue gets a private one again, which the caller must serve and remove afterwards
            (`windlass.launch.private`); otherwise it is refused.
        say: Is told what `exact` could not pin.

    Returns:
        The new run, and whether it was made now.

    Raises:
        UsageError: The run was not launched, is not over, had no queue, or waited for a run that failed.
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
    own = f"{old.id}-r"
    new_id = own if once and len(own) <= _LONGEST_ID else new_run_id()
    if new_id == own:
        try:
            return store.runs.get(own), False
        except NotFoundError:
            pass
    private = was_private(old, store)
    if private and not here:
        raise UsageError(
            f"run {old.id} had no queue: it ran where it was launched", where="run retry",
            hint=f"Run it there again: windlass run retry {old.id}. Or launch its job: windlass launch --job {old.job}",
        )  # fmt: skip
    queue = private_queue(new_id, old.entity, old.resource) if private else store.queues.get(queue_of(old))
    spec = evolve(old.spec, depends_on=_needs(store, old))
    inputs: dict[str, str] = {}
    if exact:
        from windlass.launch.provenance import pinned

        spec, inputs, loose = pinned(evolve(old, spec=spec), queue, store)
        for what in loose:
            say(f"not pinned: {what}")
    before = store.now()
    name = "" if old.name == old.id else old.name  # one that nobody gave stays its own
    notes = with_chain(old.config, **{RETRY_OF: old.id}, **({INPUTS: inputs} if inputs else {}))
    item = NewItem(
        run_id=new_id, queue=QueueRef(entity=queue.entity, name=queue.name), spec=spec, name=name, project=old.project,
        entity=old.entity, author=store.whoami().name, priority=old.priority,
        config={**spec.run_config, INTERNAL: notes},
    )  # fmt: skip
    with made(queue, store) if private else nullcontext():
        (new,) = store.queues.enqueue([item])
    return new, new.created_at >= before


def in_order(store: MetadataStore, run_ids: Sequence[str]) -> tuple[str, ...]:
    """Runs in an order in which they can be launched again: what others wait for comes first. Unknown ones stay."""
    needs: dict[str, tuple[str, ...]] = {}
    for run_id in run_ids:
        try:
            needs[run_id] = spec.depends_on if (spec := store.runs.get(run_id).spec) is not None else ()
        except NotFoundError:
            needs[run_id] = ()
    found: dict[str, None] = {}
    todo = list(reversed(run_ids))
    while todo:  # chains may be longer than Python's stack
        first = [need for need in needs[todo[-1]] if need in needs and need not in found]
        if first and todo[-1] not in found:
            todo += reversed(first)
        else:
            found[todo.pop()] = None
    return tuple(found)


def _needs(store: MetadataStore, old: Run) -> tuple[str, ...]:
    """What a retry waits for."""
    found = []
    for run_id in old.spec.depends_on if old.spec is not None else ():
        try:
            need = store.runs.get(run_id)
        except NotFoundError:
            raise UsageError(
                f"run {old.id} waited for run {run_id}, which was deleted", where="run retry",
                hint=f"Launch its job: windlass launch --job {old.job}",
            ) from None  # fmt: skip
        retries = (need, *_retries(store, need))
        usable = [run.id for run in retries if run.state not in DEAD]
        if not usable:
            last = retries[-1]
            chain = (*_dead_before(store, last), last.id, old.id)
            raise UsageError(
                f"run {old.id} waited for run {last.id}, which is {last.state} and was not launched again",
                where="run retry", hint=f"Launch all, in this order: windlass run retry {' '.join(chain)}"
                if len(chain) <= _LONGEST_CHAIN
                else f"Launch all that did not finish: windlass run retry --queue {old.queue}",
            )  # fmt: skip
        found.append(usable[-1])
    return tuple(dict.fromkeys(found))


def _dead_before(store: MetadataStore, run: Run) -> tuple[str, ...]:
    """Runs that a run waits for and that must be launched again before it, first ones first.

    No more than are told to anybody: the whole of a long chain is not looked up.
    """
    dead: dict[str, Run] = {}
    todo = [run]
    while todo and len(dead) <= _LONGEST_CHAIN:
        spec = todo.pop().spec
        for run_id in spec.depends_on if spec is not None else ():
            with suppress(NotFoundError):
                need = store.runs.get(run_id)
                family = (need, *_retries(store, need))
                if all(other.state in DEAD for other in family) and family[-1].id not in dead:
                    dead[family[-1].id] = family[-1]
                    todo.append(family[-1])
    return in_order(store, tuple(reversed(dead)))


def _retries(store: MetadataStore, run: Run) -> tuple[Run, ...]:
    """Retries of a run, and retries of these, oldest first. They run its job on its queue."""
    same = RunFilter(
        entity=run.entity, project=run.project, limit=_PAGE, job=run.spec.job if run.spec is not None else "",
        queue="" if was_private(run, store) else run.queue,
    )  # fmt: skip
    later = takewhile(lambda other: other.id != run.id and other.created_at >= run.created_at, _all(store, same))
    family = {run.id: run}
    for other in reversed(list(later)):
        if noted(other.config, RETRY_OF) in family or other.id.removesuffix("-r") in family:
            family[other.id] = other
    return tuple(family.values())[1:]


def _all(store: MetadataStore, wanted: RunFilter) -> Iterator[Run]:
    while True:
        page = store.runs.list(wanted)
        yield from page
        if len(page) < wanted.limit:
            return
        wanted = evolve(wanted, before=page[-1].id)


def dead_letters(
    store: MetadataStore,
    entity: str,
    *,
    queue: str = "",
    states: Sequence[RunState] = DEAD,
    reasons: Sequence[str] = (),
) -> Iterator[Run]:
    """Runs from queues that are over and did not finish, newest first.

    Args:
        store: Where they are recorded.
        entity: Their owner.
        queue: Only this queue.
        states: Only these states.
        reasons: Only these reason codes (``agent-lost``, ``out-of-memory`` …); empty: any.

    Raises:
        UsageError: A reason that no run there has and that Windlass does not know: a misspelled one would fit nothing.
    """
    known = {*ENDINGS, *(kind.code for kind in all_errors())}
    strange = {code for code in reasons if code not in known}
    for run in _all(store, RunFilter(entity=entity, queue=queue, states=tuple(states), limit=_PAGE)):
        code = run.reason.code if run.reason is not None else ""
        launched = run.spec is not None and run.queue and not was_private(run, store)
        if launched:
            known.add(code)
            strange.discard(code)
        if launched and (not reasons or code in reasons):
            yield run
    if strange:
        code = min(strange)
        near = get_close_matches(code, sorted(known), n=1)
        raise UsageError(
            f"no run ended with {code!r}", where="--reason",
            hint=f"Did you mean {near[0]!r}?" if near else "The codes are in: windlass run list",
        )  # fmt: skip
