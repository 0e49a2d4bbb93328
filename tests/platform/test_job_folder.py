"""The folder of a job: what an attempt writes, what the owner believes, what a kill leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bedplate.job_folder import DamagedFolder, EventReader, JobFolder, JobReporter
from full_disk import fill, small_disk


def made(path: Path) -> JobFolder:
    folder = JobFolder(path / "job")
    folder.create({"kind": "x"})
    return folder


def test_progress_of_an_older_attempt_is_not_shown(tmp_path: Path) -> None:
    folder = made(tmp_path)
    JobReporter(folder, 1).progress("train", 5, 10, "steps")
    assert folder.last_progress(2) is None
    JobReporter(folder, 2).progress("train", 7, 10, "steps")
    shown = folder.last_progress(2)
    assert shown is not None
    assert (shown["done"], shown["percent"]) == (7, 70.0)


def test_sequence_numbers_go_on_across_attempts(tmp_path: Path) -> None:
    folder = made(tmp_path)
    for epoch in (1, 2):
        reporter = JobReporter(folder, epoch)
        reporter.message("one")
        reporter.message("two")
    assert [event["seq"] for event in EventReader(folder).read()] == [1, 2, 3, 4]
    assert [event["seq"] for event in EventReader(folder, after=2).read()] == [3, 4]


def test_a_reader_gives_each_event_once_and_waits_for_a_line_that_is_half_written(tmp_path: Path) -> None:
    folder = made(tmp_path)
    reporter, reader = JobReporter(folder, 1), EventReader(folder)
    reporter.message("one")
    assert len(reader.read()) == 1
    assert reader.read() == []
    with folder.events_file.open("ab") as file:
        file.write(b'{"seq": 2, "epoch": 1, "type": "mess')
    assert reader.read() == []
    with folder.events_file.open("ab") as file:
        file.write(b'age", "text": "two"}\n')
    assert [event["text"] for event in reader.read()] == ["two"]


def test_a_step_that_two_attempts_logged_counts_once_and_the_later_one_wins(tmp_path: Path) -> None:
    folder = made(tmp_path)
    first, second = JobReporter(folder, 1), JobReporter(folder, 2)
    first.metrics(10, {"loss": 2.0})
    first.metrics(20, {"loss": 1.5})
    second.metrics(20, {"loss": 1.4})
    assert [(row["step"], row["loss"]) for row in folder.metrics()] == [(10, 2.0), (20, 1.4)]


def test_a_row_tells_its_attempt_beside_the_epoch_of_the_training(tmp_path: Path) -> None:
    folder = made(tmp_path)
    JobReporter(folder, 2).metrics(10, {"loss": 2.0, "epoch": 0.5})
    assert folder.metrics() == [{"attempt": 2, "step": 10, "loss": 2.0, "epoch": 0.5}]


def test_a_line_cut_short_by_a_kill_is_skipped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    folder = made(tmp_path)
    JobReporter(folder, 1).metrics(1, {"loss": 1.0})
    with folder.metrics_file.open("ab") as file:
        file.write(b'{"step": 2, "lo')
    assert [row["step"] for row in folder.metrics()] == [1]
    JobReporter(folder, 2).metrics(2, {"loss": 0.9})
    assert [row["step"] for row in folder.metrics()] == [1, 2]


def test_progress_comes_no_faster_than_it_can_be_read_but_the_end_of_a_phase_always_does(tmp_path: Path) -> None:
    folder = made(tmp_path)
    reporter = JobReporter(folder, 1)
    for done in range(1001):
        reporter.progress("train", done, 1000, "steps")
    events = EventReader(folder).read()
    assert len(events) < 20
    assert events[-1]["done"] == 1000


@pytest.mark.parametrize("name", ["worker.log", "events.jsonl", "metrics.jsonl", "result-1.json", "error-1.json"])
def test_a_link_that_a_worker_put_in_its_folder_is_not_followed(tmp_path: Path, name: str) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.create({})
    (tmp_path / "token").write_text("secret")
    (folder.path / name).symlink_to(tmp_path / "token")
    read = {
        "worker.log": folder.log_tail,
        "events.jsonl": EventReader(folder).read,
        "metrics.jsonl": folder.metrics,
        "result-1.json": lambda: folder.result(1),
        "error-1.json": lambda: folder.error(1),
    }[name]
    with pytest.raises(DamagedFolder):
        read()


@pytest.mark.parametrize("put", [Path.mkdir, os.mkfifo], ids=["a folder", "a pipe"])
def test_what_is_no_plain_file_is_not_read_and_holds_nobody_up(tmp_path: Path, put: Callable[[Path], None]) -> None:
    folder = made(tmp_path)
    put(folder.path / "result-1.json")
    with pytest.raises(DamagedFolder):
        folder.result(1)


def test_starting_over_follows_no_link_of_a_worker(tmp_path: Path) -> None:
    mine, other = JobFolder(tmp_path / "mine"), JobFolder(tmp_path / "other")
    for folder in (mine, other):
        folder.create({})
        (folder.checkpoints / "step").touch()
    (mine.path / "before-2").symlink_to(other.path)
    mine.start_over(1)
    assert (other.checkpoints / "step").exists()
    assert not list(mine.checkpoints.iterdir())


def test_a_line_that_is_no_event_is_passed_over(tmp_path: Path) -> None:
    folder = made(tmp_path)
    folder.events_file.write_text('5\n{"type": "progress", "epoch": 1}\n')
    assert folder.last_progress(1) == {"type": "progress", "epoch": 1}
    assert EventReader(folder).read() == []


def test_a_note_is_not_written_through_a_link(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.create({})
    (tmp_path / "routes").write_text("{}")
    folder.log.symlink_to(tmp_path / "routes")
    with pytest.raises(OSError, match="symbolic"):
        folder.note("hello")
    assert (tmp_path / "routes").read_text() == "{}"


def test_what_a_full_disk_did_not_take_is_written_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 200) as disk:
        folder = JobFolder(disk / "j1")
        folder.create({})
        reporter = JobReporter(folder, 1)
        reporter.metrics(1, {"loss": 1.0})
        ballast = fill(disk, leave_kilobytes=0)
        for step in range(2, 200):  # more than what is left of the files' last blocks takes
            reporter.metrics(step, {"loss": 1.0})
            reporter.progress("train", step, 200)
        reporter.message("The disk is full.")
        assert len(folder.metrics()) < 199
        ballast.unlink()
        reporter.metrics(200, {"loss": 1.0})
        assert [row["step"] for row in folder.metrics()] == list(range(1, 201))
        events = EventReader(folder).read()
        assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
        assert [event["text"] for event in events if event["type"] == "message"] == ["The disk is full."]
