"""Clients of storage accounts, made when they are needed."""

from __future__ import annotations

import os
import threading
from typing import Any

from windlass.errors import ConfigError, UnsupportedError
from windlass.plugins.types import Context
from windlass_storage_azure.addresses import Address
from windlass_storage_azure.config import AzureConfig
from windlass_storage_azure.errors import translated

__all__ = ["Clients", "fsspec_options"]


def _account(config: AzureConfig) -> str:
    return (
        config.account
        or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
        or os.environ.get("AZURE_STORAGE_ACCOUNT", "")
    )


def _account_url(config: AzureConfig) -> str:
    return config.account_url or os.environ.get("AZURE_STORAGE_BLOB_ENDPOINT", "")


def _secrets(config: AzureConfig, context: Context) -> dict[str, str]:
    """Connection string, key and SAS token: the config's; the variables' when there is no environment."""
    found = {}
    for name, variable in (
        ("connection_string", "AZURE_STORAGE_CONNECTION_STRING"),
        ("account_key", "AZURE_STORAGE_KEY"),
        ("sas_token", "AZURE_STORAGE_SAS_TOKEN"),
    ):
        reference = getattr(config, name)
        if reference:
            found[name] = context.secrets.resolve(reference, where=f"$.{name.replace('_', '-')}").reveal()
        elif context.environment is None and os.environ.get(variable):
            found[name] = os.environ[variable]
    return found


class Clients:
    """One client for each storage account. Serves several threads."""

    def __init__(self, config: AzureConfig, context: Context) -> None:
        self._config, self._context = config, context
        self._lock = threading.RLock()
        self._services: dict[str, Any] = {}
        self._credential_: Any = None

    def service(self, account: str) -> Any:
        """The client of an account; empty: the configured one.

        Raises:
            ConfigError: No account is named.
        """
        with self._lock:
            if account not in self._services:
                with translated(f"account {account}"):
                    self._services[account] = self._make(account)
            return self._services[account]

    def _make(self, account: str) -> Any:
        from azure.storage.blob import BlobServiceClient

        config = self._config
        # Blocks are cut and counted by us; one request for each read keeps ranges exact.
        extra: dict[str, Any] = {
            "max_single_put_size": 2 * config.block_size,
            "max_single_get_size": 64 << 20,
            "max_chunk_get_size": 16 << 20,
            "retry_total": 4,
        }
        secrets = {} if config.anonymous else _secrets(config, self._context)
        if "connection_string" in secrets and account in ("", _name_in(secrets["connection_string"])):
            return BlobServiceClient.from_connection_string(secrets["connection_string"], **extra)
        url = _account_url(config)
        if account and account not in (_account(config), "") and f"//{account}." not in url:
            url = f"https://{account}.blob.core.windows.net"
        account = account or _account(config)
        if not url and not account:
            raise ConfigError(
                "no storage account is named",
                where=self._context.place("$.account"),
                hint="Write https://<account>.blob.core.windows.net/…, or set AZURE_STORAGE_ACCOUNT_NAME.",
            )
        url = url or f"https://{account}.blob.core.windows.net"
        credential: Any = None
        if "account_key" in secrets:
            credential = {"account_name": account, "account_key": secrets["account_key"]}
        elif "sas_token" in secrets:
            credential = secrets["sas_token"].removeprefix("?")
        elif not config.anonymous:
            credential = self.credential()
        return BlobServiceClient(url, credential=credential, **extra)

    def credential(self) -> Any:
        """The environment's token credential, else the default one."""
        with self._lock:
            environment = self._context.environment
            if environment is not None:
                try:
                    return environment.azure_credential()
                except UnsupportedError:
                    pass  # an agent of another cloud may still sign in to Azure
            if self._credential_ is None:
                from azure.identity import DefaultAzureCredential

                self._credential_ = DefaultAzureCredential()
            return self._credential_

    def container(self, where: Address) -> Any:
        """The client of a container."""
        return self.service(where.account).get_container_client(where.container)

    def blob(self, where: Address, version: str = "") -> Any:
        """The client of a blob, or of one of its versions."""
        return self.service(where.account).get_blob_client(where.container, where.name, version_id=version or None)

    def close(self) -> None:
        """Give back connections. May be repeated."""
        with self._lock:
            for service in self._services.values():
                service.close()
            if self._credential_ is not None:
                self._credential_.close()
            self._services, self._credential_ = {}, None


def _name_in(connection_string: str) -> str:
    fields = dict(part.split("=", 1) for part in connection_string.split(";") if "=" in part)
    return fields.get("AccountName", "")


def fsspec_options(config: AzureConfig, context: Context) -> dict[str, Any]:
    """Options of ``adlfs.AzureBlobFileSystem`` for the same account and credentials."""
    secrets = {} if config.anonymous else _secrets(config, context)
    options: dict[str, Any] = {**secrets, "anon": config.anonymous}
    if _account(config):
        options["account_name"] = _account(config)
    if not secrets and not config.anonymous:
        options["credential"] = Clients(config, context).credential()
    url = _account_url(config)
    if url and not secrets:
        options["account_host"] = url.partition("://")[2].rstrip("/")
    return options
