"""Offers the storage scheme ``file``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from windlass.plugins import Context, StoragePlugin, hookimpl
from windlass.storage import StorageCapabilities
from windlass_storage_file.config import FileStorageConfig

if TYPE_CHECKING:
    from windlass_storage_file.storage import FileStorage


def _create(config: FileStorageConfig, _context: Context) -> FileStorage:
    from windlass_storage_file.storage import FileStorage

    return FileStorage(config)


@hookimpl
def windlass_storage_schemes() -> Iterator[StoragePlugin[FileStorageConfig]]:
    """The descriptor."""
    yield StoragePlugin(
        name="file",
        summary="Files on local and network-mounted disks.",
        schemes=("file",),
        config=FileStorageConfig,
        create=_create,
        filesystem="fsspec.implementations.local:LocalFileSystem",
        capabilities=StorageCapabilities(links=True),
    )
