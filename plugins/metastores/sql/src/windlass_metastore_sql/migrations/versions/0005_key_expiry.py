"""When API keys end."""

from alembic import op

from windlass_metastore_sql.schema import statements

revision = "0005_key_expiry"
down_revision = "0004_short_ways"


def upgrade() -> None:
    """Run the script of this version."""
    for statement in statements(revision, op.get_bind().dialect.name):
        op.execute(statement)


def downgrade() -> None:
    """Run the script that takes this version back."""
    for statement in statements(f"{revision}.down", op.get_bind().dialect.name):
        op.execute(statement)
