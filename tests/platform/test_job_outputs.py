"""The rows that a batch job wrote, a page at a time, for those who see the job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.tables import open_writer
from rest_server import Rest, finished_job, rest_server

ROWS = [{"text": f"row {number}", "label": "card", "score": 0.5} for number in range(5)]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.tsv", "rows.parquet"])
def test_rows_of_every_format_come_in_pages(name: str) -> None:
    with rest_server() as rest:
        job = finished_job(rest.workspace, owner="ana")
        _write(rest.workspace.job_folder(job.id).outputs / name)
        found: list[dict[str, Any]] = []
        after: int | str | None = 0
        while after is not None:
            page = _preview(rest, job.id, name, after)
            found += page["items"]
            after = page["next"]
    assert [row["text"] for row in found] == [row["text"] for row in ROWS]


def test_others_do_not_see_them_and_what_is_no_table_is_refused() -> None:
    with rest_server() as rest:
        job = finished_job(rest.workspace, owner="ana")
        (rest.workspace.job_folder(job.id).outputs / "notes.txt").write_text("hello")
        path = f"/api/v1/jobs/{job.id}/outputs"
        assert rest.call("GET", f"{path}/rows.csv/preview", user="bob").status_code == 404
        assert rest.call("GET", f"{path}/none.csv/preview", user="ana").status_code == 404
        refused = rest.call("GET", f"{path}/notes.txt/preview", user="ana").json()
    assert refused["code"] == "bad-format"


def _write(path: Path) -> None:
    with open_writer(path, path.suffix[1:], ["text", "label", "score"]) as writer:
        for row in ROWS:
            writer.write(row)


def _preview(rest: Rest, job_id: str, name: str, after: object) -> dict[str, Any]:
    path = f"/api/v1/jobs/{job_id}/outputs/{name}/preview"
    answer = rest.call("GET", path, user="ana", params={"limit": 2, "after": after})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())
