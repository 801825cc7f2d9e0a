"""Metadata in SQLite or PostgreSQL, as a plugin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from windlass.metastore import MetastoreCapabilities
from windlass.plugins import Context, MetastorePlugin, hookimpl
from windlass_metastore_sql.config import SqlConfig

if TYPE_CHECKING:
    from windlass_metastore_sql.store import SqlStore


def _create(config: SqlConfig, context: Context) -> SqlStore:
    from windlass_metastore_sql.store import open_store

    return open_store(config, context)


@hookimpl
def windlass_metastores() -> Iterator[MetastorePlugin[SqlConfig]]:
    """Yield the SQL store."""
    yield MetastorePlugin(
        name="sql",
        summary="Metadata in a SQLite file or a PostgreSQL database",
        schemes=("sqlite", "postgresql", "postgres"),
        config=SqlConfig,
        create=_create,
        capabilities={
            "sqlite": MetastoreCapabilities(embedded=True),
            "postgresql": MetastoreCapabilities(),
            "postgres": MetastoreCapabilities(),
        },
    )
