"""What the builder asks of the Docker engine, with its errors in Windlass' words."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from windlass.errors import BuildError, RegistryError
from windlass.launch.buildlog import TailLog, build_error
from windlass.launch.dockerfile import without_cache_mounts
from windlass.registries import Credentials
from windlass_builder_docker.trace import TraceReader

__all__ = ["Engine"]

_TIMEOUT = 3600  # a build step may be silent for long
_QUICK = 60  # what an engine that works answers at once


class Engine:
    """One Docker engine. Serves several threads.

    Args:
        host: Its address; ``DOCKER_HOST`` or the default socket when empty.

    Attributes:
        where: The address in use.
    """

    def __init__(self, host: str = "") -> None:
        self._host = host
        self.where = host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        self._client: docker.DockerClient | None = None

    @property
    def client(self) -> docker.DockerClient:
        """The SDK's client, made when it is first needed."""
        if self._client is None:
            try:
                self._find_socket()
                client = (
                    docker.DockerClient(base_url=self._host, timeout=_QUICK)
                    if self._host
                    else docker.from_env(timeout=_QUICK)
                )
                client.api.timeout = _TIMEOUT
                self._client = client
            except (DockerException, requests.RequestException, OSError) as error:
                raise BuildError(
                    f"the Docker engine cannot be reached: {error}",
                    where=self.where,
                    hint="Start it, check the socket's permissions, or set builder.docker-host.",
                    retryable=True,
                ) from None
        return self._client

    @property
    def _api(self) -> Any:
        return self.client.api  # untyped, and some of what is needed is private to it

    def close(self) -> None:
        """Give back the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def ping(self) -> dict[str, Any]:
        """The engine's version. Raises `BuildError` when it does not answer."""
        with self._errors():
            api = self._api
            answer = api._get(api._url("/version", versioned_api=False), timeout=_QUICK)
            found: dict[str, Any] = api._result(answer, json=True)
            return found

    def platform(self) -> str:
        """The engine's own platform, ``linux/amd64``."""
        version = self.ping()
        return f"{version.get('Os', 'linux')}/{version.get('Arch', '')}"

    def has_buildkit(self) -> bool:
        """The engine's API takes BuildKit builds; Linux engines do since API 1.39, whatever their default is."""
        version = self.ping()
        major, _, minor = str(version.get("ApiVersion", "0.0")).partition(".")
        return version.get("Os") == "linux" and (int(major), int(minor or 0)) >= (1, 39)

    def image_id(self, ref: str) -> str:
        """Id of a local image, empty if there is none."""
        with self._errors():
            try:
                return str(self._api.inspect_image(ref)["Id"])
            except (ImageNotFound, NotFound):
                return ""

    def base_digest(self, ref: str) -> str:
        """The digest that a base image stands for now: of the registry, else the local id; empty if not known."""
        name = ref.partition("@")[0]
        repository = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
        with self._errors():
            try:
                found = self._api.inspect_image(ref)
            except (ImageNotFound, NotFound):
                pass
            else:
                digests = [
                    d.partition("@")[2] for d in found.get("RepoDigests") or () if d.startswith(f"{repository}@")
                ]
                return str(min(digests) if digests else found["Id"])
            try:
                return str(self._api.inspect_distribution(ref)["Descriptor"]["digest"])
            except (APIError, KeyError):
                return ""  # the build will say what is wrong with it

    def build(
        self,
        context: Path,
        dockerfile: str,
        tag: str,
        *,
        platform: str,
        build_args: Mapping[str, str],
        labels: Mapping[str, str],
        buildkit: bool,
        log: TailLog,
    ) -> None:
        """Build through the API. Raises `BuildError`."""
        api = self._api
        params = {
            "t": tag,
            "dockerfile": dockerfile,
            "rm": "true",
            "forcerm": "true",
            "labels": json.dumps(dict(labels)),
            "buildargs": json.dumps(dict(build_args)),
            **({"version": "2"} if buildkit else {}),
            **({"platform": platform} if platform else {}),
        }
        changed = {} if buildkit else {dockerfile: without_cache_mounts((context / dockerfile).read_text()).encode()}
        headers = {"Content-Type": "application/x-tar"}
        reader = TraceReader()
        with tempfile.TemporaryFile(prefix="windlass-context-") as body, self._errors():
            write_tar(context, body, changed)
            body.seek(0)
            answer = api._post(api._url("/build"), params=params, data=body, headers=headers, stream=True)
            with contextlib.closing(answer):
                api._raise_for_status(answer)
                for event in api._stream_helper(answer, decode=True):
                    self._build_event(event, reader, log)

    def _build_event(self, event: dict[str, Any], reader: TraceReader, log: TailLog) -> None:
        if "error" in event:
            detail = str(event["error"])
            log.line(detail)
            raise build_error(log.tail, detail)
        if event.get("id") == "moby.buildkit.trace":
            for piece in reader.read(base64.b64decode(event.get("aux", ""))):
                log.write(piece)
        elif "stream" in event:
            log.write(str(event["stream"]).encode())
        elif "status" in event:
            log.line(" ".join(str(event[key]) for key in ("id", "status") if event.get(key)))

    def push(self, repository: str, tag: str, credentials: Credentials, log: TailLog) -> str:
        """Push an image; returns the manifest's digest. Raises `RegistryError`."""
        auth = {"username": credentials.username, "password": credentials.password} if credentials.username else None
        digest, said = "", ""
        with self._errors(RegistryError):
            for event in self._api.push(repository, tag=tag, stream=True, decode=True, auth_config=auth):
                if "error" in event:
                    raise _push_error(f"{repository}:{tag}", str(event["error"]))
                digest = str((event.get("aux") or {}).get("Digest") or digest)
                text = " ".join(str(event[key]) for key in ("id", "status") if event.get(key))
                if text and not event.get("progressDetail") and text != said:
                    log.line(text)
                    said = text
        return digest

    def _find_socket(self) -> None:
        if self.where.startswith("unix://"):
            os.stat(self.where.removeprefix("unix://"))  # the SDK leaks a socket when there is nothing

    @contextlib.contextmanager
    def _errors(self, kind: type[BuildError | RegistryError] = BuildError) -> Iterator[None]:
        try:
            self._find_socket()
            yield
        except APIError as error:
            detail = error.explanation or str(error)
            raise kind(f"the Docker engine refused: {detail}", retryable=bool(error.is_server_error())) from None
        except (DockerException, requests.RequestException, OSError) as error:
            raise kind(
                f"the Docker engine failed: {error}", where=self.where, hint="Is it still running?", retryable=True
            ) from None


def _push_error(ref: str, text: str) -> RegistryError:
    denied = any(word in text.lower() for word in ("denied", "unauthorized", "no basic auth", "authentication"))
    if denied:
        hint = "Check the registry's credentials (registry: in launch-config.yaml, or docker login)."
        return RegistryError(f"the push was refused: {text}", where=ref, hint=hint)
    hint = "Launch again; retries: {infrastructure: 2} in the queue's policy does so by itself."
    return RegistryError(f"the push failed, and the engine gave up: {text}", where=ref, hint=hint, retryable=True)


def write_tar(context: Path, out: IO[bytes], changed: Mapping[str, bytes]) -> None:
    """Write a build context as a tar archive: no owners, no times, modes reduced to what the tag knows.

    GNU format, as BuildKit does not read the headers that Python writes by default.
    """
    import io

    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(context.rglob("*")):
            name = path.relative_to(context).as_posix()
            info = tar.gettarinfo(str(path), arcname=name)
            if info is None:
                continue  # a socket or the like
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = 0
            if info.islnk():
                info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
            if info.isdir():
                info.mode = 0o755
            elif info.isreg():
                info.mode = 0o755 if info.mode & stat.S_IXUSR else 0o644
            if name in changed:
                info.size = len(changed[name])
                tar.addfile(info, io.BytesIO(changed[name]))
            elif info.isreg():
                with path.open("rb") as file:
                    tar.addfile(info, file)
            else:
                tar.addfile(info)
