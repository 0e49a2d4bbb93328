"""Checkpoints: complete or not, and which are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bedplate_trainers.checkpoints import (
    MARK,
    complete_checkpoints,
    discard_incomplete,
    is_complete,
    is_sound,
    keep_resumable,
    mark_complete,
    prune,
)


def checkpoint(work: Path, step: int, *, best: int | None = None, mark: bool = True) -> Path:
    folder = work / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"w" * 100)
    (folder / "optimizer.pt").write_bytes(b"o" * 50)
    named = f"/elsewhere/checkpoint-{best}" if best else None
    (folder / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": named}))
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


def flip(checkpoint: Path) -> None:
    """One bit, in the middle of a file."""
    path = checkpoint / "optimizer.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_is_found_by_the_digests(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, 10)
    assert is_sound(folder)
    flip(folder)
    assert is_complete(folder)
    assert not is_sound(folder)


@pytest.mark.parametrize(
    ("bests", "damaged", "kept"),
    [
        ({10: None, 20: None}, (), {10, 20}),
        ({10: None, 20: None}, (20,), {10}),
        ({10: 10, 20: 10, 30: 30}, (30,), {10, 20}),
        ({10: 10, 20: 20, 30: 20}, (20,), {10}),  # 20 comes again, and 30 after it
        ({20: 10, 30: 30}, (30,), {20}),  # the best is gone whatever we do
        ({10: 10}, (10,), set()),
    ],
)
def test_a_run_goes_on_from_the_latest_whose_best_is_sound_too(
    tmp_path: Path, bests: dict[int, int | None], damaged: tuple[int, ...], kept: set[int]
) -> None:
    for step, best in bests.items():
        folder = checkpoint(tmp_path, step, best=best)
        if step in damaged:
            flip(folder)
    removed = keep_resumable(tmp_path)
    assert {int(path.name[11:]) for path in complete_checkpoints(tmp_path)} == kept
    assert removed == sorted(f"checkpoint-{step}" for step in bests.keys() - kept)
