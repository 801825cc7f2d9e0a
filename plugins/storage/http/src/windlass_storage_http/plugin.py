"""The storage scheme ``http``."""

from __future__ import annotations

from collections.abc import Iterator

from windlass.plugins import StoragePlugin, hookimpl
from windlass.plugins.types import Context
from windlass.storage import Storage, StorageCapabilities
from windlass_storage_http.config import HttpConfig


def _create(config: HttpConfig, context: Context) -> Storage:
    from windlass_storage_http.storage import HttpStorage

    return HttpStorage(config, context)


@hookimpl
def windlass_storage_schemes() -> Iterator[StoragePlugin[HttpConfig]]:
    """Yield the storage scheme."""
    yield StoragePlugin(
        name="http",
        summary="Files behind http and https, for reading.",
        schemes=("http", "https"),
        config=HttpConfig,
        create=_create,
        filesystem="fsspec.implementations.http:HTTPFileSystem",
        install_hint="pip install 'windlass-storage-http[fsspec]'",
        capabilities=StorageCapabilities(listing=False, writable=False, conditional_put=False),
    )
