"""Builds images with a Docker engine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from pathlib import Path

from windlass.builders import Builder, BuildLog, BuildSpec, BuiltImage
from windlass.errors import BuildError, ConfigError, RegistryError
from windlass.launch.buildlog import TailLog, build_error
from windlass.launch.images import parse_image
from windlass.launch.imagetag import base_images, content_tag
from windlass.launch.safe import inside
from windlass.registries import Credentials
from windlass_builder_docker.cli import build_command, engine_left, environment, find_client
from windlass_builder_docker.config import DockerBuilderConfig
from windlass_builder_docker.engine import Engine

__all__ = ["DockerBuilder"]


class DockerBuilder(Builder):
    """Builds with BuildKit through the docker program, else through the engine's API, else the classic way.

    The tag is a hash of everything that decides the image, so an image that exists is not built again.

    Args:
        config: See `DockerBuilderConfig`.
    """

    def __init__(self, config: DockerBuilderConfig) -> None:
        self._config = config
        self._engine = Engine(config.docker_host)
        self._running: dict[subprocess.Popen[bytes], str] = {}
        self._lock = threading.Lock()
        self._closed = False
        destination = config.destination or config.uri
        if destination:
            ref = parse_image(destination.removeprefix("https://").rstrip("/"), "$.builder.destination")
            if ref.tag or ref.digest:
                raise ConfigError("a destination has no tag", where="$.builder.destination", hint=f"Write {ref.name}.")

    def check(self) -> None:
        """Ask the engine for its version."""
        self._engine.ping()

    def close(self) -> None:
        """End builds that still run, and give back the connection."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for process in running:
            _end(process)
        self._engine.close()

    def cancel(self, run_id: str) -> None:
        """End the docker program that builds for that run."""
        with self._lock:
            running = [process for process, whose in self._running.items() if whose == run_id]
        for process in running:
            _end(process)

    def build(self, spec: BuildSpec, log: BuildLog) -> BuiltImage:
        """See `windlass.builders.Builder.build`."""
        tail = TailLog(log)
        log.phase("building")
        context = Path(spec.context)
        dockerfile = inside(context, spec.dockerfile, "dockerfile")
        if not dockerfile.is_file():
            raise BuildError(f"the build context has no file {spec.dockerfile!r}", where=spec.context)
        wanted = spec.destination or self._config.destination or self._config.uri
        destination = wanted.removeprefix("https://").rstrip("/")
        platform = spec.platform or self._config.platform
        text = dockerfile.read_text(encoding="utf-8", errors="surrogateescape")
        bases = {image: self._engine.base_digest(image) for image in base_images(text, spec.build_args)}
        tag = content_tag(
            context,
            dockerfile=spec.dockerfile,
            platform=platform or self._engine.platform(),
            bases=bases,
            build_args=spec.build_args,
        )
        ref = str(parse_image(destination or spec.name).with_tag(tag))
        if destination and spec.registry is not None and (digest := spec.registry.resolve(ref)):
            tail.line(f"{ref} exists in the registry, nothing is built")
            return BuiltImage(uri=ref, digest=digest, reused=True, platform=platform)
        reused = bool(image := self._engine.image_id(ref))
        if reused:
            tail.line(f"{ref} exists, nothing is built")
        else:
            self._build(spec, context, ref, platform, tail)
            image = self._engine.image_id(ref)
            if not image:
                raise BuildError("the build ended without an image", where=ref, hint=tail.tail[-2000:])
        if not destination:
            return BuiltImage(uri=ref, digest=image, reused=reused, platform=platform)
        log.phase("pushing")
        credentials = Credentials()
        if spec.registry is not None:
            spec.registry.ensure(destination)
            credentials = spec.registry.credentials(ref)
        digest = self._engine.push(destination, tag, credentials, tail)
        if not digest and spec.registry is not None:
            digest = spec.registry.resolve(ref) or ""
        if not digest:  # the engine's answer breaks off without an error when the engine ends
            raise RegistryError(
                "the push ended before the registry had the image", where=ref, hint="Is the engine still running?",
                retryable=True,
            )  # fmt: skip
        return BuiltImage(uri=ref, digest=digest, platform=platform)

    def _build(self, spec: BuildSpec, context: Path, ref: str, platform: str, log: TailLog) -> None:
        way = self._config.buildkit
        client = find_client(self._config.docker_cli) if way in ("auto", "cli") else ""
        if way == "cli" and not client:
            raise BuildError(
                "no docker program that can use BuildKit was found", where="$.builder.docker-cli",
                hint="Install docker-buildx, name the program, or set buildkit: auto.",
            )  # fmt: skip
        kit = way != "off" and self._engine.has_buildkit()
        if client and kit:
            self._with_client(client, spec, context, ref, platform, log)
            return
        self._engine.build(
            context,
            spec.dockerfile,
            ref,
            platform=platform,
            build_args=spec.build_args,
            labels=spec.labels,
            buildkit=kit,
            log=log,
        )

    def _with_client(self, client: str, spec: BuildSpec, context: Path, ref: str, platform: str, log: TailLog) -> None:
        command = build_command(
            client,
            context=str(context),
            dockerfile=spec.dockerfile,
            tag=ref,
            platform=platform,
            build_args=spec.build_args,
            labels=spec.labels,
        )
        process = subprocess.Popen(
            command,
            env=environment(self._config.docker_host),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with self._lock:
            self._running[process] = spec.run_id
        try:
            assert process.stdout is not None
            with process.stdout as output:
                while piece := os.read(output.fileno(), 65536):
                    log.write(piece)
            code = process.wait()
        finally:
            _end(process)
            with self._lock:
                self._running.pop(process, None)
        if code:
            if self._closed or code < 0:
                raise BuildError("the build was cancelled", where=ref, retryable=True)
            if engine_left(log.tail):
                raise BuildError(
                    "the Docker engine went away in the middle of the build", where=self._engine.where,
                    hint="Is it still running? Launch again when it is.", retryable=True,
                )  # fmt: skip
            raise build_error(log.tail)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
