"""Parameters of the serializer `numpy`: those of ``numpy.save``, ``numpy.savez`` and ``numpy.load``."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option


@frozen(kw_only=True)
class NumpyConfig:
    """Parameters of ``numpy.save`` and ``numpy.savez``. Objects are never pickled."""

    compressed: bool = option(help="Compress the members of a dict of arrays.", default=False)
    mmap_mode: str = option(
        help="When reading a real .npy file: 'r' maps it read-only, 'c' copy on write; empty: read it into memory.",
        default="",
        choices=("", "r", "c"),
    )
