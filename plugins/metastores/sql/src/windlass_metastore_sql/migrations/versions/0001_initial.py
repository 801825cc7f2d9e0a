"""The first schema: runs, logs, queues, agents, artifacts, access."""

from windlass_metastore_sql.migrations import script

revision = "0001_initial"
down_revision = None

upgrade = script(revision)
