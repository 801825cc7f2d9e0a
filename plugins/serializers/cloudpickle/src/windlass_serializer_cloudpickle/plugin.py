"""Announces the serializer `cloudpickle`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from windlass.plugins import Context, SerializerPlugin, hookimpl
from windlass.serializers import Serializer
from windlass_serializer_cloudpickle.config import CloudpickleConfig


def _create(config: CloudpickleConfig, _context: Context) -> Serializer:
    from windlass_serializer_cloudpickle.serializer import CloudpickleSerializer

    return CloudpickleSerializer(config)


@hookimpl
def windlass_serializers() -> Iterable[SerializerPlugin[CloudpickleConfig]]:
    """Yield the serializer `cloudpickle`."""
    yield SerializerPlugin(
        name="cloudpickle",
        summary="Python objects as cloudpickles: lambdas, closures and local classes too.",
        config=CloudpickleConfig,
        create=_create,
        media_type="application/x-python-cloudpickle",
        extensions=(".cloudpickle",),
        handles=("*",),
        executes_code=True,
    )
