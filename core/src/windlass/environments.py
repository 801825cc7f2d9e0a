"""The environment interface: where cloud credentials come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from attrs import frozen

from windlass.errors import UnsupportedError

__all__ = ["Environment", "EnvironmentCapabilities"]


@frozen(kw_only=True)
class EnvironmentCapabilities:
    """Which accessors an environment has."""

    aws: bool = False
    gcp: bool = False
    azure: bool = False


class Environment(ABC):
    """One cloud account as seen by the agent. Credentials refresh themselves. Serves several threads."""

    @abstractmethod
    def verify(self) -> dict[str, str]:
        """Ask the cloud who we are; returns facts for people (account, principal, region, project …).

        Called at agent start, by ``windlass doctor`` and ``windlass plugins check``.

        Raises:
            AccessError: No credentials, or they are refused; `hint` says where they are looked for.
        """

    def aws_session(self) -> Any:
        """A ``boto3.Session`` whose credentials refresh. Raises `UnsupportedError` elsewhere."""
        raise UnsupportedError(f"{type(self).__name__} has no AWS session")

    def google_credentials(self) -> Any:
        """A ``google.auth.credentials.Credentials``. Raises `UnsupportedError` elsewhere."""
        raise UnsupportedError(f"{type(self).__name__} has no Google credentials")

    def azure_credential(self) -> Any:
        """An ``azure.core.credentials.TokenCredential``. Raises `UnsupportedError` elsewhere."""
        raise UnsupportedError(f"{type(self).__name__} has no Azure credential")

    @property
    def region(self) -> str:
        """Region or location to use where none is named. May be empty."""
        return ""

    @property
    def project(self) -> str:
        """Google project or Azure subscription to use where none is named. May be empty."""
        return ""

    def close(self) -> None:
        """Give back connections. May be repeated."""
