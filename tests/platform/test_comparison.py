"""Runs beside each other: what differs is told, what is alike is not."""

from __future__ import annotations

from typing import Any

import pytest

from bedplate.comparison import compare_runs
from bedplate_registry.errors import Refused


def run(id: str, *, rate: float = 1e-3, train: Any = None, metrics: dict[str, float] | None = None) -> dict[str, Any]:
    """A fine-tune as REST shows it."""
    spec = {"model": "acme/encoder:1", "task": "text-classification", "columns": {"sentence1": "text"}}
    spec |= {"train": train or {"dataset": "tickets:1", "sha256": "a" * 64}, "validation": "auto", "test": "auto"}
    spec |= {"settings": {"learning_rate": "auto", "seed": 42}, "device": "cpu", "processes": 1}
    spec |= {"forecast": {"values": {"learning_rate": rate}, "sources": {}}}
    result = {"test_metrics": metrics, "seconds": 3.5, "steps": 10} if metrics else None
    return {"id": id, "kind": "finetune", "state": "succeeded", "spec": spec, "result": result}


def test_only_settings_that_differ_are_told_as_they_were_resolved() -> None:
    found = compare_runs([run("a", metrics={"accuracy": 0.5}), run("b", rate=1e-4, metrics={"accuracy": 0.75})])
    assert found.settings == {"learning_rate": (1e-3, 1e-4)}
    assert found.metrics == {"test/accuracy": (0.5, 0.75), "steps": (10, 10), "seconds": (3.5, 3.5)}
    assert found.to_json()["settings"] == {"learning_rate": [1e-3, 1e-4]}


def test_the_main_metrics_come_first_and_the_state_says_why_a_run_has_none() -> None:
    figures = {"AUC_macro": 0.9, "loss": 0.1, "f1_score_macro": 0.7, "accuracy": 0.75}
    tried, failed = run("a", metrics=figures), {**run("b"), "state": "failed"}
    tried["result"]["metrics"] = figures
    found = compare_runs([tried, failed])
    first = [f"{rows}/{name}" for name in ("accuracy", "f1_score_macro") for rows in ("validation", "test")]
    assert [*found.metrics][:4] == first
    assert {*[*found.metrics][-4:]} == {"validation/loss", "test/loss", "steps", "seconds"}
    assert found.states == ("succeeded", "failed")
    assert found.to_json()["states"] == ["succeeded", "failed"]


def test_data_differs_by_version_or_by_its_bytes_and_a_run_without_an_end_has_no_figures() -> None:
    upload = {"dataset": None, "filename": "rows.csv", "sha256": "b" * 64}
    found = compare_runs([run("a", metrics={"accuracy": 0.5}), run("b", train=upload)])
    assert found.settings == {"train": ("tickets:1", "rows.csv (bbbbbbbbbbbb)")}
    assert found.metrics["test/accuracy"] == (0.5, None)


def test_a_figure_on_validation_rows_stands_on_no_line_with_one_on_test_rows() -> None:
    trial, tested = run("a"), run("b", metrics={"accuracy": 0.75})
    trial["result"] = {"metrics": {"accuracy": 0.5, "log_loss": 0.9}, "test_metrics": None}
    tested["result"]["metrics"] = {"accuracy": 0.625}
    found = compare_runs([trial, tested]).metrics
    assert found["validation/accuracy"] == (0.5, 0.625)
    assert found["validation/log_loss"] == (0.9, None)
    assert found["test/accuracy"] == (None, 0.75)


@pytest.mark.parametrize("jobs", [[], [run("a")], [run("a"), run("a")], [run(str(n)) for n in range(13)]])
def test_too_few_too_many_and_one_twice_are_refused(jobs: list[dict[str, Any]]) -> None:
    with pytest.raises(Refused, match="runs cannot be compared") as refused:
        compare_runs(jobs)
    assert "from 2 to 12" in refused.value.hint


def test_a_job_of_another_kind_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="batch-1 is a job of the kind batch"):
        compare_runs([run("a"), {"id": "batch-1", "kind": "batch"}])
