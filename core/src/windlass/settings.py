"""Settings of one process: where state lives and who we are. From arguments, then environment, then defaults."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from windlass.errors import UsageError
from windlass.models import LONGEST

__all__ = ["Settings"]

_DEFAULT_LEASE = 60.0
MODES = ("online", "disabled")
"""What ``WINDLASS_MODE`` may say."""


def _home(env: Mapping[str, str]) -> Path:
    return Path(env.get("WINDLASS_HOME") or Path.home() / ".windlass").expanduser().absolute()


class Settings(Struct, frozen=True, kw_only=True):
    """What a process needs to know before it opens anything.

    Attributes:
        home: ``WINDLASS_HOME``: all local state. Default ``~/.windlass``. What can only be read is read.
        base_url: ``WINDLASS_BASE_URL``: the metadata store. Empty: a SQLite file in `home`;
            ``sqlite:///path``, ``postgresql://…``, ``http(s)://…`` or ``unix:///socket`` for a server.
        api_key: ``WINDLASS_API_KEY``: key or token for a server.
        entity: ``WINDLASS_ENTITY``: owner of what is made. Default: the user's login name.
        project: ``WINDLASS_PROJECT``: name space of what is made. Default ``uncategorized``.
        run_id: ``WINDLASS_RUN_ID``: the run this process belongs to.
        attempt: ``WINDLASS_ATTEMPT``: attempt number of that run.
        run_name: ``WINDLASS_NAME``: display name of the run.
        job_name: ``WINDLASS_JOB_NAME``: name for the job made from this run.
        docker: ``WINDLASS_DOCKER``: image this process runs in.
        artifact_dir: ``WINDLASS_ARTIFACT_DIR``: where artifacts are downloaded to. Default ``./artifacts``.
        cache_dir: ``WINDLASS_CACHE_DIR``: copies that may be deleted. Default ``<home>/cache``.
        lease_seconds: ``WINDLASS_LEASE_SECONDS``: an agent's claim is free again when not renewed for so long.
        config: ``WINDLASS_CONFIG`` (JSON): run config given by the launch.
        store_patience: ``WINDLASS_STORE_PATIENCE``: seconds during which a server that has not answered yet is asked
            again. Empty: as long as one that has answered, a minute; commands that a person waits for: 5.
        mode: ``WINDLASS_MODE``: ``online`` or ``disabled`` (the SDK records nothing).
    """

    home: Path
    base_url: str = ""
    api_key: str = ""
    entity: str = ""
    project: str = "uncategorized"
    run_id: str = ""
    attempt: int | None = None
    run_name: str = ""
    job_name: str = ""
    docker: str = ""
    artifact_dir: Path = Path("artifacts")
    cache_dir: Path = Path("cache")
    lease_seconds: float = _DEFAULT_LEASE
    config: str = ""
    mode: str = "online"
    store_patience: float | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **changes: object) -> Settings:
        """Read the environment; `changes` that are not None win.

        Raises:
            UsageError: A variable holds something that does not fit; names it.
        """
        env = os.environ if env is None else env
        home = _home(env)
        found = cls(
            home=home,
            base_url=env.get("WINDLASS_BASE_URL", ""),
            api_key=env.get("WINDLASS_API_KEY", ""),
            entity=env.get("WINDLASS_ENTITY") or default_entity(env),
            project=env.get("WINDLASS_PROJECT") or "uncategorized",
            run_id=env.get("WINDLASS_RUN_ID", ""),
            attempt=int(_number(env, "WINDLASS_ATTEMPT", int)) if env.get("WINDLASS_ATTEMPT") else None,
            run_name=env.get("WINDLASS_NAME", ""),
            job_name=env.get("WINDLASS_JOB_NAME", ""),
            docker=env.get("WINDLASS_DOCKER", ""),
            artifact_dir=Path(env.get("WINDLASS_ARTIFACT_DIR") or "artifacts").expanduser(),
            cache_dir=Path(env.get("WINDLASS_CACHE_DIR") or home / "cache").expanduser().absolute(),
            lease_seconds=(
                _number(env, "WINDLASS_LEASE_SECONDS", float) if env.get("WINDLASS_LEASE_SECONDS") else _DEFAULT_LEASE
            ),
            config=env.get("WINDLASS_CONFIG", ""),
            mode=env.get("WINDLASS_MODE") or "online",
            store_patience=(
                _number(env, "WINDLASS_STORE_PATIENCE", float) if env.get("WINDLASS_STORE_PATIENCE") else None
            ),
        )
        if not 0 < found.lease_seconds <= LONGEST:
            raise UsageError(
                "must be greater than 0, and ten years at the most",
                where="WINDLASS_LEASE_SECONDS",
                hint="Give a number of seconds, e.g. 60.",
            )
        if found.mode not in MODES:
            raise UsageError(
                f"{found.mode!r} is no mode", where="WINDLASS_MODE", hint=f"Set it to one of: {', '.join(MODES)}."
            )
        wanted = {name: value for name, value in changes.items() if value is not None}
        return found.replace(**wanted) if wanted else found

    def replace(self, **changes: Any) -> Settings:
        """The same settings but for some."""
        return replace(self, **changes)

    def __repr__(self) -> str:
        told = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != "api_key")
        return f"Settings({', '.join(told)})"

    @property
    def store_url(self) -> str:
        """The metadata store's URL, the default written out."""
        return self.base_url or f"sqlite:///{self.home / 'windlass.db'}"


def _number(env: Mapping[str, str], name: str, kind: type[int | float]) -> int | float:
    try:
        number = kind(env[name])
        if math.isfinite(number):
            return number
        raise ValueError
    except ValueError:
        raise UsageError(
            f"{env[name]!r} is not a number", where=name, hint=f"Set {name} to a number, or unset it."
        ) from None


def default_entity(env: Mapping[str, str] | None = None) -> str:
    """The login name, reduced to characters that are fine in an entity."""
    env = os.environ if env is None else env
    name = env.get("USER") or env.get("LOGNAME") or _account()
    return "".join(c if (c.isascii() and c.isalnum()) or c in "_.-" else "-" for c in name) or "local"


def _account() -> str:
    """The account's name where no variable tells it (cron, containers); its number when it has none."""
    if not hasattr(os, "getuid"):
        return "local"
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"
