"""The descriptor of a storage scheme. Import it from `windlass.plugins`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic

import msgspec

from windlass.plugins.types import C, nothing_special

if TYPE_CHECKING:
    from windlass.plugins.types import Context
    from windlass.storage import Storage, StorageCapabilities

__all__ = ["StoragePlugin"]


class StoragePlugin(msgspec.Struct, Generic[C], frozen=True, kw_only=True):
    """Describes a storage scheme.

    Attributes:
        schemes: URI schemes it serves, without ``://`` (``("s3", "s3a")``); matched before fsspec is asked.
        hosts: Globs of hosts for which it takes ``https`` URIs (``*.blob.core.windows.net``).
        filesystem: fsspec filesystem as an import string (``"s3fs:S3FileSystem"``), or empty.
        options: fsspec options from the config; may hold resolved secrets, so it is called late.
        install_hint: Sentence to show when the filesystem's import fails.
    """

    name: str
    summary: str
    schemes: tuple[str, ...]
    config: type[C]
    create: Callable[[C, Context], Storage]
    hosts: tuple[str, ...] = ()
    filesystem: str = ""
    options: Callable[[C, Context], dict[str, Any]] | None = None
    install_hint: str = ""
    capabilities: StorageCapabilities = nothing_special("storage", "StorageCapabilities")
