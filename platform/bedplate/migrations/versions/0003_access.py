"""Users, keys with an owner, sessions, the audit log; endpoints that count their changes; jobs that know their request.

A key of before belongs to `local`, the user of this machine. The two newest valid keys of an endpoint take its slots.
"""

import time
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("fingerprint", sa.String))
    op.add_column("jobs", sa.Column("request_id", sa.String))
    op.add_column("endpoints", sa.Column("kind", sa.String, nullable=False, server_default="real-time"))
    op.add_column("endpoints", sa.Column("revision", sa.Integer, nullable=False, server_default="1"))
    op.add_column("endpoints", sa.Column("owner", sa.String, nullable=False, server_default="local"))
    op.create_table(
        "users",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    _make_keys_anew()
    op.create_table(
        "sessions",
        sa.Column("sha256", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False, index=True),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("who", sa.String, nullable=False, index=True),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("previous", sa.String, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
    )


def _make_keys_anew() -> None:
    rows = [dict(row) for row in op.get_bind().execute(_old_keys().select()).mappings()]
    op.drop_table("keys")
    keys = op.create_table(
        "keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("owner", sa.String, nullable=False, index=True),
        sa.Column("sha256", sa.String, nullable=False, unique=True),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("endpoints", sa.JSON(none_as_null=True)),
        sa.Column("slot", sa.String),
        sa.Column("rate", sa.Float),
        sa.Column("concurrency", sa.Integer),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires", sa.Float),
        sa.Column("revoked", sa.Float),
    )
    free: dict[str, list[str]] = {}
    made = []
    for row in sorted(rows, key=lambda row: row["created"], reverse=True):
        endpoint = row.pop("endpoint")
        slots = free.setdefault(endpoint, ["primary", "secondary"]) if endpoint and _is_valid(row) else []
        new = {"owner": "local", "endpoints": [endpoint] if endpoint else None, "rate": None, "concurrency": None}
        made.append({**row, **new, "slot": slots.pop(0) if slots else None})
    if made:
        op.bulk_insert(keys, made)


def _is_valid(row: dict[str, Any]) -> bool:
    return row["revoked"] is None and (row["expires"] is None or row["expires"] > time.time())


def _old_keys() -> sa.Table:
    names = ("id", "name", "sha256", "scopes", "endpoint", "created", "expires", "revoked")
    columns = [sa.Column(name, sa.JSON if name == "scopes" else None) for name in names]
    return sa.Table("keys", sa.MetaData(), *columns)
