"""Lineage names versions that were collected."""

from windlass_metastore_sql.migrations import script

revision = "0010_collected"
down_revision = "0009_quiet_ends"

upgrade = script(revision)
