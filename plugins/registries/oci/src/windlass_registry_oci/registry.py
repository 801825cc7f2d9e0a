"""The oci registry."""

from __future__ import annotations

import time
from collections.abc import Callable

from windlass.config.secrets import Secret, SecretResolver
from windlass.errors import ConfigError, UsageError
from windlass.launch.images import ImageRef, parse_image
from windlass.registries import Credentials, Registry
from windlass_registry_oci.client import OciClient
from windlass_registry_oci.config import OciConfig
from windlass_registry_oci.docker_config import from_docker_config

__all__ = ["OciRegistry"]


class OciRegistry(Registry):
    """Any registry that speaks the OCI distribution protocol.

    Args:
        config: See `OciConfig`.
        secrets: Resolves the password.
        clock: Seconds since the epoch.
    """

    def __init__(self, config: OciConfig, secrets: SecretResolver, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._own: ImageRef | None = _repository(config.uri) if config.uri else None
        if config.username and self._own is None:
            raise ConfigError(
                "credentials need the registry they are for", where="$.registry.uri", hint="e.g. uri: ghcr.io/team"
            )
        if bool(config.username) != bool(config.password):
            raise ConfigError(
                "username and password belong together", where="$.registry",
                hint="Give both, the password as a secret reference: env/NAME.",
            )  # fmt: skip
        self._password: Secret | None = (
            secrets.resolve(config.password, where="$.password") if config.password else None
        )
        self._found: dict[str, tuple[float, Credentials]] = {}
        self._client = OciClient(
            self._credentials,
            insecure=config.insecure,
            ca_file=config.ca_file,
            timeout=config.timeout,
            clock=clock,
        )

    def resolve(self, ref: str) -> str | None:
        """See `windlass.registries.Registry.resolve`."""
        return self._client.manifest_digest(parse_image(ref))

    def credentials(self, ref: str) -> Credentials:
        """See `windlass.registries.Registry.credentials`."""
        return self._credentials(parse_image(ref))

    def check(self) -> None:
        """Ask the registry of ``uri`` whether it answers and takes the credentials; nothing without ``uri``."""
        if self._own is not None:
            self._client.ping(self._own)

    def close(self) -> None:
        """Give back connections."""
        self._client.close()

    def _credentials(self, ref: ImageRef) -> Credentials:
        if self._password is not None and self._own is not None and ref.host == self._own.host:
            return Credentials(username=self._config.username, password=self._password.reveal())
        now = self._clock()
        until, found = self._found.get(ref.host, (0.0, Credentials()))
        if until <= now:  # helpers cost a process each, and what they give lasts
            found = from_docker_config(ref.host, self._config.docker_config)
            self._found[ref.host] = (now + 60.0, found)
        return found


def _repository(uri: str) -> ImageRef:
    """The host, and repository if there is one, of ``registry.uri``."""
    text = uri.removeprefix("https://").removeprefix("http://").rstrip("/")
    try:
        head = text.partition("/")[0]
        if "/" not in text and ("." in head or ":" in head or head == "localhost"):
            return parse_image(f"{text}/x")
        return parse_image(text)
    except UsageError as error:
        raise ConfigError(error.message, where="$.registry.uri", hint="e.g. registry.example.com/team") from None
