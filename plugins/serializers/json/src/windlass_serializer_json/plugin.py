"""Announces the serializer `json`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from windlass.plugins import Context, SerializerPlugin, hookimpl
from windlass.serializers import Serializer
from windlass_serializer_json.config import JsonConfig


def _create(config: JsonConfig, _context: Context) -> Serializer:
    from windlass_serializer_json.serializer import JsonSerializer

    return JsonSerializer(config)


@hookimpl
def windlass_serializers() -> Iterable[SerializerPlugin[JsonConfig]]:
    """Yield the serializer `json`."""
    yield SerializerPlugin(
        name="json",
        summary="Plain data as strict JSON: what is read back equals what was written.",
        config=JsonConfig,
        create=_create,
        media_type="application/json",
        extensions=(".json",),
        handles=(),  # whether data fit is known only when all of it has been looked at
        executes_code=False,
    )
