"""Alembic's entry: runs the versions over the connection that `migrations.upgrade` hands in."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
