"""The rows of an evaluation: chosen by what was right and what was said, a page at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bedplate_registry import evaluation_rows
from bedplate_registry.errors import Refused
from bedplate_registry.evaluation_rows import RowFilter, page_of_rows
from bedplate_registry.writers import open_writer

COLUMNS = ("row", "sentence1", "target", "predicted", "score", "right")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with open_writer(path, "parquet", list(rows[0])) as writer:
        for row in rows:
            writer.write(row)
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Forty rows; each fourth is wrong."""
    made = []
    for number in range(1, 41):
        said = "login" if number % 4 == 0 else "card"
        values = (number, f"Text {number}", "card", said, number / 40, said == "card")
        made.append(dict(zip(COLUMNS, values, strict=True)))
    return write(tmp_path / "rows.parquet", made)


def numbers(found: tuple[list[dict[str, Any]], int | None]) -> list[int]:
    return [row["row"] for row in found[0]]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (RowFilter(right=False), [*range(4, 41, 4)]),
        (RowFilter(predicted="login", score_below=0.3), [4, 8]),
        (RowFilter(target="login"), []),
        (RowFilter(contains="TEXT 4"), [4, 40]),
        (RowFilter(), [*range(1, 41)]),
    ],
)
def test_rows_are_chosen_by_everything_at_once(rows: Path, wanted: RowFilter, expected: list[int]) -> None:
    assert (numbers(found := page_of_rows(rows, wanted, 100)), found[1]) == (expected, None)


def test_pages_follow_each_other_without_a_gap(rows: Path) -> None:
    found, after, pages = [], 0, 0
    while after is not None:
        page, after = page_of_rows(rows, RowFilter(right=False), 3, after)
        found += [row["row"] for row in page]
        pages += 1
    assert (found, pages) == ([*range(4, 41, 4)], 4)


def test_a_page_of_long_rows_is_short_and_of_rare_ones_ends_early(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = [{"row": number, "source": "x" * 1000, "predicted": "y"} for number in range(1, 11)]
    monkeypatch.setattr(evaluation_rows, "MOST_BYTES", 2500)
    monkeypatch.setattr(evaluation_rows, "MOST_READ", 10)
    page, following = page_of_rows(write(tmp_path / "long.parquet", long), RowFilter(), 100)
    assert ([row["row"] for row in page], following) == ([1, 2], 2)
    assert page_of_rows(rows, RowFilter(contains="text 40"), 100) == ([], 10)


def test_one_of_several_labels_is_found_among_them(tmp_path: Path) -> None:
    several = [{"row": 1, "target": ["a", "b"], "predicted": ["a"]}, {"row": 2, "target": ["b"], "predicted": []}]
    path = write(tmp_path / "several.parquet", several)
    assert numbers(page_of_rows(path, RowFilter(target="b"), 10)) == [1, 2]
    assert numbers(page_of_rows(path, RowFilter(predicted="a"), 10)) == [1]


def test_a_damaged_file_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "ev-1" / "predictions.parquet"
    path.parent.mkdir()
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(Refused, match="'ev-1' are damaged"):
        page_of_rows(path, RowFilter(), 10)
