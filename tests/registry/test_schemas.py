"""What columns hold is said as it is, in one pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry import schemas
from bedplate_registry.schemas import ColumnFacts, describe_rows
from bedplate_registry.tables import read_rows


def described(values: list[Any]) -> ColumnFacts:
    count, [facts] = describe_rows({"x": value} for value in values)
    assert count == len(values)
    return facts


@pytest.mark.parametrize(
    ("values", "type", "looks_like"),
    [
        (["a", "b c"], "text", None),
        ([1, 2, None], "integer", None),
        ([1, 2.5], "number", None),
        ([True, False], "boolean", None),
        ([[1], [2, 3], []], "list<integer>", None),
        ([["a"], ["b", None]], "list<text>", None),
        ([["a"], [1]], "list<mixed>", None),
        ([[], []], "list<unknown>", None),
        ([{"a": 1}], "object", None),
        ([{"bytes": b"?", "path": "x.png"}], "image", None),
        ([b"?"], "binary", None),
        ([1, "a"], "mixed", None),
        ([None, None], "unknown", None),
        (["1", "-20", ""], "text", "integer"),
        (["1", "2.5", "1e-3"], "text", "number"),
        (["007", "008"], "text", None),
        (["1", "a"], "text", None),
        (["True", "false"], "text", "boolean"),
        (['["a", "b"]', " []"], "text", "list<text>"),
        (["['a']"], "text", None),
        (['{"a": 1}'], "text", "object"),
        (["cat/1.png", "2.JPG"], "text", "image"),
        (["", " "], "text", None),
    ],
)
def test_a_column_has_a_type_and_texts_say_what_they_spell(
    values: list[Any], type: str, looks_like: str | None
) -> None:
    facts = described(values)
    assert (facts.type, facts.looks_like) == (type, looks_like)


def test_gaps_different_values_and_lengths_are_counted() -> None:
    facts = described(["ab", "ab", "abcd", "", "  ", None])
    assert (facts.missing, facts.empty, facts.distinct, facts.is_more) == (1, 2, 2, False)
    assert (facts.min_characters, facts.mean_characters, facts.max_characters) == (2, 2.7, 4)
    numbers = described([1, 1, 2, float("nan"), None])
    assert (numbers.missing, numbers.distinct, numbers.min_characters) == (2, 2, None)
    lists = described([["a"], ["a"], [], ["b"]])
    assert (lists.empty, lists.distinct) == (1, 2)
    assert described([b"x" * 100_000, b"x" * 100_000, b"y"]).distinct == 2


def test_a_column_that_comes_late_or_goes_was_missing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "BATCH_ROWS", 2)
    count, facts = describe_rows([{"a": 1}, {"a": 1}, {"a": 2}, {"b": "x"}, {"b": "y"}])
    assert count == 5
    assert [(each.name, each.missing, each.distinct) for each in facts] == [("a", 2, 2), ("b", 3, 2)]


def test_rows_with_long_cells_are_looked_at_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "BATCH_CHARACTERS", 1000)
    for cell in ("x" * 600, b"x" * 600, ["x" * 600], {"bytes": b"x" * 600}):
        rows = iter([{"a": cell}] * 5)
        assert [len(schemas._batch(rows)) for _ in range(4)] == [2, 2, 1, 0]
        assert describe_rows({"a": cell} for _ in range(5))[0] == 5


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = described([f"{n}" for n in range(schemas.MOST_DISTINCT + 1500)])
    assert (facts.distinct, facts.is_more) == (schemas.MOST_DISTINCT, True)
    assert described([f"{n}" for n in range(schemas.MOST_DISTINCT)]).is_more is False
    monkeypatch.setattr(schemas, "MOST_COLUMNS", 3)
    _, found = describe_rows({f"c{n}": n} for n in range(9))
    assert [each.name for each in found] == ["c0", "c1", "c2"]


def test_lists_as_deep_as_the_parser_goes_are_told_of(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps({"x": 1})[:-2] + "[" * 1000 + "]" * 1000 + "}\n")
    _, [facts] = describe_rows(read_rows(file, "jsonl"))
    assert (facts.type, facts.distinct) == ("list<list>", 1)
