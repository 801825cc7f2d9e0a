"""Announces the serializer `dill`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from windlass.plugins import Context, SerializerPlugin, hookimpl
from windlass.serializers import Serializer
from windlass_serializer_dill.config import DillConfig


def _create(config: DillConfig, _context: Context) -> Serializer:
    from windlass_serializer_dill.serializer import DillSerializer

    return DillSerializer(config)


@hookimpl
def windlass_serializers() -> Iterable[SerializerPlugin[DillConfig]]:
    """Yield the serializer `dill`."""
    yield SerializerPlugin(
        name="dill",
        summary="Python objects as dill pickles: lambdas, closures and interpreter state too.",
        config=DillConfig,
        create=_create,
        media_type="application/x-python-dill",
        extensions=(".dill",),
        handles=("*",),
        executes_code=True,
    )
