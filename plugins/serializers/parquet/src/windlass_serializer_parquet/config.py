"""Parameters of the serializer `parquet`: those of ``pyarrow.parquet.write_table`` that matter, and how to read."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option


@frozen(kw_only=True)
class ParquetConfig:
    """Parameters of ``pyarrow.parquet.write_table``."""

    compression: str = option(
        help="Codec of all columns.", default="zstd", choices=("zstd", "snappy", "gzip", "brotli", "lz4", "none")
    )
    compression_level: int | None = option(help="Level of the codec.", default=None, minimum=1, maximum=22)
    row_group_size: int = option(help="Rows per row group.", default=1 << 20, minimum=1, maximum=1 << 26)
    index: bool = option(help="pandas: keep the index.", default=True)
    read_as: str = option(
        help="Kind of table to read; empty: what was written.", default="", choices=("", "pyarrow", "pandas", "polars")
    )
