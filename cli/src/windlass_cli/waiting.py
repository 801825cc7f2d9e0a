"""Why a run is not running yet, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windlass_cli.output import seconds

if TYPE_CHECKING:
    from windlass.metastore import MetadataStore
    from windlass.models.queue import Waiting
    from windlass.models.run import Run

__all__ = ["explained", "orphaned", "shape", "told"]


def explained(store: MetadataStore, run: Run) -> Waiting | None:
    """What a run waits for; None when it runs or is over."""
    from windlass.models.run import RunState

    return store.queues.explain(run.id) if run.state in (RunState.QUEUED, RunState.PENDING) else None


def orphaned(store: MetadataStore, run: Run) -> str:
    """What to do about a run whose agent is lost; empty when it has one, needs none or is over."""
    from windlass.errors import NotFoundError
    from windlass.models.run import RunState

    if run.state not in (RunState.PENDING, RunState.RUNNING) or not run.agent or not run.queue:
        return ""
    try:
        if store.agents.get(run.agent).state not in ("lost", "stopped"):
            return ""
    except NotFoundError:
        pass
    where = f" on {run.host}" if run.host else ""
    return f"its agent is lost; take it over{where} with: windlass launch-agent -q {run.queue} --drain"


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
