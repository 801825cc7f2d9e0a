"""Finding out what of an agent's configuration would fail, before the first job does."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from attrs import frozen

from windlass.errors import ConfigError, NotFoundError, PluginError, SecretError, WindlassError
from windlass.launch.plan import resource_name
from windlass.launch.secret_env import resolve_secrets, secret_references, take_secrets
from windlass.models.queue import QueueRef, queue_named
from windlass_agent.backends import Backends
from windlass_agent.git_hosts import missing_keys
from windlass_agent.jobapi import JobAccess

if TYPE_CHECKING:
    from windlass.metastore import MetadataStore
    from windlass.plugins.app import App
    from windlass_agent.config import AgentConfig

__all__ = ["Finding", "examine"]

_OPTIONAL = ("process", "docker")
"""Runners that are tried without anybody asking; not working is worth a warning then."""


@frozen(kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        check: What was looked at.
        status: ``ok``, ``warning`` (something does not work that nobody asked for) or ``problem``.
        detail: What is there, or what is wrong and what to do.
    """

    check: str
    status: str = "ok"
    detail: str = ""


def examine(config: AgentConfig, app: App, store: MetadataStore | None) -> Iterator[Finding]:
    """Try everything an agent with this configuration would use.

    Args:
        config: The agent's.
        app: Plugins and settings.
        store: The metadata store; None when it does not answer, then nothing is said about queues.
    """
    backends = Backends(config, app)
    try:
        if config.environment:
            yield _try(f"environment {config.environment['type']}", lambda: _environment(backends))
        yield from _storages(config, backends, app)
        yield from _secrets(config)
        yield from _weights(config)
        if config.registry or backends.destination:
            yield _try("registry", lambda: _registry(backends))
        yield _builder(config, backends)
        wanted = dict.fromkeys(config.runners, "runners of launch-config.yaml")
        if not config.queues and config.document is not None:
            yield Finding(check="queues", status="warning", detail="none is named; launch-agent needs queues, or -q")
        for name in config.queues if store is not None else ():
            found, resource = _queue(store, queue_named(name, config.entity or app.settings.entity))
            yield found
            if resource:
                wanted.setdefault(resource, f"queue {name}")
        for name in dict.fromkeys((*wanted, *(name for name in _OPTIONAL if name in app.runners.names()))):
            found = _try(f"runner {name}", lambda name=name: _runner(backends, name))  # type: ignore[misc]
            yield found if name in wanted or name == "process" else _only_warn(found)
            if store is not None and name in wanted and found.status == "ok":
                yield from _job_api(backends, app, store, name)
    finally:
        backends.close()


def _try(check: str, call: Callable[[], str]) -> Finding:
    try:
        return Finding(check=check, detail=call())
    except WindlassError as error:
        return Finding(check=check, status="problem", detail=_sentence(error))


def _sentence(error: WindlassError) -> str:
    if isinstance(error, ConfigError) and error.problems:
        return "; ".join(map(str, error.problems))
    where = f"{error.where}: " if error.where else ""
    return f"{where}{error.message}" + (f"; {error.hint}" if error.hint else "")


def _only_warn(found: Finding) -> Finding:
    return found if found.status == "ok" else Finding(check=found.check, status="warning", detail=found.detail)


def _environment(backends: Backends) -> str:
    environment = backends.environment()
    assert environment is not None
    environment.verify()
    return "credentials accepted"


def _storages(config: AgentConfig, backends: Backends, app: App) -> Iterator[Finding]:
    """Whether the settings of storages fit, those of this configuration and of the home's file; silent without any."""

    def look() -> str:
        if config.storage:
            app.configure_storage(config.storage, environment=backends.environment(), document=config.document)
        names = app.check_storages()
        return f"settings of {', '.join(names)}" if names else ""

    found = _try("storage", look)
    if found.detail:
        yield found


def _secrets(config: AgentConfig) -> Iterator[Finding]:
    """Whether the agent's own secret references lead somewhere; the values are not kept."""
    tokens = {f"token of {host}": access.token for host, access in config.git.items() if access.token is not None}

    def look(references: dict[str, str]) -> str:
        wrong = []
        for name, reference in references.items():
            try:
                resolve_secrets({name: reference})
            except SecretError as error:
                wrong.append(_sentence(error))
        if wrong:
            raise SecretError("; ".join(wrong))
        return f"{len(references)} found"

    if config.secrets:
        yield _try("secrets", lambda: look(secret_references(config.secrets)))
    if tokens:
        refs = {name: ref for name, token in tokens.items() for ref in secret_references({"token": token}).values()}
        yield _try("git tokens", lambda: look(refs))
    if wrong := missing_keys(config):
        yield Finding(check="git keys", status="problem", detail="; ".join(map(str, wrong)))


def _weights(config: AgentConfig) -> Iterator[Finding]:
    strange = sorted(set(config.weights) - set(config.queues))
    if strange and config.queues:
        detail = f"{', '.join(strange)}: no queue of this agent; its queues are {', '.join(config.queues)}"
        yield Finding(check="weights", status="warning", detail=detail)


def _registry(backends: Backends) -> str:
    registry = backends.registry(backends.destination)
    if registry is None:
        return "none is needed"
    registry.check()
    if not backends.destination:
        return "ready"
    registry.resolve(f"{backends.destination}:windlass-doctor")
    return f"{backends.destination} answers"


def _builder(config: AgentConfig, backends: Backends) -> Finding:
    def look() -> str:
        backends.builder().check()
        return "ready" if backends.builder_capabilities().builds else "builds nothing"

    found = _try(f"builder {config.builder['type']}" if config.builder else "builder", look)
    if found.status == "ok" and not backends.builder_capabilities().builds:
        detail = "nothing here builds images, so code and git jobs run on 'process' only; start a Docker engine"
        return Finding(check=found.check, status="warning", detail=detail)
    return found


def _queue(store: MetadataStore | None, ref: QueueRef) -> tuple[Finding, str]:
    assert store is not None
    check = f"queue {ref.name}"
    try:
        queue = store.queues.get(ref)
    except NotFoundError as error:
        return Finding(check=check, status="problem", detail=_sentence(error)), ""
    except WindlassError as error:
        return Finding(check=check, status="warning", detail=_sentence(error)), ""
    try:
        resolve_secrets(take_secrets(queue.config)[1])
    except ConfigError as error:  # every run of it would fail by that on this machine
        return Finding(check=check, status="problem", detail=_sentence(error)), resource_name(queue.resource)
    state = "paused: nothing is taken from it" if queue.paused else f"runs on {queue.resource}"
    return Finding(check=check, status="warning" if queue.paused else "ok", detail=state), resource_name(queue.resource)


def _runner(backends: Backends, name: str) -> str:
    backends.runner(name).check()
    return f"ready on {socket.gethostname()}" if backends.capabilities(name).host_bound else "ready"


def _job_api(backends: Backends, app: App, store: MetadataStore, name: str) -> Iterator[Finding]:
    def look() -> str:
        access = JobAccess(app, store)
        try:
            api, _ = access.for_job(backends.capabilities(name), "")
        finally:
            access.close()
        return f"at {api.url}"

    try:
        yield _try(f"API for jobs on {name}", look)
    except PluginError as error:
        yield Finding(check=f"API for jobs on {name}", status="problem", detail=_sentence(error))
