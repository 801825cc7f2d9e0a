"""The client of a Windlass server, as a plugin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from windlass.metastore import MetastoreCapabilities
from windlass.plugins import Context, MetastorePlugin, hookimpl
from windlass_metastore_http.config import HttpConfig

if TYPE_CHECKING:
    from windlass_metastore_http.store import HttpStore


def _create(config: HttpConfig, context: Context) -> HttpStore:
    from windlass_metastore_http.store import HttpStore

    return HttpStore(config, context.settings.api_key, patience=context.settings.store_patience)


@hookimpl
def windlass_metastores() -> Iterator[MetastorePlugin[HttpConfig]]:
    """Yield the HTTP store."""
    yield MetastorePlugin(
        name="http",
        summary="Metadata and blobs of a Windlass server",
        schemes=("https", "http", "unix"),
        config=HttpConfig,
        create=_create,
        capabilities=dict.fromkeys(("https", "http", "unix"), MetastoreCapabilities()),
    )
