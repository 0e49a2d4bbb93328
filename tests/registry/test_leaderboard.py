"""Leaderboards over reports: what is compared with what, who is first, and who cannot be told from the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.errors import NotFound, Refused
from bedplate_registry.leaderboard import MAIN_METRICS, boards, find_board, origin_of, standings
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry
from bedplate_registry.tasks import TASKS

SHA, OTHER = "a" * 64, "b" * 64
COLUMNS = {"sentence1": "text", "label": "intent"}
TASK = "text-classification"


def add(registry: Registry, model: str, accuracy: float | None, *, task: str = TASK, **more: Any) -> str:
    """Keep a report on tickets:1; `data` changes what it was measured on."""
    about = {"dataset": "tickets:1", "sha256": SHA, "filename": "tickets.csv", "rows": 100, "columns": COLUMNS}
    data, metrics = {**about, **more.pop("data", {})}, {} if accuracy is None else {"accuracy": accuracy}
    confidence = {} if accuracy is None else {"accuracy": [accuracy - 0.05, accuracy + 0.05]}
    report = {"model": model, "task": task, "kind": "model", "data": data, "metrics": metrics, "confidence": confidence}
    return registry.evaluations.add({**report, **more})


def order(registry: Registry, data: str = "tickets:1", task: str = TASK, metric: str | None = None) -> list[str]:
    return [each.side.model for each in standings(find_board(registry.evaluations, task, data), metric)]


def test_the_best_is_first_and_of_each_version_the_newest_report_counts(registry: Registry) -> None:
    add(registry, "acme/a:1", 0.95)
    add(registry, "acme/b:1", 0.8)
    newest = add(registry, "acme/a:1", 0.7)
    add(registry, "acme/a:2", 0.75)
    first, second, third = standings(find_board(registry.evaluations, TASK, "tickets:1"))
    assert [each.side.model for each in (first, second, third)] == ["acme/b:1", "acme/a:2", "acme/a:1"]
    assert (third.rank, third.value, third.side.evaluation) == (3, 0.7, newest)


def test_a_newest_report_with_fewer_metrics_takes_no_model_from_its_place(registry: Registry) -> None:
    whole = add(registry, "acme/a:1", 0.95)
    few = add(registry, "acme/a:1", None, metrics={"log_loss": 0.3}, confidence={"accuracy": [0.9, 1.0]})
    add(registry, "acme/b:1", 0.94)
    add(registry, "acme/none:1", None, metrics={"log_loss": 0.2}, confidence={"accuracy": [0.9, 1.0]})
    board = find_board(registry.evaluations, TASK, "tickets:1")
    first, second, last = standings(board)
    assert (first.side.evaluation, first.value, first.interval) == (whole, 0.95, [pytest.approx(0.9), 1.0])
    assert (second.side.model, second.ties_best) == ("acme/b:1", True)
    assert (last.rank, last.value, last.interval, last.ties_best) == (None, None, None, False)
    assert {each.side.evaluation for each in standings(board, "log_loss")} > {few}
    assert board.to_json()["models"] == 3


def test_models_whose_interval_overlaps_that_of_the_first_tie_with_it(registry: Registry) -> None:
    for model, accuracy in (("acme/best:1", 0.9), ("acme/near:1", 0.81), ("acme/far:1", 0.79)):
        add(registry, model, accuracy)
    add(registry, "acme/unsure:1", 0.85, confidence={})
    found = standings(find_board(registry.evaluations, TASK, "tickets:1"))
    assert [(each.side.model, each.ties_best) for each in found] == [
        ("acme/best:1", False),
        ("acme/unsure:1", False),
        ("acme/near:1", True),
        ("acme/far:1", False),
    ]


def test_metrics_of_one_label_are_compared_where_both_mean_the_same_one(registry: Registry) -> None:
    for model, label, f1 in (("acme/ham:1", "ham", 0.99), ("acme/spam:1", "spam", 0.4), ("acme/old:1", "spam", 0.3)):
        figures = {"accuracy": 0.9, "f1_score_binary": f1}
        add(registry, model, None, metrics=figures, positive_label=label)
    board = find_board(registry.evaluations, TASK, "tickets:1")
    found = standings(board, "f1_score_binary")
    assert [(one.side.model, one.value) for one in found] == [
        ("acme/spam:1", 0.4),
        ("acme/old:1", 0.3),
        ("acme/ham:1", None),
    ]
    assert board.to_json()["positive_label"] == "spam"
    assert {one.value for one in standings(board)} == {0.9}


def test_equal_figures_share_a_rank_and_a_model_without_one_has_none(registry: Registry) -> None:
    for model, accuracy in (("acme/c:1", 0.5), ("acme/a:1", 0.5), ("acme/none:1", None), ("acme/z:1", 0.4)):
        add(registry, model, accuracy)
    found = standings(find_board(registry.evaluations, TASK, "tickets:1"))
    ranks = [(each.place, each.rank, each.side.model) for each in found]
    assert ranks == [(1, 1, "acme/a:1"), (2, 1, "acme/c:1"), (3, 3, "acme/z:1"), (4, None, "acme/none:1")]


def test_of_a_loss_or_a_perplexity_the_least_is_best(registry: Registry) -> None:
    for model, loss in (("acme/a:1", 0.2), ("acme/b:1", 0.1)):
        add(registry, model, 0.5, metrics={"log_loss": loss, "perplexity": loss})
        add(registry, model, None, task="text-generation", metrics={"perplexity": loss})
    assert order(registry, metric="log_loss") == ["acme/b:1", "acme/a:1"]
    assert order(registry, task="text-generation") == ["acme/b:1", "acme/a:1"]


def test_the_other_side_of_a_report_is_measured_too(registry: Registry) -> None:
    other = {"model": "acme/base:1", "kind": "probe", "metrics": {"accuracy": 0.6}, "confidence": {}}
    add(registry, "acme/a:1", 0.9, against=other)
    probe = standings(find_board(registry.evaluations, TASK, "tickets:1"))[1]
    assert (probe.side.model, probe.side.kind, probe.value) == ("acme/base:1", "probe", 0.6)


def test_only_the_same_rows_read_in_the_same_way_are_compared(registry: Registry) -> None:
    add(registry, "acme/a:1", 0.9)
    add(registry, "acme/renamed:1", 0.8, data={"dataset": "again:4"})
    add(registry, "acme/other-task:1", 0.8, task="token-classification")
    add(registry, "acme/other-file:1", 0.8, data={"dataset": "tickets:2", "sha256": OTHER})
    add(registry, "acme/split:1", 0.99, data={"split": "test", "rows": 10})
    add(registry, "acme/longer-split:1", 0.98, data={"split": "test", "rows": 20})
    add(registry, "acme/other-split:1", 0.97, data={"split": "test", "split_seed": 7, "rows": 10})
    add(registry, "acme/upload:1", 0.7, data={"dataset": None})
    assert order(registry) == order(registry, SHA) == order(registry, "again:4")
    assert order(registry) == ["acme/a:1", "acme/renamed:1", "acme/upload:1"]
    assert sorted(len(board.sides) for board in boards(registry.evaluations)) == [1, 1, 1, 1, 1, 3]
    assert len(boards(registry.evaluations, "token-classification")) == 1


def test_a_dataset_without_a_version_is_its_newest_one_and_one_of_the_same_bytes_is_known_too(
    registry: Registry, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,intent\nhello,greet\n")
    version = registry.datasets.add(Name.parse("tickets"), rows, "rows.csv")
    registry.datasets.add(Name.parse("same-bytes"), rows, "rows.csv")
    add(registry, "acme/a:1", 0.9, data={"dataset": version.ref, "sha256": version.sha256})
    for data in ("tickets", "tickets:1", "same-bytes", version.sha256):
        found = find_board(registry.evaluations, TASK, data, registry.datasets)
        assert found.about.dataset == "tickets:1"
    with pytest.raises(NotFound, match="'ticket'"):
        find_board(registry.evaluations, TASK, "ticket", registry.datasets)


def test_data_with_several_boards_is_refused_with_their_ids_and_each_id_leads_to_its_board(registry: Registry) -> None:
    add(registry, "acme/a:1", 0.9)
    add(registry, "acme/topics:1", 0.8, data={"columns": {**COLUMNS, "label": "topic"}})
    with pytest.raises(Refused, match="label=topic") as caught:
        find_board(registry.evaluations, TASK, "tickets:1")
    for board in boards(registry.evaluations):
        assert board.id in caught.value.message
        assert order(registry, board.id) == [board.sides[0].model]


def test_what_nobody_measured_on_is_not_found_and_the_error_names_what_was(registry: Registry) -> None:
    with pytest.raises(NotFound, match="no-such") as caught:
        find_board(registry.evaluations, TASK, "no-such:1")
    assert "nothing yet" in caught.value.hint
    add(registry, "acme/a:1", 0.9)
    with pytest.raises(NotFound) as caught:
        find_board(registry.evaluations, TASK, "no-such:1")
    assert "tickets:1" in caught.value.hint
    add(registry, "acme/a:1", 0.9, data={"dataset": "again:4"})
    add(registry, "acme/a:1", 0.9, data={"dataset": None, "sha256": OTHER})
    with pytest.raises(NotFound) as caught:
        find_board(registry.evaluations, TASK, "no-such:1")
    [of_file] = [board.id for board in boards(registry.evaluations) if board.about.sha256 == OTHER]
    assert f"It was on: again:4, tickets.csv ({of_file}), tickets:1." in caught.value.hint
    assert order(registry, of_file) == ["acme/a:1"]
    with pytest.raises(Refused, match="text-clasification"):
        find_board(registry.evaluations, "text-clasification", "tickets:1")
    with pytest.raises(Refused, match="acuracy") as refused:
        order(registry, metric="acuracy")
    assert "'accuracy'" in refused.value.hint


def test_reports_that_are_damaged_or_say_too_little_are_left_out(registry: Registry) -> None:
    add(registry, "acme/a:1", 0.9)
    damaged = registry.evaluations.root / add(registry, "acme/b:1", 0.8) / "report.json"
    registry.evaluations.add({"model": "acme/c:1", "metrics": {"accuracy": 1.0}})
    registry.evaluations.add({"model": "acme/d:1", "task": TASK, "data": "tickets", "metrics": [1], "against": True})
    assert order(registry) == ["acme/a:1", "acme/b:1"]
    damaged.unlink()
    damaged.write_text("{")
    assert order(registry) == ["acme/a:1"]


def test_a_deleted_model_keeps_its_place_and_is_said_to_be_missing(registry: Registry, make_draft: Any) -> None:
    version = registry.models.publish(make_draft())
    assert origin_of(registry.models, version.ref) == {"base": "acme/base:1", "state": "active"}
    assert origin_of(registry.models, "acme/gone:1") == {"base": None, "state": "missing"}


def test_every_task_that_has_metrics_has_one_to_sort_by() -> None:
    assert set(MAIN_METRICS) == {name for name, task in TASKS.items() if task.metrics}
    assert all(metric in TASKS[task].metrics for task, metric in MAIN_METRICS.items())
