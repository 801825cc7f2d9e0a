"""Schema versions, run by Alembic when an older database is upgraded."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def upgrade(connection: Any) -> None:
    """Upgrade to the newest version over an open SQLAlchemy connection; the caller commits."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
