"""Which triggers led to an event."""

from windlass_metastore_sql.migrations import script

revision = "0007_trigger_chains"
down_revision = "0006_origins"

upgrade = script(revision)
