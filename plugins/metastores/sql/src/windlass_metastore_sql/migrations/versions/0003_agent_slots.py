"""What agents offer."""

from windlass_metastore_sql.migrations import script

revision = "0003_agent_slots"
down_revision = "0002_schedule"

upgrade = script(revision)
