"""What lets a claim and the end of a run be one short statement each."""

from windlass_metastore_sql.migrations import script

revision = "0004_short_ways"
down_revision = "0003_agent_slots"

upgrade = script(revision)
