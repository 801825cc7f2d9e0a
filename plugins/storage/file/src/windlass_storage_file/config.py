"""Settings of the file storage."""

from __future__ import annotations

from windlass.config import option, options


@options
class FileStorageConfig:
    """Settings of ``file://``."""

    fsync: bool = option(
        default=False,
        help="Flush each object to the disk before it becomes visible: safe against power loss, several times slower.",
    )
