"""Rows of a file are scored a chunk at a time."""

from typing import Any

from bedplate_registry.progress import SILENT
from bedplate_trainers.examiners.base import in_chunks


def scored(rows: list[str]) -> tuple[list[str], list[list[str]]]:
    """What came of each row, and the rows that were scored together."""
    together = list[list[str]]()

    def score(chunk: list[str]) -> list[str]:
        together.append(chunk)
        return [text.upper() for text in chunk]

    return list(in_chunks(rows, len, score, SILENT, "test")), together


def test_answers_come_in_the_order_of_the_rows_and_rows_of_like_length_are_scored_together() -> None:
    rows = ["b" * (1 + number * 7 % 50) for number in range(600)]
    answers, together = scored(rows)
    assert answers == [row.upper() for row in rows]
    assert [len(chunk) for chunk in together] == [256, 256, 88]
    assert sorted(rows, key=len) == [row for chunk in together for row in chunk]


def test_long_rows_are_scored_a_few_at_a_time_and_each_of_them_once() -> None:
    rows = ["a", "b" * 100_000, "c" * 400_000, "d" * 120_000, "e" * 150_000, "f" * 300_000]
    answers, together = scored(rows)
    assert answers == [row.upper() for row in rows]
    assert [[row[0] for row in chunk] for chunk in together] == [["a", "b", "d"], ["e"], ["f"], ["c"]]


def test_progress_counts_rows_to_the_last(recorder: Any) -> None:
    list(in_chunks(["a" * 100_000] * 5, len, lambda chunk: chunk, recorder, "test"))
    assert [done for _, done, _, _ in recorder.phases] == [2, 4, 5]
