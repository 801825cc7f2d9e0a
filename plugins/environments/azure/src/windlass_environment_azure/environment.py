"""Azure credentials: `DefaultAzureCredential`, which renews its tokens."""

from __future__ import annotations

import base64
import os
import threading
from typing import Any

import msgspec

from windlass.environments import Environment
from windlass.errors import AccessError
from windlass.plugins.types import Context
from windlass_environment_azure.config import AzureConfig

__all__ = ["AzureEnvironment"]

_HINT = (
    "Credentials are looked for in AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET (or a certificate), "
    "workload identity, managed identity, then `az login`."
)


class AzureEnvironment(Environment):
    """One Azure tenant."""

    def __init__(self, config: AzureConfig, context: Context) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._credential: Any = None

    def azure_credential(self) -> Any:
        """See `Environment.azure_credential`."""
        with self._lock:
            if self._credential is None:
                from azure.identity import DefaultAzureCredential

                config = self._config
                extra: dict[str, Any] = {}
                if config.client_id:
                    extra |= {"managed_identity_client_id": config.client_id}
                    extra |= {"workload_identity_client_id": config.client_id}
                if config.tenant_id:
                    extra["workload_identity_tenant_id"] = config.tenant_id
                if config.authority:
                    extra["authority"] = config.authority
                self._credential = DefaultAzureCredential(**extra)
            return self._credential

    def verify(self) -> dict[str, str]:
        """See `Environment.verify`."""
        from azure.core.exceptions import AzureError, ClientAuthenticationError

        try:
            token = self.azure_credential().get_token(self._config.scope)
        except (AzureError, ValueError) as error:
            refused = isinstance(error, (ClientAuthenticationError, ValueError))
            raise AccessError(
                str(error).partition("\nTo mitigate")[0][:2000],
                where="environment azure",
                hint=_HINT,
                retryable=not refused,
            ) from error
        claims = _claims(token.token)
        facts = {
            "tenant": claims.get("tid", ""),
            "principal": claims.get("upn") or claims.get("appid") or claims.get("oid") or claims.get("sub", ""),
            "subscription": self.project,
            "region": self._config.region,
        }
        return {name: str(value) for name, value in facts.items() if value} or {"principal": "signed in"}

    @property
    def region(self) -> str:
        """See `Environment.region`."""
        return self._config.region

    @property
    def project(self) -> str:
        """See `Environment.project`: the subscription."""
        return self._config.subscription or os.environ.get("AZURE_SUBSCRIPTION_ID", "")

    def close(self) -> None:
        """See `Environment.close`."""
        with self._lock:
            if self._credential is not None:
                self._credential.close()
            self._credential = None


def _claims(token: str) -> dict[str, Any]:
    """What a token says of us; read for people only, so the signature does not matter."""
    part = [*token.split("."), "", ""][1]
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
