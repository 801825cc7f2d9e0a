"""Parameters of the serializer `joblib`: those of ``joblib.dump`` and ``joblib.load``."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from windlass.config import option
from windlass.errors import ConfigError

METHODS = ("zlib", "gzip", "bz2", "lzma", "xz", "lz4")
"""Ways to compress that ``joblib.load`` recognises."""

Compression = tuple[str, int | None]


@frozen(kw_only=True)
class JoblibConfig:
    """Parameters of ``joblib.dump``."""

    compress: Any = option(
        help="0 to 9 (zlib), true (zlib, 3), a method (zlib, gzip, bz2, lzma, xz, lz4), or [method, level].", default=0
    )
    protocol: int = option(help="Pickle protocol.", default=5, minimum=2, maximum=5)
    mmap_mode: str = option(
        help="When reading a real, uncompressed file, map arrays: 'r' read-only, 'c' copy on write; empty: read them.",
        default="",
        choices=("", "r", "c"),
    )

    def __attrs_post_init__(self) -> None:
        compression(self.compress)


def compression(value: Any) -> Compression | None:
    """Method and level (None: the method's default) of the parameter ``compress``, or None for no compression.

    Raises:
        ConfigError: It is none of the forms that ``joblib.dump`` takes.
    """
    method, level = "zlib", value
    if isinstance(value, str):
        method, level = value, None
    elif isinstance(value, (tuple, list)) and len(value) == 2:
        method, level = value
    elif isinstance(value, (tuple, list)):
        raise ConfigError(f"compress takes [method, level], got {value!r}")
    if level is True:
        level = 3
    if method not in METHODS:
        raise ConfigError(f"compress knows {', '.join(METHODS)}, got {method!r}")
    if level is not None and not (isinstance(level, int) and 0 <= level <= 9):
        raise ConfigError(f"the level of compress must be a whole number from 0 to 9, got {level!r}")
    return (method, level) if level is None or level > 0 else None
