"""Who says who has which role."""

from windlass_metastore_sql.migrations import script

revision = "0008_admins"
down_revision = "0007_trigger_chains"

upgrade = script(revision)
