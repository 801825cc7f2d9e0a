"""Tables of pyarrow, pandas and polars as Parquet; runs no code."""
