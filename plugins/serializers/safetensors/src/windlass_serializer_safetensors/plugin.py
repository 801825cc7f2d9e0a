"""Announces the serializer `safetensors`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from windlass.plugins import Context, SerializerPlugin, hookimpl
from windlass.serializers import Serializer
from windlass_serializer_safetensors.config import SafetensorsConfig


def _create(config: SafetensorsConfig, _context: Context) -> Serializer:
    from windlass_serializer_safetensors.serializer import SafetensorsSerializer

    return SafetensorsSerializer(config)


@hookimpl
def windlass_serializers() -> Iterable[SerializerPlugin[SafetensorsConfig]]:
    """Yield the serializer `safetensors`."""
    yield SerializerPlugin(
        name="safetensors",
        summary="Dicts of NumPy arrays as safetensors; runs no code.",
        config=SafetensorsConfig,
        create=_create,
        media_type="application/x-safetensors",
        extensions=(".safetensors",),
        handles=(),
        executes_code=False,
    )
