"""The routing snapshot and its rereading."""

from __future__ import annotations

import asyncio
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bedplate_serving.routes import RouteTable


@contextmanager
def no_file_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def write(path: Path, text: str) -> None:
    path.with_suffix(".tmp").write_text(text)
    path.with_suffix(".tmp").replace(path)


def test_a_snapshot_that_could_not_be_read_is_read_as_soon_as_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "routes.json"

    async def follow() -> None:
        table = RouteTable(path)
        write(path, json.dumps({"generation": 1}))
        await table.refresh()
        write(path, json.dumps({"generation": 2}))
        with no_file_descriptors():
            await table.refresh()
            await table.refresh()
        assert table.current.generation == 1
        await table.refresh()
        assert table.current.generation == 2

    asyncio.run(follow())
    assert len(caplog.records) == 1  # and not one for each try


def test_a_malformed_snapshot_waits_for_the_next_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "routes.json"
    write(path, "{")
    table = RouteTable(path)
    asyncio.run(table.refresh())
    asyncio.run(table.refresh())
    assert len(caplog.records) == 1
