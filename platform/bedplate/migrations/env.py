"""What Alembic runs for each command: on the connection, and in the transaction, that upgrade.py hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
