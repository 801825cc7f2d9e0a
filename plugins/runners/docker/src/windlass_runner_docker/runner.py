"""The docker runner: one container per attempt, named after it."""

from __future__ import annotations

import fcntl
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from windlass.errors import ConfigError, FencedError, RunnerError, RunNotFoundError, SubmitError, WindlassError
from windlass.models.reason import Reason
from windlass.plugins import Context
from windlass.runners import LogLine, RunHandle, Runner, RunnerState, RunSpec, RunStatus
from windlass_runner_docker.config import DockerArgs, DockerConfig
from windlass_runner_docker.options import container_options, read_args
from windlass_runner_docker.output import entries, parse_cursor, read
from windlass_runner_docker.pull import Pull, pull
from windlass_runner_docker.states import by_signal, ended, killed, seconds
from windlass_runner_docker.usage import Usage

__all__ = ["DockerRunner"]

_PREFIX = "windlass-"
_LABEL = "windlass.attempt"
_LOCK_LIMIT = 60.0
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
# The engine's default log format replaces bytes that are not UTF-8; this one keeps them. The sizes only bound what
# lies on disk between two readings.
_A_DAY = 86400
_OOM_IS_TOLD = 0.3
"""Seconds after a container's end by when the engine has heard why."""
_LOG = {"Type": "local", "Config": {"max-size": "512m", "max-file": "3"}}


class DockerRunner(Runner):
    """Starts containers. What it must remember beside them lies in ``<home>/docker/``: locks and stop requests."""

    def __init__(self, config: DockerConfig, context: Context) -> None:
        self._config = config
        self._context = context
        self._notes = Path(context.settings.home) / "docker"
        self._where = config.docker_host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        with self._errors():
            self._client = docker.DockerClient(base_url=self._where, timeout=math.ceil(config.timeout))
        api: Any = self._client.api  # the version it has agreed on is private to it
        self._version = str(api._version)
        self._usage = Usage(self._client.api)
        self._pulls: dict[str, Pull] = {}
        self._running: set[str] = set()
        self._shaken: set[str] = set()  # ran when the engine ceased to answer: when it is stopped it ends them

    def submit(self, spec: RunSpec) -> RunHandle:
        """Create and start the container. See `Runner.submit`."""
        if not spec.image:
            raise ConfigError("the docker runner needs an image", where="$.image", hint="Build one, or use -d IMAGE.")
        args = read_args(spec.resource_args)
        options = container_options(spec, args, self._config.allow_env, os.environ)
        # Between a look at the container and its start nobody else may start it: when the job is short, a second
        # start would run it again.
        with self._errors(SubmitError), self._lock(spec.attempt_id):
            state = self._inspect(spec.attempt_id)
            if state is None:
                spec.check_in_time()
                self._create(spec, args, options)
            if state is None or state["State"]["Status"] == "created":
                try:
                    spec.check_in_time()
                except FencedError:
                    self._remove(spec.attempt_id)  # a pull took long, or the agent was frozen; it never ran
                    raise
                self._start(spec)
        return self._handle(spec.attempt_id)

    def cancel(self, attempt_id: str) -> None:
        """Wait for its image no longer. See `Runner.cancel`."""
        if (one := self._pulls.get(attempt_id)) is not None:
            one.give_up("its image was still being pulled")

    def find(self, attempt_id: str) -> RunHandle | None:
        """The handle of an attempt whose container was started. See `Runner.find`."""
        with self._errors():
            state = self._inspect(attempt_id)
            if state is None:
                return None
            if state["State"]["Status"] == "created":
                self._discard(attempt_id)
                return None
        return self._handle(attempt_id)

    def poll(self, handles: Sequence[RunHandle]) -> Mapping[RunHandle, RunStatus]:
        """State of many attempts with one request, and one more for each that has ended and some that run.

        See `Runner.poll`.
        """
        if not handles:
            return {}
        try:
            with self._errors():
                listed = {
                    item.get("Labels", {}).get(_LABEL): item
                    for item in self._client.api.containers(all=True, filters={"label": _LABEL})
                }
                self._usage.begin()
                return {handle: self._status(handle.id, listed.get(handle.id)) for handle in handles}
        except RunnerError:
            self._shaken |= self._running
            raise

    def logs(self, handle: RunHandle, since: str = "") -> Iterator[LogLine]:
        """Output behind a cursor. See `Runner.logs`."""
        anchor, _ = parse_cursor(since)
        api: Any = self._client.api
        params = {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": 0}
        if anchor:
            params["since"] = f"{anchor // 10**9}.{anchor % 10**9:09d}"  # type: ignore[assignment]
        try:
            with self._errors():
                url = api._url("/containers/{0}/logs", _name(handle.id))
                with api._get(url, params=params, stream=True) as response:
                    api._raise_for_status(response)
                    yield from read(entries(response.iter_content(256 * 1024)), since)
        except NotFound:
            raise RunNotFoundError(f"the container {_name(handle.id)} is gone", where=self._where) from None

    def stop(self, handle: RunHandle, grace: float) -> None:
        """Send SIGTERM; `poll` sends SIGKILL once the grace is over. See `Runner.stop`.

        The end of the grace is kept in a file, so that whichever agent polls by then keeps to it.
        """
        with self._errors():
            state = self._inspect(handle.id)
            if state is None or not state["State"]["Running"]:
                return
            note = self._note(handle.id, "stop")
            until = time.time() + max(0.0, grace)
            if note.exists():
                until = min(until, _until(note))
            draft = note.with_suffix(f".{os.getpid()}.new")
            draft.write_text(repr(until))
            draft.rename(note)
            self._kill(handle.id, "SIGTERM" if grace > 0 else "SIGKILL")

    def cleanup(self, handle: RunHandle) -> None:
        """Remove the container with its anonymous volumes. See `Runner.cleanup`."""
        with self._errors():
            try:
                self._remove(handle.id)
            except NotFound:
                pass
            except APIError as error:
                if error.status_code != 409:  # somebody else removes it at this moment
                    raise
            limit = time.monotonic() + self._config.timeout
            while self._inspect(handle.id) is not None and time.monotonic() < limit:
                time.sleep(0.02)
        self._usage.forget(_name(handle.id))
        self._running.discard(handle.id)
        self._shaken.discard(handle.id)
        for kind in ("stop", "lock"):
            self._note(handle.id, kind).unlink(missing_ok=True)

    def check(self) -> None:
        """See whether the engine answers. See `Runner.check`."""
        with self._errors():
            self._client.ping()

    def close(self) -> None:
        """Close the connections. See `Runner.close`."""
        self._client.close()

    # -- inside -----------------------------------------------------------------------------------------------

    def _handle(self, attempt_id: str) -> RunHandle:
        return RunHandle(runner="docker", id=attempt_id, data={"container": _name(attempt_id)})

    def _inspect(self, attempt_id: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._client.api.inspect_container(_name(attempt_id))
        except NotFound:
            return None
        return found

    def _create(self, spec: RunSpec, args: DockerArgs, options: dict[str, Any]) -> None:
        if args.pull == "always":
            self._pull(spec, args)
        create: Any = self._client.containers.create
        for last in (False, True):
            try:
                create(spec.image, name=_name(spec.attempt_id), detach=True, log_config=_LOG, **options)
            except ImageNotFound:
                if last or args.pull == "never":
                    raise SubmitError(
                        f"the engine has no image {spec.image}", where=self._where, hint="Pull or build it."
                    ) from None
                self._pull(spec, args)
            else:
                return

    def _pull(self, spec: RunSpec, args: DockerArgs) -> None:
        one = Pull(lambda: docker.APIClient(base_url=self._where, timeout=_A_DAY, version=self._version))
        self._pulls[spec.attempt_id] = one
        try:
            pull(one, self._context, self._config.registry, spec.image, args.platform)
        finally:
            del self._pulls[spec.attempt_id]

    def _start(self, spec: RunSpec) -> None:
        try:
            self._client.api.start(_name(spec.attempt_id))
        except APIError as error:
            with suppress(APIError):
                self._remove(spec.attempt_id)
            text = str(error.explanation or error)
            broken = (error.status_code or 500) >= 500 and "executable file not found" not in text
            raise SubmitError(
                f"the container cannot be started: {text}",
                where=self._where,
                hint="Check the entry point and the queue's options.",
                retryable=broken and "no such file or directory" not in text,
            ) from None

    def _remove(self, attempt_id: str) -> None:
        self._client.api.remove_container(_name(attempt_id), force=True, v=True)

    def _discard(self, attempt_id: str) -> None:
        """Remove a container that nobody starts: its agent died before, and nobody else would know of it."""
        with suppress(SubmitError), self._lock(attempt_id, limit=0.0):
            state = self._inspect(attempt_id)
            if state is not None and state["State"]["Status"] == "created":
                self._remove(attempt_id)

    def _status(self, attempt_id: str, item: Mapping[str, Any] | None) -> RunStatus:
        if item is None:
            return _LOST
        state = item["State"]
        if state in ("created", "running", "paused", "restarting"):
            note = self._note(attempt_id, "stop")
            if note.exists() and time.time() > _until(note):
                self._kill(attempt_id, "SIGKILL")
            if state == "created":
                return RunStatus(
                    state=RunnerState.STARTING, reason=Reason(code="starting", message="the container is being started")
                )
            self._running.add(attempt_id)
            self._shaken.discard(attempt_id)
            usage = self._usage.of_running(_name(attempt_id))
            return RunStatus(state=RunnerState.RUNNING, started_at=float(item.get("Created", 0.0)), usage=usage)
        found = self._inspect(attempt_id)
        if found is None or found["State"]["Status"] == "removing":
            return _LOST
        stopped = self._note(attempt_id, "stop").exists()
        if not stopped and attempt_id in self._running - self._shaken and by_signal(found["State"]):
            self._still_listens()
        if not stopped and killed(found["State"]) and self._ran_out(attempt_id, found["State"]):
            found["State"]["OOMKilled"] = True
        return ended(
            found["State"],
            stopped=stopped,
            shaken=attempt_id in self._shaken,
            usage=self._usage.of_ended(_name(attempt_id)),
        )

    def _ran_out(self, attempt_id: str, state: Mapping[str, Any]) -> bool:
        """Whether the engine tells that a killed container ran out of memory: where it hears of that after the end,
        on a busy machine, its state does not say so.
        """
        api: Any = self._client.api
        found = api.events(
            since=f"{seconds(state['StartedAt']):.3f}", until=f"{seconds(state['FinishedAt']) + _OOM_IS_TOLD:.3f}",
            filters={"container": _name(attempt_id), "event": "oom"},
        )  # fmt: skip
        return any(True for _ in found)

    def _still_listens(self) -> None:
        """Raise when the engine takes no new connections: it ends, and that is what its containers were killed for.

        On those that are open it answers for a while.
        """
        fresh = docker.APIClient(base_url=self._where, timeout=math.ceil(self._config.timeout), version=self._version)
        with closing(fresh), self._errors():
            fresh.ping()

    def _kill(self, attempt_id: str, name: str) -> None:
        try:
            self._client.api.kill(_name(attempt_id), name)
        except APIError as error:
            if error.status_code not in (404, 409):  # it has ended already
                raise

    def _note(self, attempt_id: str, kind: str) -> Path:
        _name(attempt_id)
        self._notes.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._notes / f"{attempt_id}.{kind}"

    @contextmanager
    def _lock(self, attempt_id: str, limit: float = _LOCK_LIMIT) -> Iterator[None]:
        until = time.monotonic() + limit
        fd = os.open(self._note(attempt_id, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise SubmitError(
                            f"another agent has been starting {attempt_id} for {limit:g} s", retryable=True
                        ) from None
                    time.sleep(0.01)
            yield
        finally:
            os.close(fd)

    @contextmanager
    def _errors(self, kind: type[RunnerError] = RunnerError) -> Iterator[None]:
        """Say what the engine refused in Windlass' words."""
        try:
            if self._where.startswith("unix://"):
                os.stat(self._where.removeprefix("unix://"))  # the SDK leaks a socket when there is nothing
            yield
        except (WindlassError, NotFound):
            raise
        except APIError as error:
            text = str(error.explanation or error)
            raise kind(
                f"the Docker engine refused: {text}", where=self._where, retryable=(error.status_code or 500) >= 500
            ) from None
        except (DockerException, requests.RequestException, OSError) as error:
            raise kind(
                f"the Docker engine does not answer: {error}",
                where=self._where,
                hint="Start it, check the socket's permissions, or set runners.docker.docker-host.",
                retryable=True,
            ) from None


_LOST = RunStatus(
    state=RunnerState.LOST,
    reason=Reason(code="lost", message="the container is gone", hint="Somebody removed it, or the engine was reset."),
)


def _name(attempt_id: str) -> str:
    if not _NAME.fullmatch(attempt_id):
        raise RunnerError(f"{attempt_id!r} is no attempt id", hint="Letters, digits, '_', '.' and '-'.")
    return f"{_PREFIX}{attempt_id}"


def _until(note: Path) -> float:
    try:
        return float(note.read_text())
    except (OSError, ValueError):
        return 0.0
