"""What the end of a process means for its run."""

from __future__ import annotations

from attrs import evolve

from windlass.errors import WindlassError
from windlass.models.reason import Reason
from windlass.models.run import RunState

__all__ = ["end_reason", "end_state"]


def end_state(code: int) -> RunState:
    """The state of a run whose process ended with that code."""
    if code == 0:
        return RunState.FINISHED
    return RunState.KILLED if code in (130, 143) else RunState.FAILED


def end_reason(code: int, error: BaseException | None) -> Reason | None:
    """Why it ended so; None when all is well."""
    if code == 0:
        return None
    if code in (130, 143):
        return Reason(code="interrupted", message="interrupted by the user" if code == 130 else "ended by SIGTERM")
    if isinstance(error, WindlassError):
        told = Reason.from_error(error)
        return evolve(told, message=_sayable(told.message), hint=_sayable(told.hint))
    if error is not None and not isinstance(error, SystemExit):
        return Reason(code="exception", message=_sayable(f"{type(error).__name__}: {error}"))
    return Reason(code="exit-code", message=f"the process ended with exit code {code}")


def _sayable(text: str) -> str:
    """What can be stored: an exception may quote bytes, and the run has to end all the same."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
