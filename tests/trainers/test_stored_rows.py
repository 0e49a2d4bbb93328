"""Rows that are on disk and not in memory."""

import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bedplate_registry import durable
from bedplate_registry.errors import Unavailable
from bedplate_trainers import stored_rows
from bedplate_trainers.data import Example, read_examples
from bedplate_trainers.messages import DataFile
from bedplate_trainers.stored_rows import store, take

ROWS = [Example(number, f"text {number} é\x00\n", None, ("a",) if number % 2 else ()) for number in range(1, 500)]


def open_files() -> int:
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_stored_rows_are_read_as_they_were_in_any_order():
    stored = store(iter(ROWS))
    assert len(stored) == len(ROWS)
    assert list(stored) == ROWS
    assert [stored[place] for place in (498, 0, -1, 7)] == [ROWS[place] for place in (498, 0, -1, 7)]
    assert stored[10:20] == ROWS[10:20]
    assert stored[::-100] == ROWS[::-100]
    assert ROWS[3] in stored
    with pytest.raises(IndexError):
        stored[499]


def test_some_of_the_rows_are_taken_in_the_order_that_is_asked_for():
    stored = store(ROWS)
    some = stored.take([5, 3, 3])
    assert list(some) == [ROWS[5], ROWS[3], ROWS[3]]
    assert list(some.take([2])) == [ROWS[3]]
    assert list(take(ROWS, [5, 3])) == list(take(stored, [5, 3]))
    assert not stored.take([])


def test_rows_outlive_what_they_were_taken_from_and_the_file_is_closed_with_the_last_of_them():
    before = open_files()
    some = store(ROWS).take([1])
    assert open_files() == before + 1
    assert list(some) == [ROWS[1]]
    del some
    assert open_files() == before


def test_several_threads_read_the_same_rows():
    stored = store(ROWS)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: list(stored) == ROWS, range(20)))


def test_rows_are_kept_in_the_folder_that_is_asked_for_and_leave_nothing_behind(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(stored_rows, "_folder", None)
    (tmp_path / "rows").mkdir()
    stored_rows.keep_rows_in(tmp_path / "rows")
    stored = store(ROWS)
    assert list((tmp_path / "rows").iterdir()) == []
    (tmp_path / "rows").rmdir()
    assert stored[0] == ROWS[0]
    with pytest.raises(FileNotFoundError):
        store(ROWS)


def test_a_full_disk_is_said_as_such(monkeypatch):
    def full(operation: str, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "fault_hook", full)
    with pytest.raises(Unavailable) as said:
        store(ROWS)
    assert (said.value.code, "Make room" in said.value.hint) == ("disk-full", True)


def test_a_table_of_many_rows_takes_a_few_bytes_of_memory_a_row(tmp_path: Path):
    path, rows = tmp_path / "rows.csv", 20_000
    path.write_text("sentence1,label\n" + "".join(f"{'a long text ' * 20}{n},{n % 3}\n" for n in range(rows)))
    read_examples(DataFile(path, "csv"), {}, "The data")  # what is imported on use
    gc.collect()
    tracemalloc.start()
    try:
        table = read_examples(DataFile(path, "csv"), {}, "The data")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table) == rows
    assert kept / rows < 40
