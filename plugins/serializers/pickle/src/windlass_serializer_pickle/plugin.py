"""Offers the serializer ``pickle``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from windlass.plugins import Context, SerializerPlugin, hookimpl
from windlass_serializer_pickle.config import PickleSerializerConfig

if TYPE_CHECKING:
    from windlass_serializer_pickle.serializer import PickleSerializer


def _create(config: PickleSerializerConfig, _context: Context) -> PickleSerializer:
    from windlass_serializer_pickle.serializer import PickleSerializer

    return PickleSerializer(config)


@hookimpl
def windlass_serializers() -> Iterator[SerializerPlugin[PickleSerializerConfig]]:
    """The descriptor."""
    yield SerializerPlugin(
        name="pickle",
        summary="Python objects as pickles, large buffers out of band.",
        config=PickleSerializerConfig,
        create=_create,
        media_type="application/x-python-pickle",
        extensions=(".pkl", ".pickle"),
        handles=("*",),
        executes_code=True,
    )
