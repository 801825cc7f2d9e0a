"""Triggers, budgets, prices, and how long items may wait."""

from windlass_metastore_sql.migrations import script

revision = "0002_schedule"
down_revision = "0001_initial"

upgrade = script(revision)
