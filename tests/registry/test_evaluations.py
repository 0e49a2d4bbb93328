"""Reports of evaluations: which one a job left, and lists of them."""

from __future__ import annotations

import json
import logging
import os

import pytest

from bedplate_registry.registry import Registry


def test_the_report_of_a_job_is_found_and_not_one_that_only_speaks_of_it(registry: Registry) -> None:
    evaluations = registry.evaluations
    assert evaluations.of_job("evaluate-1") is None
    kept = evaluations.add({"model": "m:1", "metrics": {}, "job": "evaluate-1"})
    evaluations.add({"model": "m:1", "metrics": {}, "job": "evaluate-2", "worst": [{"text": "evaluate-1"}]})
    (evaluations.root / "ev-damaged").mkdir()
    (evaluations.root / "ev-damaged" / "report.json").write_text('{"job": "evaluate-1"')
    assert evaluations.of_job("evaluate-1") == kept


def test_a_list_has_what_reports_say_in_short_and_follows_what_comes_and_goes(registry: Registry) -> None:
    evaluations = registry.evaluations
    other = {"model": "m:2", "metrics": {"accuracy": 0.5}, "confusion": {"labels": ["a"]}}
    report = {"model": "m:1", "task": "translation", "metrics": {"bleu": 30.0}, "worst": [{"row": 1}], "against": other}
    first, second = evaluations.add(report), evaluations.add({"model": "m:2", "metrics": {}})
    heads = evaluations.heads()
    assert [head["id"] for head in heads] == [second, first]
    assert heads[1]["against"] == {"model": "m:2", "metrics": {"accuracy": 0.5}}
    assert set(heads[1]) == {"id", "created", "model", "task", "metrics", "against"}
    assert [head["id"] for head in evaluations.heads("m:2")] == [second]
    assert [head["id"] for head in evaluations.heads(task="translation")] == [first]
    third = evaluations.add({"model": "m:1", "metrics": {}})
    (evaluations.root / second / "report.json").unlink()
    assert [head["id"] for head in evaluations.heads()] == [third, first]


def test_a_damaged_report_is_left_out_of_lists_and_named_in_the_log(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    whole = registry.evaluations.add({"model": "m:1", "metrics": {}})
    for name, text in (("cut", '{"id": '), ("list", json.dumps([1]))):
        (registry.evaluations.root / f"ev-20260101-000000-000000-{name}").mkdir()
        (registry.evaluations.root / f"ev-20260101-000000-000000-{name}" / "report.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert [head["id"] for head in registry.evaluations.heads()] == [whole]
    assert "ev-20260101-000000-000000-cut" in caplog.text


def test_reports_are_read_once(registry: Registry) -> None:
    """Shown by files whose bytes change and whose time does not, as no report's ever would."""
    kept = registry.evaluations.add({"model": "m:1", "metrics": {}})
    assert [head["id"] for head in registry.evaluations.heads()] == [kept]
    path = registry.evaluations.root / kept / "report.json"
    before = path.stat()
    path.chmod(0o644)
    path.write_text("{")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [head["id"] for head in registry.evaluations.heads()] == [kept]
    os.utime(path)
    assert registry.evaluations.heads() == []
