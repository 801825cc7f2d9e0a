"""Announces the serializer `joblib`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from windlass.plugins import Context, SerializerPlugin, hookimpl
from windlass.serializers import Serializer
from windlass_serializer_joblib.config import JoblibConfig


def _create(config: JoblibConfig, _context: Context) -> Serializer:
    from windlass_serializer_joblib.serializer import JoblibSerializer

    return JoblibSerializer(config)


@hookimpl
def windlass_serializers() -> Iterable[SerializerPlugin[JoblibConfig]]:
    """Yield the serializer `joblib`."""
    yield SerializerPlugin(
        name="joblib",
        summary="Python objects as joblib pickles: compression, arrays, and functions by cloudpickle.",
        config=JoblibConfig,
        create=_create,
        media_type="application/x-python-joblib",
        extensions=(".joblib",),
        handles=("*",),
        executes_code=True,
    )
