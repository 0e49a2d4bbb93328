"""Checkpoints: complete or not, and which are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from bedplate_trainers.checkpoints import (
    MARK,
    complete_checkpoints,
    discard_incomplete,
    is_complete,
    mark_complete,
    prune,
)


def checkpoint(work: Path, step: int, *, mark: bool = True) -> Path:
    folder = work / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"w" * 100)
    (folder / "optimizer.pt").write_bytes(b"o" * 50)
    if mark:
        mark_complete(folder)
    return folder


def test_a_checkpoint_without_its_mark_is_not_complete(tmp_path: Path) -> None:
    assert not is_complete(checkpoint(tmp_path, 1, mark=False))
    assert is_complete(checkpoint(tmp_path, 2))


@pytest.mark.parametrize("damage", ["truncate", "remove", "add", "break the mark"])
def test_a_damaged_checkpoint_is_not_complete(tmp_path: Path, damage: str) -> None:
    folder = checkpoint(tmp_path, 1)
    match damage:
        case "truncate":
            (folder / "optimizer.pt").write_bytes(b"o" * 49)
        case "remove":
            (folder / "optimizer.pt").unlink()
        case "add":
            (folder / "other.pt").write_bytes(b"")
        case _:
            (folder / MARK).write_text("{")
    assert not is_complete(folder)


def test_the_latest_complete_one_comes_first_and_others_are_discarded(tmp_path: Path) -> None:
    for step in (5, 10, 20):
        checkpoint(tmp_path, step)
    checkpoint(tmp_path, 30, mark=False)
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["checkpoint-20", "checkpoint-10", "checkpoint-5"]
    assert discard_incomplete(tmp_path) == ["checkpoint-30"]
    assert not (tmp_path / "checkpoint-30").exists()


@pytest.mark.parametrize(
    ("limit", "best", "kept"),
    [(1, None, {40}), (2, None, {30, 40}), (2, 10, {10, 40}), (1, 10, {10, 40}), (3, 10, {10, 30, 40})],
)
def test_the_best_and_the_latest_are_kept(tmp_path: Path, limit: int, best: int | None, kept: set[int]) -> None:
    for step in (10, 20, 30, 40):
        checkpoint(tmp_path, step)
    prune(tmp_path, limit, f"checkpoint-{best}" if best else None)
    assert {int(path.name[11:]) for path in complete_checkpoints(tmp_path)} == kept
