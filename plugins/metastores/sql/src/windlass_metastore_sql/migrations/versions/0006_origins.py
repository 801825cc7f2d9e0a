"""Where versions took content over from."""

from windlass_metastore_sql.migrations import script

revision = "0006_origins"
down_revision = "0005_key_expiry"

upgrade = script(revision)
