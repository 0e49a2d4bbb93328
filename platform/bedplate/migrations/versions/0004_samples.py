"""Deployments keep the request that their replicas are tried with, and its answer."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("deployments", sa.Column("sample", sa.JSON(none_as_null=True)))
