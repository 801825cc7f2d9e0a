"""Why a run is not running yet, for people and for programs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from windlass_cli.output import ago, seconds

if TYPE_CHECKING:
    from windlass.metastore import MetadataStore
    from windlass.models.queue import Agent, Waiting
    from windlass.models.run import Run

__all__ = ["explained", "is_abandoned", "orphaned", "shape", "told", "unheard"]


def explained(store: MetadataStore, run: Run) -> Waiting | None:
    """What a run waits for; None when it runs or is over."""
    from windlass.models.run import RunState

    return store.queues.explain(run.id) if run.state in (RunState.QUEUED, RunState.PENDING) else None


def orphaned(store: MetadataStore, run: Run, lease: float) -> str:
    """What to do about a run whose agent is gone; empty when it has one, needs none or is over."""
    if not _is_silent(store, run, lease):
        return ""
    from windlass.models.queue import queue_of

    where = f" on {run.host}" if run.host else ""
    ref = queue_of(run)
    return (
        f"its agent is gone; go on with it{where}: windlass launch-agent -q {ref.name} -e {ref.entity} --drain\n"
        f"or end it{where}: windlass run stop --wait {run.id}"
    )


def unheard(run: Run) -> str:
    """Since when a tracked run has not said that it lives, though it should; empty where all is well."""
    from windlass.models.run import is_unheard

    last = max(run.heartbeat_at, run.started_at, run.created_at)
    return f"last heard of {ago(last)}" if is_unheard(run, time.time()) else ""


def is_abandoned(store: MetadataStore, run: Run, lease: float) -> bool:
    """True when a run's agent is gone and no other serves its queue, so that nobody will see it through.

    Args:
        store: Where the run is.
        run: As it stands.
        lease: Seconds after which an agent that said nothing has lost its claims.
    """
    if not _is_silent(store, run, lease):
        return False
    from windlass.models.queue import queue_of

    now, ref = store.now(), queue_of(run)
    return not any(ref in agent.queues and _is_alive(agent, now, lease) for agent in store.agents.list(ref.entity))


def _is_silent(store: MetadataStore, run: Run, lease: float) -> bool:
    from windlass.errors import NotFoundError
    from windlass.models.run import RunState

    if run.state not in (RunState.PENDING, RunState.RUNNING) or not run.queue:
        return False
    try:
        return not (run.agent and _is_alive(store.agents.get(run.agent), store.now(), lease))
    except NotFoundError:
        return True


def _is_alive(agent: Agent, now: float, lease: float) -> bool:
    # An agent renews its claims three times in a lease, and says so even when it has none.
    return agent.state not in ("lost", "stopped") and now - agent.heartbeat_at <= lease


def shape(value: Waiting | None) -> dict[str, Any] | None:
    """The JSON of it. Times are in seconds."""
    if value is None:
        return None
    from windlass import wire

    return {
        "position": value.position or None,
        "reasons": wire.to_plain(value.reasons),
        "starts_in": value.starts_in,
        "takes": value.takes,
        "history": value.history,
        "expires_in": value.expires_in,
    }


def told(value: Waiting | None) -> str:
    """A few lines for people."""
    if value is None:
        return ""
    lines = [f"number {value.position} in the line"] if value.position else []
    lines += [reason.message + (f"\n  {reason.hint}" if reason.hint else "") for reason in value.reasons]
    if value.starts_in is not None and value.takes is not None:
        lines.append(
            f"expected to start in about {seconds(value.starts_in)}; like runs took {seconds(value.takes)} "
            f"(median of {value.history})"
        )
    if value.expires_in:
        lines.append(f"it leaves the queue unstarted in {seconds(value.expires_in)}")
    return "\n".join(lines)
