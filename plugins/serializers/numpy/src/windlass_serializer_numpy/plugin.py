"""Announces the serializer `numpy`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from windlass.plugins import Context, SerializerPlugin, hookimpl
from windlass.serializers import Serializer
from windlass_serializer_numpy.config import NumpyConfig


def _create(config: NumpyConfig, _context: Context) -> Serializer:
    from windlass_serializer_numpy.serializer import NumpySerializer

    return NumpySerializer(config)


@hookimpl
def windlass_serializers() -> Iterable[SerializerPlugin[NumpyConfig]]:
    """Yield the serializer `numpy`."""
    yield SerializerPlugin(
        name="numpy",
        summary="NumPy arrays as .npy, dicts of arrays as .npz; runs no code.",
        config=NumpyConfig,
        create=_create,
        media_type="application/x-npy",
        extensions=(".npy", ".npz"),
        handles=("numpy.ndarray", "numpy.memmap"),
        executes_code=False,
    )
