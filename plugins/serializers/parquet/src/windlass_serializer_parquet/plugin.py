"""Announces the serializer `parquet`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from windlass.plugins import Context, SerializerPlugin, hookimpl
from windlass.serializers import Serializer
from windlass_serializer_parquet.config import ParquetConfig


def _create(config: ParquetConfig, _context: Context) -> Serializer:
    from windlass_serializer_parquet.serializer import ParquetSerializer

    return ParquetSerializer(config)


@hookimpl
def windlass_serializers() -> Iterable[SerializerPlugin[ParquetConfig]]:
    """Yield the serializer `parquet`."""
    yield SerializerPlugin(
        name="parquet",
        summary="Tables of pyarrow, pandas and polars as Parquet; runs no code.",
        config=ParquetConfig,
        create=_create,
        media_type="application/vnd.apache.parquet",
        extensions=(".parquet",),
        handles=(
            "pyarrow.lib.Table",
            "pandas.DataFrame",
            "pandas.core.frame.DataFrame",
            "polars.DataFrame",
            "polars.dataframe.frame.DataFrame",
        ),
        executes_code=False,
    )
