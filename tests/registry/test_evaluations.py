"""Reports of evaluations: which one a job left."""

from __future__ import annotations

from bedplate_registry.registry import Registry


def test_the_report_of_a_job_is_found_and_not_one_that_only_speaks_of_it(registry: Registry) -> None:
    evaluations = registry.evaluations
    assert evaluations.of_job("evaluate-1") is None
    kept = evaluations.add({"model": "m:1", "metrics": {}, "job": "evaluate-1"})
    evaluations.add({"model": "m:1", "metrics": {}, "job": "evaluate-2", "worst": [{"text": "evaluate-1"}]})
    (evaluations.root / "ev-damaged").mkdir()
    (evaluations.root / "ev-damaged" / "report.json").write_text('{"job": "evaluate-1"')
    assert evaluations.of_job("evaluate-1") == kept
