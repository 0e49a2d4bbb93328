"""One queue for everything that runs: jobs numbered in the order of submission, with priority, demand and lease.

Each table that changes is copied aside, made anew and filled again, the same way on both databases. There is no way
back but the backup.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _put_aside("jobs")
    op.create_table(
        "jobs",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("demand", sa.JSON, nullable=False),
        sa.Column("preemptible", sa.Boolean, nullable=False),
        sa.Column("client_key", sa.String),
        sa.Column("parent", sa.String, index=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("deaths", sa.Integer, nullable=False),
        sa.Column("fresh", sa.Boolean, nullable=False),
        sa.Column("cancel", sa.Boolean, nullable=False),
        sa.Column("preempt", sa.Boolean, nullable=False),
        sa.Column("lease", sa.JSON),
        sa.Column("leased", sa.Float),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("started", sa.Float),
        sa.Column("finished", sa.Float),
        sa.Column("archived", sa.Float),
        sa.Column("waiting", sa.String),
        sa.Column("waiting_for", sa.String),
        sa.Column("result", sa.JSON),
        sa.Column("error", sa.JSON),
        sa.UniqueConstraint("owner", "client_key", name="uq_jobs_owner_client_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_queue", "jobs", ["state", sa.desc("priority"), "seq"])
    op.create_index("ix_jobs_state", "jobs", ["state", "seq"])
    op.create_index("ix_jobs_kind", "jobs", ["kind", "seq"])
    _fill(
        "jobs",
        {
            "priority": "0",
            "demand": "'{}'",
            "preemptible": "FALSE",
            "owner": "coalesce(owner, '')",
            "fresh": "FALSE",
            "preempt": "FALSE",
        },
        same="id kind state spec client_key epoch deaths cancel created started finished waiting result error",
        order="created, id",
    )
    _put_aside("deployments")
    op.create_table(
        "deployments",
        sa.Column("endpoint", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("instances", sa.Integer, nullable=False),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("traffic", sa.Integer, nullable=False),
        sa.Column("demand", sa.JSON, nullable=False),
        sa.Column("waiting", sa.String),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("error", sa.JSON),
    )
    _fill(
        "deployments",
        {"demand": "'{}'"},
        same="endpoint name model instances device traffic created error",
        order="created",
    )
    _put_aside("replicas")
    op.create_table(
        "replicas",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("endpoint", sa.String, nullable=False),
        sa.Column("deployment", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("lease", sa.JSON),
        sa.Column("leased", sa.Float),
        sa.Column("created", sa.Float, nullable=False),
    )
    _fill("replicas", {}, same="id endpoint deployment state created", order="created")
    op.create_table("home", sa.Column("id", sa.String, primary_key=True))


def _put_aside(table: str) -> None:
    """A copy without constraints, so that every name is free for the new table."""
    op.execute(f"CREATE TABLE {table}_0001 AS SELECT * FROM {table}")  # noqa: S608
    op.drop_table(table)


def _fill(table: str, new: dict[str, str], *, same: str, order: str) -> None:
    """Rows come back in `order`: columns named in `same` as they were, those of `new` by an SQL expression each."""
    columns = {name: name for name in same.split()} | new
    op.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608
        f"SELECT {', '.join(columns.values())} FROM {table}_0001 ORDER BY {order}"
    )
    op.drop_table(f"{table}_0001")
