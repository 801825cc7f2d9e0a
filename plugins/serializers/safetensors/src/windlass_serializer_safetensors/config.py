"""Parameters of the serializer `safetensors`."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option


@frozen(kw_only=True)
class SafetensorsConfig:
    """Parameters of ``safetensors.numpy.save_file``, and how to read."""

    metadata: dict[str, str] = option(help="Texts for the header's __metadata__.", factory=dict)
    mmap: bool = option(help="When reading a real file, map it copy on write.", default=True)
