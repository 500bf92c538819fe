"""Alembic's entry: runs on the connection it is handed, never on one of its own."""

from alembic import context

from stillmotion.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
