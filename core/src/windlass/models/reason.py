"""Why something is in the state it is in."""

from __future__ import annotations

import signal

from attrs import field, frozen

from windlass.errors import ConfigError, WindlassError
from windlass.models import JSON

ENDINGS = (
    *("agent-lost", "attempt-timeout", "bad-configuration", "crashed", "deadline", "dependency-failed", "exception"),
    *("exit-code", "failed", "idle", "infrastructure", "internal", "interrupted", "killed", "lost"),
    *("not-started", "out-of-memory", "preempted", "preemption", "queue-deleted", "queue-timeout", "signal"),
    *("start-timeout", "stopped", "stopped-by-user"),
)
"""Codes with which Windlass itself ends runs. Those of errors come on top, and those that runners of others have."""


@frozen(kw_only=True)
class Reason:
    """A structured reason: stable code, sentence, advice.

    Attributes:
        code: Kebab-case, stable (``exit-code``, ``out-of-memory``, ``stopped-by-user``, ``build`` …).
        message: What happened, for people.
        hint: What to do next. May be empty.
        context: More facts as JSON.
    """

    code: str
    message: str = ""
    hint: str = ""
    context: dict[str, JSON] = field(factory=dict)

    @classmethod
    def of_exit(cls, code: int) -> Reason:
        """Why a program failed, told by its exit code alone: killed by signal N is 128 + N."""
        if code > 128 and code - 128 in set(signal.Signals):
            name = signal.Signals(code - 128).name
            return cls(code="signal", message=f"it was killed by {name}", context={"signal": name, "exit_code": code})
        return cls(code="exit-code", message=f"it ended with exit code {code}", context={"exit_code": code})

    def kept(self) -> Reason | None:
        """What a run that is at work again keeps of it: the retries used, which outlive every agent; None if none."""
        used = self.context.get("retries")
        if not isinstance(used, dict) or not used:
            return None
        told = ", ".join(f"{count} for {cause}" for cause, count in used.items())
        return Reason(code="retried", message=f"it was tried again: {told}", context={"retries": used})

    @classmethod
    def unheard(cls) -> Reason:
        """The reason of a run that ended without a word."""
        return cls(
            code="lost", message="it no longer says that it lives: its process was killed, or its machine is gone"
        )

    @classmethod
    def from_error(cls, error: BaseException) -> Reason:
        """The reason that an exception gives. Anything that is not a WindlassError becomes ``internal``."""
        if isinstance(error, WindlassError):
            where = f"{error.where}: " if error.where else ""
            parts = "".join(f"\n  {problem}" for problem in error.problems) if isinstance(error, ConfigError) else ""
            return cls(code=error.code, message=where + error.message + parts, hint=error.hint, context=error.context)
        return cls(code="internal", message=f"{type(error).__name__}: {error}")
