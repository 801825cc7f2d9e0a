"""Options of the SQL metadata store."""

from __future__ import annotations

from windlass.config.options import option, options


@options
class SqlConfig:
    """Where the database is, and how patient to be with it."""

    url: str = option(
        help="sqlite:///PATH or postgresql://USER@HOST/DATABASE; ?blobs=URI behind it names a new one's blob store"
    )
    timeout: float = option(help="Seconds to wait for a busy database before giving up.", default=30.0, minimum=0)
    pool_size: int = option(help="PostgreSQL: most connections of one process.", default=10, minimum=2)
    upgrade: bool = option(help="Upgrade the schema; a SQLite file is upgraded in any case", default=False)
    schema_version: int = option(help="Take the schema back to this version; 0: leave it", default=0, minimum=0)
