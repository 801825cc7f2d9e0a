"""The agent's configuration: defaults < launch-config.yaml < environment < flags."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from windlass.config import option
from windlass.config.converter import failure, structure_most
from windlass.config.document import Document
from windlass.config.document import load as load_document
from windlass.errors import ConfigError, Problem
from windlass.launch.secret_env import secret_references
from windlass.models import LONGEST
from windlass_agent.slots import parse_slots

__all__ = ["AgentConfig", "default_path", "load"]

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class GitHost:
    """How to sign in at one git host. Without it git's own credential helpers and keys are used."""

    username: str = option(default="windlass", help="For https; most hosts take any name beside a token.")
    token: str | dict[str, str] | None = option(
        default=None, secret=True, help="Reference of a token or password: `env/NAME`, `file/PATH`."
    )
    ssh_key: str = option(default="", key="ssh-key", help="Path of a private key.")


@frozen(kw_only=True)
class AgentConfig:
    """``launch-config.yaml``. The parts `environment`, `registry`, `builder` and `runners` belong to their plugins."""

    entity: str = option(
        default="",
        help="Owner of the queues. Default: theirs, where they are all named ENTITY/NAME; else the settings' entity.",
    )
    queues: tuple[str, ...] = option(default=(), help="Queues to take items from, in turn: NAME or ENTITY/NAME.")
    weights: dict[str, float] = option(
        factory=dict, help="Shares of the queues, by name; 1 for those not named, so that all take turns."
    )
    max_jobs: int = option(
        default=1, minimum=-1, help="Runs at the same time; -1 is unlimited, which is the default with `slots`."
    )
    slots: dict[str, Any] = option(
        factory=dict,
        help="What runs may use together: `cpu` (cores), `memory` (e.g. 32GiB), `gpu` (a number or indices).",
    )
    name: str = option(default="", help="Name of this agent in `windlass agent list`. Default: the host name.")
    host: str = option(
        default="",
        help="Name of this machine, by which agents on it know each other's runs. Default: the host name. "
        "Set it where that changes, as in containers that share a home.",
    )
    environment: dict[str, Any] | None = option(default=None, help="Cloud credentials: `type` and the plugin's keys.")
    storage: dict[str, dict[str, Any]] = option(
        factory=dict,
        help="Settings of storages by name (s3, gcs, azure …), in place of those in `<home>/storage.yaml`.",
    )
    registry: dict[str, Any] | None = option(default=None, help="Container registry: `type` and the plugin's keys.")
    builder: dict[str, Any] | None = option(
        default=None,
        help="Image builder: `type`, `destination` and more. Default: docker if an engine answers, else noop.",
    )
    runners: dict[str, dict[str, Any]] = option(factory=dict, help="Settings of runners by name.")
    secrets: dict[str, Any] = option(
        factory=dict, help="Secret variables of every job, by reference: `{NAME: {secret: env/NAME}}`."
    )
    git: dict[str, GitHost] = option(
        factory=dict, help="How to sign in at git hosts, by host name: `username`, `token`, `ssh-key`."
    )
    local_repositories: bool = option(
        default=False,
        help="Fetch `file://` repositories of this machine for everybody who may submit through a server. "
        "Without it for its own user only.",
    )
    verbosity: int = option(default=0, minimum=0, help="0 says what changes, 1 more, 2 everything.")
    stopped_run_timeout: float | None = option(
        default=None,
        minimum=0,
        maximum=LONGEST,
        help="Seconds between SIGTERM and SIGKILL when a user stops a run. Default: the policy's.",
    )
    on_stop: str = option(
        default="finish",
        key="on-stop",
        choices=("finish", "hand-over"),
        help="On SIGTERM and Ctrl-C: `finish` the runs first, or `hand-over` them to other agents and end.",
    )
    builds: int = option(default=2, minimum=1, help="Images built at the same time.")
    drain: bool = option(default=False, help="End when the queues are empty and all runs are over.")
    document: Document | None = field(default=None, eq=False, repr=False, init=False)

    def place(self, path: str) -> str:
        """``file:line`` of a key, for messages about backends."""
        return self.document.place(path) if self.document is not None else path


def default_path(env: Mapping[str, str] | None = None) -> Path:
    """``$XDG_CONFIG_HOME/windlass/launch-config.yaml``, ``~/.config/…`` by default."""
    env = os.environ if env is None else env
    base = env.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base).expanduser() / "windlass" / "launch-config.yaml"


def load(
    path: str | Path | None = None, flags: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None
) -> AgentConfig:
    """Read the configuration.

    Args:
        path: The file; None takes the default one if it exists.
        flags: Values from the command line by field name; None and empty tuples do not count.
        env: Environment; ``WINDLASS_ENTITY``, ``WINDLASS_LAUNCH_MAX_JOBS`` and ``WINDLASS_LAUNCH_QUEUES`` are read.

    Raises:
        ConfigError: The file, a variable or a flag does not fit; all problems at once, with ``file:line``.
    """
    env = os.environ if env is None else env
    document = load_document(path) if path is not None else _default_document(env)
    data = _aliases(document)
    found, wrong = structure_most(data, AgentConfig, document=document)
    config = found or AgentConfig()
    if wrong:
        told = {problem.where for problem in wrong}
        raise failure(document, [*wrong, *(p for p in _problems(config, document) if p.where not in told)])
    given = {**_from_env(env), **_given(flags or {})}
    config = evolve(config, **given)
    owners = [name.rpartition("/")[0] for name in config.queues]
    if owners and all(owners) and not _says(data, "entity") and not (flags or {}).get("entity"):
        config = evolve(config, entity=owners[0])  # whole names say more than the environment
    if config.slots and "max_jobs" not in given and not _says(data, "max_jobs"):
        config = evolve(config, max_jobs=-1)
    if problems := _problems(config, document):
        raise failure(document, problems)
    object.__setattr__(config, "document", document)
    return config


def _says(data: Any, key: str) -> bool:
    return isinstance(data, dict) and (key in data or key.replace("_", "-") in data)


def _problems(config: AgentConfig, document: Document) -> list[Problem]:
    """What is wrong beyond the types of single keys."""
    problems = [
        Problem(f"a share must be greater than 0, got {weight!r}", where=f"$.weights.{name}")
        for name, weight in config.weights.items()
        if not 0 < weight < float("inf")
    ]
    if config.max_jobs < -1:
        problems.append(Problem(f"must be at least -1, got {config.max_jobs}", where="$.max_jobs", hint="-1: no limit"))
    for key in ("environment", "registry", "builder"):
        part = getattr(config, key)
        if part is not None and not isinstance(part.get("type"), str):
            problems.append(Problem(f"{key} needs a type", where=f"$.{key}", hint=f"write {key}: {{type: <name>}}"))
    checks: list[Callable[[], object]] = [
        lambda: parse_slots(config.slots),
        lambda: secret_references(config.secrets, "$.secrets"),
        *(
            lambda host=host, access=access: secret_references({"token": access.token}, f"$.git.{host}")
            for host, access in config.git.items()
            if access.token is not None
        ),
    ]
    for check in checks:
        try:
            check()
        except ConfigError as error:
            problems += error.problems or (Problem(error.message, where=error.where, hint=error.hint),)
    return [
        Problem(p.message, where=document.place(p.where) if p.where in document.lines else p.where, hint=p.hint)
        for p in problems
    ]


def _default_document(env: Mapping[str, str]) -> Document:
    path = default_path(env)
    return load_document(path) if path.exists() else Document(data={})


def _aliases(document: Document) -> Any:
    """Take other spellings that people write: ``queue`` for ``queues``."""
    data = document.data
    if not isinstance(data, dict):
        return data
    data = {key: value for key, value in data.items() if value is not None}
    if "queue" in data:
        _log.warning("%s: 'queue' is read as 'queues'; please rename it", document.place("$.queue"))
        both = [[found] if isinstance(found, str) else found for found in (data.get("queues", []), data.pop("queue"))]
        odd = [found for found in both if not isinstance(found, list)]
        data["queues"] = odd[0] if odd else [name for found in both for name in found]
    return data


def _from_env(env: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if env.get("WINDLASS_ENTITY"):
        found["entity"] = env["WINDLASS_ENTITY"]
    if env.get("WINDLASS_LAUNCH_QUEUES"):
        found["queues"] = tuple(name.strip() for name in env["WINDLASS_LAUNCH_QUEUES"].split(",") if name.strip())
    if said := env.get("WINDLASS_LAUNCH_MAX_JOBS"):
        try:
            found["max_jobs"] = int(said)
        except ValueError:
            found["max_jobs"] = None
        if found["max_jobs"] is None or found["max_jobs"] < -1:
            wrong = f"must be a whole number of at least -1, got {said!r}"
            problem = Problem(wrong, where="WINDLASS_LAUNCH_MAX_JOBS", hint="-1: no limit")
            raise ConfigError("an environment variable does not fit", problems=[problem])
    return found


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flags.items() if value is not None and value != ()}
