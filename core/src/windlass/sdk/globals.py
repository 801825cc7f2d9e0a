"""The active run of this process, and functions that work on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from windlass.errors import UsageError

if TYPE_CHECKING:
    from windlass.artifacts.artifact import Artifact
    from windlass.sdk.run import Run

__all__ = ["current", "finish", "log", "log_artifact", "login", "require", "use_artifact"]

_active: Run | None = None

_FEATURES = frozenset({"core", "legacy-service", "service"})


def current_run() -> Run | None:
    """The active run, or None."""
    return _active


def remember(run: Run) -> None:
    """Make a run the active one."""
    global _active
    _active = run


def forget(run: Run) -> None:
    """A run is over."""
    global _active
    if _active is run:
        _active = None


def current(name: str) -> Any:
    """``windlass.run`` and ``windlass.summary``: None while no run is active."""
    if name == "run" or _active is None:
        return _active
    return getattr(_active, name)


def _needed(what: str) -> Run:
    if _active is None:
        raise UsageError("no run is active", where=f"windlass.{what}()", hint="Call windlass.init() first.")
    return _active


def log(data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
    """Record metrics of the active run. See `Run.log`."""
    _needed("log").log(data, step=step, commit=commit)


def log_artifact(artifact_or_path: Any, *args: Any, **kwargs: Any) -> Artifact:
    """Store an artifact as output of the active run. See `Run.log_artifact`."""
    return _needed("log_artifact").log_artifact(artifact_or_path, *args, **kwargs)


@contextmanager
def acting_run() -> Iterator[Run]:
    """The active run, else one that is made for what is to be done."""
    if _active is not None:
        yield _active
        return
    from windlass.sdk.init import init
    from windlass.sdk.settings import Settings

    with init(job_type="artifact", settings=Settings(disable_job_creation=True)) as run:
        yield run


def use_artifact(artifact_or_name: Artifact | str, *args: Any, **kwargs: Any) -> Artifact:
    """Use an artifact in the active run. See `Run.use_artifact`."""
    return _needed("use_artifact").use_artifact(artifact_or_name, *args, **kwargs)


def finish(exit_code: int | None = None) -> None:
    """Finish the active run, if there is one."""
    if _active is not None:
        _active.finish(exit_code)


def require(*features: str) -> None:
    """Ask for features by name. ``core`` is always there.

    Raises:
        UsageError: There is no such feature.
    """
    unknown = sorted(set(features) - _FEATURES)
    if unknown:
        raise UsageError(f"there is no feature {unknown[0]!r}", where="windlass.require()", hint="Known: core.")


def login(key: str | None = None, host: str | None = None, *, verify: bool = True) -> bool:
    """Use a server and a key in this process.

    ``windlass login`` on the command line keeps them for later processes.

    Args:
        key: API key. Default ``WINDLASS_API_KEY``, or what ``windlass login`` has kept.
        host: URL of the server. Default ``WINDLASS_BASE_URL``.
        verify: Ask the server whether it knows the key.

    Returns:
        True when there is a key, or the store needs none.

    Raises:
        AccessError: The server does not know the key.
    """
    import os

    from windlass.sdk.session import Session
    from windlass.settings import Settings

    if key:
        os.environ["WINDLASS_API_KEY"] = key
    if host:
        os.environ["WINDLASS_BASE_URL"] = host
    settings = Settings.from_env()
    if verify:
        session = Session(settings)
        try:
            session.store.whoami()
        finally:
            session.close()
    return bool(settings.api_key) or not settings.base_url.startswith("http")
