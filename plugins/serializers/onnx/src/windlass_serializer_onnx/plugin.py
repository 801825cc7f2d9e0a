"""Announces the serializer `onnx`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from windlass.plugins import Context, SerializerPlugin, hookimpl
from windlass.serializers import Serializer
from windlass_serializer_onnx.config import OnnxConfig


def _create(config: OnnxConfig, _context: Context) -> Serializer:
    from windlass_serializer_onnx.serializer import OnnxSerializer

    return OnnxSerializer(config)


@hookimpl
def windlass_serializers() -> Iterable[SerializerPlugin[OnnxConfig]]:
    """Yield the serializer `onnx`."""
    yield SerializerPlugin(
        name="onnx",
        summary="ONNX models, checked when written and when read; runs no code.",
        config=OnnxConfig,
        create=_create,
        media_type="application/x-onnx",
        extensions=(".onnx",),
        handles=("onnx.onnx_ml_pb2.ModelProto",),
        executes_code=False,
    )
