"""Bring a database with data in it to the newest revision, a copy first."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from bedplate.migrations import HEAD
from bedplate.migrations.backup import backed_up

__all__ = ["config_for", "upgrade"]

log = logging.getLogger(__name__)


def upgrade(connection: sa.Connection, revision: str, tables: Iterable[str], *, is_stamped: bool) -> None:
    """From `revision` to HEAD, in the transaction that `connection` is in: it happens as a whole or not at all.

    `tables` are backed up. `is_stamped` says whether the database names its revision itself.
    """
    with backed_up(connection, revision, tables) as place:
        log.info("the metadata database goes from revision %s to %s; its backup is %s", revision, HEAD, place)
        config = config_for(connection)
        if not is_stamped:
            command.stamp(config, revision)
        command.upgrade(config, HEAD)


def config_for(connection: sa.Connection) -> Config:
    """What alembic.command's functions need to work on this connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
