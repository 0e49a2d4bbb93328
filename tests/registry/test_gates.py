"""Promotion gates: an alias moves to a version only if what was measured on it is as the gate asks."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.errors import BedplateError, Conflict, NotFound, Refused
from bedplate_registry.gates import Gate, parse_rules
from bedplate_registry.models import ModelDraft
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry

NAME = Name.parse("acme/intents")
ALIAS = "production"


@pytest.fixture
def three(registry: Registry, make_draft: Callable[..., ModelDraft], tmp_path: Path) -> Registry:
    """A registry with three versions of one name and a dataset `tickets` in two versions."""
    for number in (1, 2, 3):
        registry.models.publish(make_draft(source=f"job-{number}"))
    for number in (1, 2):
        file = tmp_path / f"{number}.csv"
        file.write_text(f"text,label\nhello {number},card\n")
        registry.datasets.add(Name.parse("tickets"), file, "tickets.csv")
    return registry


def set_gate(registry: Registry, *rules: dict[str, Any]) -> Gate:
    parsed = parse_rules(rules, registry.datasets)
    return registry.models.set_gate(NAME, ALIAS, parsed, by="root", why="quality", look=lambda gate: None)


def measure(registry: Registry, version: int, dataset: str | None = "tickets:2", **more: Any) -> str:
    """A report as an evaluation leaves it; `against` is the version and the accuracy of the other model."""
    data: dict[str, Any] = {"split": more.pop("split", None), **more.pop("read", {})}
    if dataset is not None:
        found = registry.datasets.get(dataset)
        data |= {"sha256": found.sha256, "filename": found.filename, "dataset": found.ref}
    report = {
        "model": f"{NAME}:{version}",
        "kind": more.pop("kind", "model"),
        "data": data,
        **more.pop("of_report", {}),
    }
    if against := more.pop("against", None):
        other, accuracy = against
        report["against"] = {"model": f"{NAME}:{other}", "kind": "model", "metrics": {"accuracy": accuracy}}
    return registry.evaluations.add({**report, "metrics": more})


def move(registry: Registry, version: int, *, override: bool = False) -> None:
    registry.models.set_alias(f"{NAME}:{version}", ALIAS, by="ana", override=override)


def refused(registry: Registry, version: int) -> Conflict:
    with pytest.raises(Conflict) as caught:
        move(registry, version)
    assert caught.value.code == "gate-not-met"
    return caught.value


def test_an_alias_moves_once_its_rule_holds_and_the_refusal_says_how_to_measure(three: Registry) -> None:
    set_gate(three, {"metric": "accuracy", "at_least": 0.9, "dataset": "tickets:2"})
    error = refused(three, 1)
    assert "accuracy was not measured on tickets:2" in error.message
    assert error.hint == "Measure it: bedplate evaluate acme/intents:1 --task TASK --data tickets:2 --map KEY=COLUMN"
    measure(three, 1, dataset="tickets:1", accuracy=0.99)
    measure(three, 1, accuracy=0.99, split="test")
    measure(three, 1, accuracy=0.99, kind="probe")
    assert "not measured" in refused(three, 1).message, "other data, rows split off, a probe: none of them counts"
    evaluation = measure(three, 1, accuracy=0.87)
    message = refused(three, 1).message
    assert f"accuracy is 0.87 (evaluation {evaluation}), and the gate asks for at least 0.9" in message
    assert refused(three, 1).hint.startswith("Choose another version."), "what was measured needs no measuring"
    assert three.models.aliases(NAME) == {}
    measure(three, 1, accuracy=0.9)
    move(three, 1)
    assert three.models.aliases(NAME) == {ALIAS: 1}


def test_the_newest_report_decides(three: Registry) -> None:
    set_gate(three, {"metric": "accuracy", "at_least": 0.9})
    measure(three, 1, accuracy=0.95)
    measure(three, 1, accuracy=0.5)
    assert "accuracy is 0.5" in refused(three, 1).message


@pytest.mark.parametrize("value", [None, "0.99", True])
def test_a_figure_that_is_no_number_was_not_measured(three: Registry, value: object) -> None:
    set_gate(three, {"metric": "accuracy", "at_least": 0.9})
    measure(three, 1, accuracy=value)
    assert "not measured" in refused(three, 1).message


def test_a_metric_that_is_better_the_less_it_is_has_a_rule_at_most(three: Registry) -> None:
    set_gate(three, {"metric": "log_loss", "at_most": 0.3, "not_worse": True})
    measure(three, 1, log_loss=0.2)
    move(three, 1)
    measure(three, 2, log_loss=0.4)
    assert "log_loss is 0.4" in refused(three, 2).message
    measure(three, 2, log_loss=0.25)
    assert "worse than the 0.2 of acme/intents:1" in refused(three, 2).message
    measure(three, 2, log_loss=0.1)
    move(three, 2)


def test_not_worse_is_asked_on_one_file_of_both_models(three: Registry) -> None:
    move(three, 1)
    set_gate(three, {"metric": "accuracy", "not_worse": True})
    measure(three, 1, accuracy=0.8, dataset="tickets:1")
    measure(three, 2, accuracy=0.9)
    error = refused(three, 2)
    assert "was not measured on one file, read in the same way" in error.message
    assert "acme/intents:2 --task TASK --data DATASET --against acme/intents:1 --map" in error.hint
    measure(three, 2, accuracy=0.7, dataset="tickets:1")
    assert "accuracy is 0.7, worse than the 0.8 of acme/intents:1" in refused(three, 2).message
    measure(three, 2, accuracy=0.8, against=(1, 0.8))
    move(three, 2)
    move(three, 2)
    assert three.models.aliases(NAME) == {ALIAS: 2}, "the holder itself is no worse than itself"


def test_metrics_of_one_label_are_compared_where_both_mean_the_same_one(three: Registry) -> None:
    move(three, 1)
    set_gate(three, {"metric": "f1_score_binary", "not_worse": True})
    measure(three, 1, f1_score_binary=0.9, of_report={"positive_label": "ham"})
    measure(three, 2, f1_score_binary=0.4, of_report={"positive_label": "spam"})
    assert "was not measured on one file, read in the same way" in refused(three, 2).message
    measure(three, 1, f1_score_binary=0.3, of_report={"positive_label": "spam"})
    move(three, 2)


VERDICT = {"sentence1": "text", "label": "verdict"}


def test_a_rule_about_columns_counts_what_was_measured_on_them(three: Registry) -> None:
    rule = {"metric": "accuracy", "at_least": 0.9, "dataset": "tickets:2", "columns": {"label": "verdict"}}
    gate = set_gate(three, rule)
    assert str(gate.rules[0]) == "accuracy on tickets:2 (label=verdict) at least 0.9"
    assert three.models.gates.get(NAME, ALIAS) == gate
    measure(three, 1, accuracy=0.99)
    measure(three, 1, accuracy=0.99, read={"columns": {**VERDICT, "label": "topic"}})
    error = refused(three, 1)
    assert "accuracy was not measured on tickets:2 (label=verdict)" in error.message
    assert error.hint.endswith("--data tickets:2 --map label=verdict")
    measure(three, 1, accuracy=0.8, read={"columns": VERDICT})
    measure(three, 1, accuracy=0.99)
    assert "accuracy is 0.8" in refused(three, 1).message
    measure(three, 1, accuracy=0.9, read={"columns": VERDICT})
    move(three, 1)


@pytest.mark.parametrize(
    ("mine", "theirs", "is_comparable"),
    [
        ({"columns": VERDICT}, {"columns": VERDICT}, True),
        ({"columns": VERDICT}, {"columns": {**VERDICT, "label": "topic"}}, False),
        ({"columns": VERDICT, "class_names": ["no", "yes"]}, {"columns": VERDICT, "class_names": ["yes", "no"]}, False),
        ({"columns": VERDICT}, {}, True),
    ],
    ids=["the same", "another label", "other names of classes", "from before reports said so"],
)
def test_two_models_are_compared_where_the_file_was_read_in_the_same_way(
    three: Registry, mine: dict[str, Any], theirs: dict[str, Any], is_comparable: bool
) -> None:
    move(three, 1)
    set_gate(three, {"metric": "accuracy", "not_worse": True})
    measure(three, 1, accuracy=0.8, read=theirs)
    measure(three, 2, accuracy=0.7, read=mine)
    expected = "worse than the 0.8" if is_comparable else "was not measured on one file, read in the same way"
    assert expected in refused(three, 2).message


def test_the_first_holder_has_nobody_to_be_worse_than_and_taking_the_alias_away_opens_no_gate(three: Registry) -> None:
    set_gate(three, {"metric": "accuracy", "not_worse": True, "dataset": "tickets:2"})
    measure(three, 1, accuracy=0.8)
    move(three, 1)
    measure(three, 2, accuracy=0.7)
    three.models.remove_alias(NAME, ALIAS, by="ana")
    assert "worse than the 0.8 of acme/intents:1" in refused(three, 2).message


def test_an_admin_moves_it_all_the_same_and_what_stood_against_it_is_kept(three: Registry) -> None:
    set_gate(three, {"metric": "accuracy", "at_least": 0.9})
    move(three, 1, override=True)
    [change] = three.models.alias_history(NAME, ALIAS)
    assert change.unmet == ("accuracy was not measured on any data",)


def test_a_rollback_asks_no_gate(three: Registry) -> None:
    move(three, 1)
    measure(three, 2, accuracy=0.95)
    set_gate(three, {"metric": "accuracy", "at_least": 0.9})
    move(three, 2)
    assert three.models.roll_back(NAME, ALIAS, by="ana").version == 1


def test_a_gate_is_of_one_alias_and_ends_with_its_rules(three: Registry) -> None:
    gate = set_gate(three, {"metric": "accuracy", "at_least": 0.9, "dataset": "tickets"})
    assert (gate.alias, gate.by, gate.why, gate.rules[0].dataset) == (ALIAS, "root", "quality", "tickets:2")
    assert three.models.gates.all(NAME) == [gate] == [three.models.gates.get(NAME, ALIAS)]
    three.models.set_alias(f"{NAME}:1", "staging", by="ana")
    set_gate(three)
    assert three.models.gates.all(NAME) == []
    move(three, 1)


@pytest.mark.parametrize(
    ("rules", "error", "code"),
    [
        ([{"metric": "acuracy", "at_least": 0.9}], Refused, "unknown-metric"),
        ([{"metric": "accuracy"}], Refused, "bad-gate"),
        ([{"metric": "accuracy", "at_least": math.inf}], Refused, "bad-gate"),
        ([{"metric": "accuracy", "at_least": 0.9}, {"metric": "accuracy", "not_worse": True}], Refused, "bad-gate"),
        ([{"metric": "accuracy", "at_least": 0.9, "at_most": 0.1}], Refused, "bad-gate"),
        ([{"metric": "accuracy", "at_least": 0.9, "dataset": "ticket"}], NotFound, "not-found"),
        ([{"metric": "accuracy", "at_least": 0.9, "columns": {"lable": "x"}}], Refused, "unknown-column-key"),
    ],
)
def test_a_rule_that_could_not_hold_is_refused(
    three: Registry, rules: list[dict[str, Any]], error: type[BedplateError], code: str
) -> None:
    with pytest.raises(error) as caught:
        set_gate(three, *rules)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"metric": "accuracy", "at_least": 90}, "accuracy is between 0 and 1, and the rule asks for 90. 0.9?"),
        ({"metric": "accuracy", "at_least": -5}, "accuracy is between 0 and 1, and the rule asks for -5. between"),
        ({"metric": "AUC_macro", "at_most": 900}, "AUC_macro is between 0 and 1, and the rule asks for 900. between"),
        ({"metric": "f1_score", "at_least": 101}, "f1_score is between 0 and 100, and the rule asks for 101. between"),
        ({"metric": "bleu", "at_least": -1}, "bleu is between 0 and 100, and the rule asks for -1. between"),
        ({"metric": "bleu_2", "at_least": 30}, "bleu_2 is between 0 and 1, and the rule asks for 30. 0.3?"),
        ({"metric": "matthews_correlation", "at_least": -2}, "between -1 and 1, and the rule asks for -2. between"),
        ({"metric": "pseudo_perplexity", "at_most": -1}, "is 0 or more, and the rule asks for -1. or more"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["metric"],
)
def test_a_bound_that_the_metric_cannot_reach_is_refused(three: Registry, rule: dict[str, Any], says: str) -> None:
    message, _, hint = says.rpartition(". ")
    with pytest.raises(Refused) as caught:
        set_gate(three, rule)
    assert f"{message}." in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "rule",
    [
        {"metric": "f1_score", "at_least": 88},
        {"metric": "no_answer_exact_match", "at_least": 100},
        {"metric": "chrf", "at_least": 55.5},
        {"metric": "matthews_correlation", "at_least": -0.5},
        {"metric": "log_loss", "at_most": 12},
        {"metric": "perplexity", "at_most": 300},
        {"metric": "accuracy", "at_least": 0, "at_most": 1},
    ],
    ids=lambda rule: rule["metric"],
)
def test_a_bound_on_the_scale_of_its_metric_stands(three: Registry, rule: dict[str, Any]) -> None:
    assert set_gate(three, rule).rules[0].metric == rule["metric"]
