"""When API keys end."""

from windlass_metastore_sql.migrations import script

revision = "0005_key_expiry"
down_revision = "0004_short_ways"

upgrade = script(revision)
