"""What a notebook shows: objects and lists as tables, and progress below the cell, by IPython's display.

IPython is no dependency of ours: a stand-in takes what would be displayed.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bedplate.client import Dataset, Endpoint, Job, Key, Model, Report
from bedplate.console import Progress, endpoint_progress, job_progress
from bedplate.tables import Table

MODEL = {
    "ref": "acme/<b>:1",
    "task": None,
    "license": "mit",
    "parameters": 1000,
    "state": "active",
    "aliases": {"best": 1},
}
MODEL["created"] = "2026-11-24T08:00:00+00:00"
DATASET = {"ref": "tickets:1", "rows": 3, "format": "csv", "size_bytes": 9, "images": 0, "state": "active"}
DATASET["created"] = "2026-11-24T08:00:00+00:00"
JOB: dict[str, Any] = {
    "id": "finetune-1",
    "kind": "finetune",
    "state": "running",
    "is_final": False,
    "owner": "ana",
    "created": 1.0,
    "finished": None,
    "waiting": None,
    "progress": {"phase": "training", "percent": 40.0, "done": 4, "total": 10, "unit": "steps", "message": "a < b"},
}


def test_objects_are_tables_of_their_facts_and_nothing_in_them_is_markup() -> None:
    shown = Model(None, MODEL)._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert "{&quot;best&quot;: 1}" in shown
    report = Report(None, {"id": "ev-1", "model": "a:1", "task": "t", "created": 0, "metrics": {"accuracy": 0.91234}})
    assert "<td>accuracy</td><td>0.9123</td>" in report._repr_html_()
    deployments = [{"name": "main", "traffic": 100, "waiting": None}]
    endpoint = {"name": "support", "state": "ready", "task": "t", "url": "http://x", "deployments": deployments}
    assert "<td>state</td><td>ready</td>" in Endpoint(None, endpoint)._repr_html_()


def test_a_list_is_a_list_and_a_table_with_a_row_for_each() -> None:
    jobs = Table(Job(None, {**JOB, "id": f"finetune-{number}"}) for number in range(3))
    assert [job.id for job in jobs] == ["finetune-0", "finetune-1", "finetune-2"]
    assert jobs._repr_html_().count("<tr>") == 4
    assert Table([])._repr_html_() == "<em>none</em>"
    assert "<th>loss</th>" in Table([{"step": 1}, {"step": 2, "loss": 0.5}])._repr_html_()
    assert "<td>tickets:1</td>" in Table([Dataset(None, DATASET)])._repr_html_()
    assert "and 1 more" in Table(range(201))._repr_html_()


def test_the_text_of_a_key_is_shown_by_no_table() -> None:
    data = {"id": "key-1", "name": "ci", "owner": "ana", "scopes": ["infer"], "endpoints": None, "slot": None}
    key = Key(None, {**data, "created": 0, "expires": None, "revoked": None, "key": "bp_secret"})
    assert "bp_secret" not in repr(key) + key._repr_html_() + Table([key])._repr_html_()


def test_progress_is_one_display_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def display(html: str, display_id: bool) -> SimpleNamespace:
        assert display_id
        shown.append(html)
        return SimpleNamespace(update=lambda html: shown.append(f"updated: {html}"))

    ipython: Any = ModuleType("IPython")
    ipython.display = ModuleType("IPython.display")
    ipython.display.display, ipython.display.HTML = display, str
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    progress = job_progress()
    assert isinstance(progress, Progress)
    job = Job(None, JOB)
    progress(job)
    job.data = {**JOB, "state": "succeeded", "is_final": True}
    progress(job)
    running, done = shown
    assert '<progress max="100" value="40.0"></progress>' in running
    assert "a &lt; b" in running
    assert done == "updated: <div>finetune-1: succeeded</div>"
    ipython.get_ipython = lambda: SimpleNamespace()  # IPython on a terminal
    assert job_progress() is None
    assert endpoint_progress() is None
