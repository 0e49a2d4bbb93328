"""The rows of an evaluation over HTTP and in Python."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import bedplate
from bedplate.workspace import Workspace
from bedplate_registry.errors import NotFound
from bedplate_registry.writers import open_writer
from light_server import light_server
from rest_server import Rest, publish_model, rest_server

TEXTS = (("lost card", "card", "card", 0.9), ("new card", "card", "login", 0.6), ("password", "login", "login", 0.7))


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    with rest_server() as started:
        publish_model(started.workspace)
        yield started


def measured(workspace: Workspace, folder: Path) -> str:
    """The id of an evaluation with three rows, of which the second is wrong."""
    path = folder / "rows.parquet"
    with open_writer(path, "parquet", ["row", "sentence1", "target", "predicted", "score", "right"]) as writer:
        for row, (text, target, said, score) in enumerate(TEXTS, 1):
            inputs = {"row": row, "sentence1": text}
            writer.write({**inputs, "target": target, "predicted": said, "score": score, "right": target == said})
    report = {"model": "support-intent:1", "task": "text-classification", "metrics": {"accuracy": 2 / 3}}
    with path.open("rb") as rows:
        return workspace.registry.evaluations.add(report, rows)


def test_rows_are_chosen_and_come_in_pages(rest: Rest, tmp_path: Path) -> None:
    path = f"/api/v1/evaluations/{measured(rest.workspace, tmp_path)}/rows"
    wrong = rest.call("GET", f"{path}?right=false").json()
    said = {"target": "card", "predicted": "login", "score": 0.6, "right": False}
    assert wrong == {"items": [{"row": 2, "sentence1": "new card", **said}], "next": None}
    first = rest.call("GET", f"{path}?contains=CARD&limit=1").json()
    assert ([row["row"] for row in first["items"]], first["next"]) == ([1], "1")
    following = rest.call("GET", f"{path}?contains=CARD&limit=1&after={first['next']}").json()
    assert ([row["row"] for row in following["items"]], following["next"]) == ([2], None)
    assert [row["row"] for row in rest.call("GET", f"{path}?target=login&score_below=0.8").json()["items"]] == [3]
    assert "'right'" in rest.call("GET", f"{path}?rigth=false").text
    assert rest.call("GET", f"{path}?right=maybe").status_code == 422


def test_both_clients_have_the_same(tmp_path: Path) -> None:
    async def by_asyncio() -> list[int]:
        async with bedplate.aconnect(home=server.home.path) as ws:
            report = await ws.evaluations.get(made)
            return [row["row"] for row in await report.rows(contains="card", right=False)]

    with light_server() as server:
        made = measured(server, tmp_path)
        kept_none = server.registry.evaluations.add({"model": "m:1", "task": "translation", "metrics": {}})
        with bedplate.connect(home=server.home.path) as ws:
            report = ws.evaluations.get(made)
            assert [row["row"] for row in report.rows(right=True)] == [1, 3]
            assert [row["row"] for row in report.rows(predicted="login", limit=1)] == [2]
            with pytest.raises(NotFound, match="has no predictions"):
                ws.evaluations.get(kept_none).rows()
        assert asyncio.run(by_asyncio()) == [2]
