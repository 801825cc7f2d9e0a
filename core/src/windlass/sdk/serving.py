"""An agent beside a program that launches something without a queue, and waiting for the end of a run."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from windlass.errors import PluginNotFoundError, StorageError

if TYPE_CHECKING:
    from windlass.metastore import MetadataStore
    from windlass.models.run import Run
    from windlass.settings import Settings

__all__ = ["agent", "check_agent", "ended"]

_PARTS = ("windlass_cli", "windlass_agent")
_GRACE = 30.0


def check_agent() -> None:
    """Raise `PluginNotFoundError` where no agent could be started."""
    if not all(importlib.util.find_spec(name) for name in _PARTS):
        raise PluginNotFoundError(
            "running here needs an agent, which is not installed", hint="pip install windlass, or give queue='…'."
        )


@contextlib.contextmanager
def agent(settings: Settings, run: Run) -> Iterator[Callable[[], bool]]:
    """A process that serves the queue of one run, and ends with the block: the run is stopped if it is not over.

    Yields:
        Tells whether it is alive.
    """
    of_a_run = ("WINDLASS_RUN_ID", "WINDLASS_ATTEMPT", "WINDLASS_CONFIG", "WINDLASS_LAUNCH")
    env = {name: value for name, value in os.environ.items() if not name.startswith(of_a_run)}
    env |= {"WINDLASS_HOME": str(settings.home), "WINDLASS_CACHE_DIR": str(settings.cache_dir)}
    env |= {"WINDLASS_BASE_URL": settings.base_url} if settings.base_url else {}
    env |= {"WINDLASS_API_KEY": settings.api_key} if settings.api_key else {}
    process = subprocess.Popen(
        [sys.executable, "-m", "windlass_cli", "launch-agent", "-q", run.queue, "-e", run.entity, "-j", "1", "--drain"],
        env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield lambda: process.poll() is None
    except BaseException:
        process.terminate()  # it waits for its runs
        _stop(settings, run)
        raise
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
        process.kill()
        process.wait()


def _stop(settings: Settings, run: Run) -> None:
    from windlass.sdk.session import Session

    session = Session(settings)
    try:
        session.store.runs.request_stop(run.id)
    finally:
        session.close()


def ended(store: MetadataStore, run_id: str, timeout: float | None, alive: Callable[[], bool] = lambda: True) -> Run:
    """Wait for the end of a run.

    Raises:
        TimeoutError: It is not over within `timeout` seconds.
        StorageError: Its agent is no longer alive.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    delay = 0.05
    while True:
        living = alive()
        run = store.runs.get(run_id)
        if run.state.is_terminal:
            return run
        if not living:
            raise StorageError(f"the agent ended before the run {run_id} did", where="launch",
                               hint=f"windlass run show {run_id}")  # fmt: skip
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError(f"run {run_id} is {run.state} after {timeout:g} s")
        time.sleep(delay)
        delay = min(delay * 1.5, 1.0)
