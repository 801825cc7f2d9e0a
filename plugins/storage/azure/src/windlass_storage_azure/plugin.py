"""The storage scheme ``az``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from windlass.plugins import StoragePlugin, hookimpl
from windlass.plugins.types import Context
from windlass.storage import Storage, StorageCapabilities
from windlass_storage_azure.config import AzureConfig


def _create(config: AzureConfig, context: Context) -> Storage:
    from windlass_storage_azure.storage import AzureStorage

    return AzureStorage(config, context)


def _options(config: AzureConfig, context: Context) -> dict[str, Any]:
    from windlass_storage_azure.client import fsspec_options

    return fsspec_options(config, context)


@hookimpl
def windlass_storage_schemes() -> Iterator[StoragePlugin[AzureConfig]]:
    """Yield the storage scheme."""
    yield StoragePlugin(
        name="azure",
        summary="Azure Blob Storage, also behind https://<account>.blob.core.windows.net.",
        schemes=("az", "abfs", "abfss"),
        hosts=("*.blob.core.windows.net",),
        config=AzureConfig,
        create=_create,
        filesystem="adlfs:AzureBlobFileSystem",
        options=_options,
        install_hint="pip install 'windlass-storage-azure[fsspec]'",
        capabilities=StorageCapabilities(versions=True, checksums=True, presign=True),
    )
