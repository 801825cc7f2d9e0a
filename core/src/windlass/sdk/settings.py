"""Settings a program gives to ``windlass.init`` and ``windlass.Api``; what is not given comes from the environment."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from windlass import settings as process
from windlass.errors import UsageError
from windlass.sdk import credentials

__all__ = ["Settings"]

MODES = ("online", "disabled")


@frozen(kw_only=True)
class Settings:
    """Overrides of what the environment says. None leaves a setting as it is.

    Attributes:
        entity: Owner of runs and artifacts (``WINDLASS_ENTITY``).
        project: Name space (``WINDLASS_PROJECT``).
        base_url: The metadata store (``WINDLASS_BASE_URL``).
        api_key: Key for a server (``WINDLASS_API_KEY``).
        home: Local state (``WINDLASS_HOME``).
        run_id: Id of the run (``WINDLASS_RUN_ID``).
        run_name: Display name (``WINDLASS_NAME``).
        job_name: Name for the job made from this run (``WINDLASS_JOB_NAME``).
        mode: ``online``, or ``disabled`` to record nothing (``WINDLASS_MODE``).
        disable_git: Do not look for a git checkout.
        disable_job_creation: Make no job from the run (``WINDLASS_DISABLE_JOB_CREATION=true``).
        flush_seconds: Metrics are sent in batches, at least this often. Default 0.5.
        heartbeat_seconds: The run says that it lives this often. Default 15.
        finish_timeout: Seconds `Run.finish` waits for a server that is gone. Default 120. What could not be sent
            is kept under ``WINDLASS_HOME/spool`` and sent by the next run.
    """

    entity: str | None = None
    project: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    home: str | Path | None = None
    run_id: str | None = None
    run_name: str | None = None
    job_name: str | None = None
    mode: str | None = None
    disable_git: bool = False
    disable_job_creation: bool = False
    flush_seconds: float = 0.5
    heartbeat_seconds: float = 15.0
    finish_timeout: float = 120.0

    def resolve(self) -> process.Settings:
        """The settings of this process with these on top.

        Raises:
            UsageError: A value does not fit.
        """
        home = Path(self.home).expanduser().absolute() if self.home is not None else None
        found = process.Settings.from_env(
            entity=self.entity,
            project=self.project,
            base_url=self.base_url,
            api_key=self.api_key,
            home=home,
            run_id=self.run_id,
            run_name=self.run_name,
            job_name=self.job_name,
            mode=self.mode,
        )
        if found.mode not in MODES:
            raise UsageError(
                f"the mode {found.mode!r} does not exist", where="mode", hint=f"Use one of: {', '.join(MODES)}."
            )
        if home is not None and found.cache_dir == process.Settings.from_env().home / "cache":
            found = found.replace(cache_dir=home / "cache")
        return credentials.apply(found, entity_given=self.entity is not None)
