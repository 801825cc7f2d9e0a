"""The storage scheme ``s3``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from windlass.plugins import StoragePlugin, hookimpl
from windlass.plugins.types import Context
from windlass.storage import Storage, StorageCapabilities
from windlass_storage_s3.config import S3Config


def _create(config: S3Config, context: Context) -> Storage:
    from windlass_storage_s3.storage import S3Storage

    return S3Storage(config, context)


def _options(config: S3Config, context: Context) -> dict[str, Any]:
    from windlass_storage_s3.options import fsspec_options

    return fsspec_options(config, context)


@hookimpl
def windlass_storage_schemes() -> Iterator[StoragePlugin[S3Config]]:
    """Yield the storage scheme."""
    yield StoragePlugin(
        name="s3",
        summary="Amazon S3 and S3-compatible stores (MinIO, R2, Ceph).",
        schemes=("s3", "s3a"),
        config=S3Config,
        create=_create,
        filesystem="s3fs:S3FileSystem",
        options=_options,
        install_hint="pip install 'windlass-storage-s3[fsspec]'",
        capabilities=StorageCapabilities(versions=True, checksums=True, presign=True),
    )
