"""The storage scheme ``gs``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from windlass.plugins import StoragePlugin, hookimpl
from windlass.plugins.types import Context
from windlass.storage import Storage, StorageCapabilities
from windlass_storage_gcs.config import GcsConfig


def _create(config: GcsConfig, context: Context) -> Storage:
    from windlass_storage_gcs.storage import GcsStorage

    return GcsStorage(config, context)


def _options(config: GcsConfig, context: Context) -> dict[str, Any]:
    from windlass_storage_gcs.client import fsspec_options

    return fsspec_options(config, context)


@hookimpl
def windlass_storage_schemes() -> Iterator[StoragePlugin[GcsConfig]]:
    """Yield the storage scheme."""
    yield StoragePlugin(
        name="gcs",
        summary="Google Cloud Storage.",
        schemes=("gs", "gcs"),
        config=GcsConfig,
        create=_create,
        filesystem="gcsfs:GCSFileSystem",
        options=_options,
        install_hint="pip install 'windlass-storage-gcs[fsspec]'",
        capabilities=StorageCapabilities(versions=True, checksums=True, presign=True),
    )
