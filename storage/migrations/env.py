"""Run by Alembic: hands it the connection that ``storage.migrations.upgrade`` was given."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], version_table_schema="feed")
with context.begin_transaction():
    context.run_migrations()
