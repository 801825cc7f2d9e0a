"""The registry interface: container registries that images are pushed to and pulled from."""

from __future__ import annotations

from abc import ABC, abstractmethod

from attrs import field, frozen

__all__ = ["Credentials", "Registry", "RegistryCapabilities"]


@frozen(kw_only=True)
class RegistryCapabilities:
    """What a registry plugin can do.

    Attributes:
        can_create_repository: `Registry.ensure` makes missing repositories. False: it does nothing.
        credentials_expire: Credentials have a limited life time.
    """

    can_create_repository: bool = False
    credentials_expire: bool = False


@frozen(kw_only=True)
class Credentials:
    """How to sign in at a registry. All empty: anonymous.

    Attributes:
        username, password: For basic auth and ``docker login``.
        expires_at: Seconds since the epoch, 0.0 if never.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    expires_at: float = 0.0


class Registry(ABC):
    """Answers questions about one container registry. Serves several threads."""

    @abstractmethod
    def resolve(self, ref: str) -> str | None:
        """The digest ``sha256:…`` of the manifest that an image reference names; None if it does not exist.

        Called by builders before they build, and to pin base images. One request, no layers are fetched.

        Raises:
            RegistryError: Not reachable, or refused (wrong credentials say so); `retryable` for network faults.
            UsageError: `ref` is not an image reference.
        """

    @abstractmethod
    def credentials(self, ref: str) -> Credentials:
        """Credentials for the registry host of `ref`, fresh for at least ten minutes. Anonymous if there are none."""

    def ensure(self, repository: str) -> None:
        """Make the repository exist, where the registry wants that before a push. May be repeated."""

    def check(self) -> None:
        """Find out whether the registry answers and the credentials hold. Raises `WindlassError` with advice."""

    def close(self) -> None:
        """Give back connections. May be repeated."""
