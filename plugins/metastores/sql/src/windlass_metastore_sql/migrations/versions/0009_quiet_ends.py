"""The end of a run changes no index of runs."""

from windlass_metastore_sql.migrations import script

revision = "0009_quiet_ends"
down_revision = "0008_admins"

upgrade = script(revision)
