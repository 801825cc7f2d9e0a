"""The first schema: runs, logs, queues, agents, artifacts, access."""

from alembic import op

from windlass_metastore_sql.schema import statements

revision = "0001_initial"
down_revision = None


def upgrade() -> None:
    """Run the script of this version."""
    for statement in statements(revision, op.get_bind().dialect.name):
        op.execute(statement)
