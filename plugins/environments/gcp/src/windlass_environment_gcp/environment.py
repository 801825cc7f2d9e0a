"""Google credentials: the default ones, a service account on top of them if wanted; both renew themselves."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from windlass.environments import Environment
from windlass.errors import AccessError
from windlass.plugins.types import Context
from windlass_environment_gcp.config import GcpConfig

__all__ = ["GcpEnvironment"]

_HINT = (
    "Credentials are looked for in GOOGLE_APPLICATION_CREDENTIALS, "
    "~/.config/gcloud/application_default_credentials.json (gcloud auth application-default login), "
    "then workload identity and the metadata server."
)
_IMPERSONATE_HINT = "The agent's own principal needs roles/iam.serviceAccountTokenCreator on that service account."


class GcpEnvironment(Environment):
    """One Google Cloud project and region."""

    def __init__(self, config: GcpConfig, context: Context) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._credentials: Any = None

    def google_credentials(self) -> Any:
        """See `Environment.google_credentials`."""
        with self._lock:
            if self._credentials is None:
                self._credentials = self._find()
            return self._credentials

    def _find(self) -> Any:
        import google.auth
        from google.auth.exceptions import GoogleAuthError

        config = self._config
        try:
            found, _ = google.auth.default(scopes=list(config.scopes), request=_asking_no_project())
        except GoogleAuthError as error:
            raise AccessError(_line(error), where="environment gcp", hint=_HINT) from error
        if not config.impersonate:
            return found
        from google.auth import impersonated_credentials

        return impersonated_credentials.Credentials(found, config.impersonate, list(config.scopes))

    def verify(self) -> dict[str, str]:
        """See `Environment.verify`."""
        import urllib3
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.auth.transport.urllib3 import Request

        credentials = self.google_credentials()
        try:
            with urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=30)) as pool, self._lock:
                credentials.refresh(Request(pool))
        except GoogleAuthError as error:
            acting = self._config.impersonate
            raise AccessError(
                _line(error),
                where=acting or "environment gcp",
                hint=_IMPERSONATE_HINT if acting else _HINT,
                retryable=isinstance(error, TransportError),
            ) from error
        email = getattr(credentials, "service_account_email", "") or getattr(credentials, "account", "")
        return {
            "principal": str(email or type(credentials).__name__),
            "project": self._config.project,
            "region": self._config.region,
        }

    @property
    def region(self) -> str:
        """See `Environment.region`."""
        return self._config.region

    @property
    def project(self) -> str:
        """See `Environment.project`."""
        return self._config.project

    def close(self) -> None:
        """See `Environment.close`."""
        with self._lock:
            self._credentials = None


def _asking_no_project() -> Any:
    """Requests for `google.auth.default`, which would ask a further API for the project of a federated identity.

    The project stands in the config, and that API is often neither enabled nor reachable.
    """
    import urllib3
    from google.auth.transport.urllib3 import Request

    send = Request(urllib3.PoolManager(timeout=urllib3.Timeout(connect=3, read=10)))

    def request(url: str, *args: Any, **kwargs: Any) -> Any:
        if urlsplit(url).netloc.startswith("cloudresourcemanager."):
            return SimpleNamespace(status=403, headers={}, data=b"{}")
        return send(url, *args, **kwargs)

    return request


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0][:500]
