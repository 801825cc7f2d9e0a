"""The backends of one agent: made when they are first needed, kept until the agent ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from windlass.config.converter import failure
from windlass.errors import ConfigError, NotFoundError, PluginError, Problem, RunnerError, WindlassError
from windlass.launch.images import parse_image
from windlass.launch.plan import resource_name
from windlass_agent.config import AgentConfig
from windlass_agent.git_hosts import missing_secrets

if TYPE_CHECKING:
    from windlass.builders import Builder, BuilderCapabilities
    from windlass.environments import Environment
    from windlass.metastore import QueueStore
    from windlass.models.queue import QueueRef
    from windlass.plugins.app import App
    from windlass.registries import Registry
    from windlass.runners import Runner, RunnerCapabilities

__all__ = ["Backends"]

_log = logging.getLogger(__name__)


class Backends:
    """Runners, builder, registry and environment as the configuration names them. Serves several threads."""

    def __init__(self, config: AgentConfig, app: App) -> None:
        self._config = config
        self._app = app
        self._lock = threading.RLock()
        self._runners: dict[str, Runner] = {}
        self._environment: Environment | None = None
        self._builder: tuple[str, Builder] | None = None
        self._settled = True
        self._registries: dict[str, Registry] = {}

    def verify(self, *, patient: bool = True) -> None:
        """Make sure that everything the configuration names exists and fits, before the first job is taken.

        Args:
            patient: A runner that does not answer now may do so later: what stands in the queue waits for it.

        Raises:
            ConfigError, PluginError: All problems of the file, with their places in it.
            RunnerError: A runner does not work.
        """
        self._check_settings(secrets=patient)
        environment = self.environment()
        if self._config.storage or environment is not None:
            self._app.configure_storage(self._config.storage, environment=environment, document=self._config.document)
        for name in self._config.runners:
            try:
                self.runner(name)
            except RunnerError as error:
                if not (patient and error.retryable):
                    raise
                _log.warning("the runner '%s' does not work yet; its queues wait for it: %s", name, error)
        if self._config.builder:
            self.builder()
        if self._config.registry:
            self.registry("")

    def serve(self, queues: QueueStore, refs: Iterable[QueueRef]) -> None:
        """Make sure that there is a runner for each queue: what is taken off a queue without one could only fail.

        Raises:
            PluginError: There is none, or it cannot be loaded; names the queue.
        """
        for ref in refs:
            with suppress(NotFoundError):  # that a queue does not exist is said when the agent registers
                resource = resource_name(queues.get(ref).resource)
                try:
                    if resource:  # else each run says where it runs
                        self.capabilities(resource)
                except PluginError as error:
                    error.where = f"queue {ref.name}"
                    raise

    def _check_settings(self, *, secrets: bool) -> None:
        """Raise for all that does not fit, before the first backend is made and says what is wrong with itself only."""
        config = self._config
        parts = [(f"$.runners.{name}", "runner", name, settings) for name, settings in config.runners.items()]
        sections = {"environment": config.environment, "builder": config.builder, "registry": config.registry}
        parts += [(f"$.{kind}", kind, *_split(section)) for kind, section in sections.items() if section]
        problems: list[Problem] = []
        for where, kind, name, settings in parts:
            try:
                self._app.read_settings(kind, name, settings, where=where, document=config.document)
            except ConfigError as error:
                problems += error.problems or [Problem(error.message, where=error.where, hint=error.hint)]
            except PluginError as error:
                place = config.place(where if kind == "runner" else f"{where}.type")
                problems.append(Problem(error.message, where=place, hint=error.hint))
        if secrets:  # jobs that need them could only fail
            problems += missing_secrets(config)
        if problems:
            raise failure(config.document, problems)

    def _create(self, kind: str, name: str, settings: Mapping[str, Any], where: str) -> Any:
        place: dict[str, Any] = {"where": where, "document": self._config.document}
        self._app.read_settings(kind, name, settings, **place)  # its own mistakes, before those of the environment
        try:
            return self._app.create(kind, name, settings, environment=self.environment(), **place)
        except WindlassError as error:
            if error.where.startswith("$."):
                error.where = self._config.place(error.where)
            raise

    def runner(self, name: str) -> Runner:
        """The runner of a resource type. Raises as `App.create`."""
        with self._lock:
            if name not in self._runners:
                self._runners[name] = self._create(
                    "runner", name, self._config.runners.get(name) or {}, f"$.runners.{name}"
                )
            return self._runners[name]

    def capabilities(self, name: str) -> RunnerCapabilities:
        """What the runner of a resource type can do."""
        return self._app.runners.get(name).capabilities

    def environment(self) -> Environment | None:
        """Cloud credentials, None if none are configured."""
        with self._lock:
            if self._environment is None and self._config.environment:
                name, config = _split(self._config.environment)
                self._environment = self._app.create_environment(
                    name, config, where="$.environment", document=self._config.document
                )
            return self._environment

    def builder(self) -> Builder:
        """The builder: the configured one, else docker if an engine answers, else noop for now."""
        with self._lock:
            if self._builder is None or not self._settled:
                self._builder = self._make_builder()
            return self._builder[1]

    def builder_capabilities(self) -> BuilderCapabilities:
        """What the builder can do."""
        self.builder()
        assert self._builder is not None
        return self._app.builders.get(self._builder[0]).capabilities

    def _make_builder(self) -> tuple[str, Builder]:
        if self._config.builder:
            name, config = _split(self._config.builder)
            return name, self._create("builder", name, config, "$.builder")
        try:
            builder = self._app.create_builder("docker", environment=self.environment())
            builder.check()
        except WindlassError as error:
            if self._builder is None:
                _log.info("no Docker engine to build with (%s), so nothing is built", error.message)
            self._settled = False  # an engine that is started later is found by the next who asks
            return self._builder or ("noop", self._app.create_builder("noop"))
        self._settled = True
        return "docker", builder

    @property
    def destination(self) -> str:
        """Repository that built images are pushed to; empty: they stay in the engine."""
        builder = self._config.builder or {}
        found = builder.get("destination") or builder.get("uri") or ""
        return str(found).removeprefix("https://").rstrip("/")

    @property
    def platform(self) -> str:
        """Platform to build for, empty for the engine's own."""
        return str((self._config.builder or {}).get("platform") or "")

    def registry(self, repository: str) -> Registry | None:
        """The registry plugin for a repository: the configured one, else the one meant for its host, else oci."""
        name, config = _split(self._config.registry) if self._config.registry else ("", {})
        if not name and not repository:
            return None
        name = name or self._registry_for(parse_image(repository).host)
        with self._lock:
            if name not in self._registries:
                self._registries[name] = self._create("registry", name, config, "$.registry")
            return self._registries[name]

    def _registry_for(self, host: str) -> str:
        for info, descriptor in self._app.registries.get_all():
            if not isinstance(descriptor, PluginError) and any(fnmatch(host, glob) for glob in descriptor.hosts):
                return info.name
        return "oci"

    def close(self) -> None:
        """Close everything. What was started goes on."""
        with self._lock:
            things: list[Any] = [*self._runners.values(), *self._registries.values()]
            things += [self._builder[1]] if self._builder else []
            things += [self._environment] if self._environment else []
            self._runners, self._registries, self._builder, self._environment = {}, {}, None, None
        for thing in things:
            try:
                thing.close()
            except WindlassError as error:
                _log.warning("closing a backend failed: %s", error)


def _split(part: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    rest = dict(part)
    name = rest.pop("type", "")
    if not isinstance(name, str) or not name:
        raise ConfigError("a backend needs a type", hint="Write {type: <name>, …}.")
    return name, rest
