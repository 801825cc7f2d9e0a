"""Tables as Parquet."""

from __future__ import annotations

from typing import Any, BinaryIO

from windlass.errors import SerializationError, UnsupportedError
from windlass.frames import arrow_of, check_rows
from windlass.serializers import Serializer, reading, type_name, writing
from windlass_serializer_parquet.config import ParquetConfig

_KIND = b"windlass.kind"
_HINT = "Only tables of pyarrow, pandas and polars; names of columns, and the values of each, need one type."


class ParquetSerializer(Serializer):
    """Writes tables; reads each back as the kind it was."""

    def __init__(self, config: ParquetConfig) -> None:
        self._config = config

    def dump(self, obj: Any, file: BinaryIO) -> None:
        """Write a table, one row group after the other. See `Serializer.dump`.

        Raises:
            SerializationError: Also for a column whose cells would come back changed.
        """
        from pyarrow import parquet

        config = self._config
        with writing(obj, "parquet", hint=_HINT):
            table = self._to_arrow(obj)
            parquet.write_table(
                table,
                file,
                row_group_size=config.row_group_size,
                compression=config.compression,
                compression_level=config.compression_level,
                store_schema=True,
                use_compliant_nested_type=False,  # would rename the fields of lists
                write_page_checksum=True,
            )

    def load(self, file: BinaryIO) -> Any:
        """Read a table. See `Serializer.load`."""
        from pyarrow import parquet

        with reading("parquet"):
            with parquet.ParquetFile(file, page_checksum_verification=True) as source:
                table = source.read()
            facts = dict(table.schema.metadata or {})
            kind = self._config.read_as or facts.pop(_KIND, b"pyarrow").decode()
            facts.pop(_KIND, None)
            return _from_arrow(table.replace_schema_metadata(facts or None), kind)

    def versions(self) -> dict[str, str]:
        """Version of the format that is written."""
        return {"format": "2.6"}

    def _to_arrow(self, obj: Any) -> Any:
        """The table as pyarrow's, marked with its kind. Nobody can give a pandas or polars table without having
        imported that package, so neither is imported here.
        """
        import pyarrow as pa

        kind = type(obj).__module__.partition(".")[0]
        if isinstance(obj, pa.Table):
            table = obj
        elif kind == "pandas" and type(obj).__name__ == "DataFrame":
            if len({type(name) for name in obj.columns}) > 1:
                raise TypeError("its column names are of several types, which would become texts")
            table = arrow_of(obj, kind, index=None if self._config.index else False)
        elif kind == "polars" and type(obj).__name__ == "DataFrame":
            table = arrow_of(obj, kind)
        else:
            raise SerializationError(
                f"parquet cannot write a {type_name(obj)}",
                hint=_HINT,
                context={"serializer": "parquet", "type": type_name(obj)},
            )
        check_rows(obj, table)
        return table.replace_schema_metadata({**(table.schema.metadata or {}), _KIND: kind.encode()})


def _from_arrow(table: Any, kind: str) -> Any:
    if kind == "pyarrow":
        return table
    try:
        if kind == "pandas":
            return table.to_pandas()
        if kind == "polars":
            import polars as pl

            return pl.from_arrow(table)
    except ModuleNotFoundError as error:
        if error.name != kind:
            raise
        raise UnsupportedError(
            f"the table was written from {kind}, which is not installed",
            hint=f'pip install {kind}, or read it with {{"read_as": "pyarrow"}}.',
        ) from None
    raise SerializationError(f"the file says that it is a table of {kind!r}, which is unknown", hint=_HINT)
