"""Schema versions, run by Alembic when an older database is upgraded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from windlass_metastore_sql.schema import statements


def upgrade(connection: Any) -> None:
    """Upgrade to the newest version over an open SQLAlchemy connection; the caller commits."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def script(version: str) -> Callable[[], None]:
    """What Alembic calls to go up to a version: its SQL script. `schema.take_back` goes the other way."""

    def upgrade() -> None:
        from alembic import op

        for statement in statements(version, op.get_bind().dialect.name):
            op.execute(statement)

    return upgrade
