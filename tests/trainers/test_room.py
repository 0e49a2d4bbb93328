"""A full disk makes a run wait. The disk is real, and small."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bedplate_registry.errors import NoRoom
from bedplate_registry.progress import SILENT
from bedplate_trainers import room
from bedplate_trainers.finetune import FinetuneRequest, finetune
from bedplate_trainers.room import is_disk_full, save_with_patience
from full_disk import fill, small_disk

WEIGHTS = {"weights": torch.zeros(50_000)}  # 200 kB


def save_tensors(folder: Path) -> None:
    folder.mkdir()
    save_file(WEIGHTS, folder / "model.safetensors")


def save_archive(folder: Path) -> None:
    folder.mkdir()
    torch.save(WEIGHTS, folder / "optimizer.pt")


def save_bytes(folder: Path) -> None:
    folder.mkdir()
    (folder / "state.json").write_bytes(b"x" * 200_000)


def free_when_told(recorder: Any, ballast: Path) -> None:
    """Makes room once the recorder hears that there is none."""
    hear = recorder.message

    def message(text: str) -> None:
        hear(text)
        ballast.unlink()

    recorder.message = message


@pytest.mark.parametrize("save", [save_tensors, save_archive, save_bytes])
def test_what_did_not_fit_is_written_whole_when_there_is_room(
    tmp_path: Path, save: Callable[[Path], None], recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "AGAIN_SECONDS", 0.01)
    with small_disk(tmp_path / "disk", 500) as disk:
        free_when_told(recorder, fill(disk, leave_kilobytes=100))
        save_with_patience(lambda: save(disk / "checkpoint-7"), disk / "checkpoint-7", recorder)
        (file,) = (disk / "checkpoint-7").iterdir()
        assert file.stat().st_size >= 200_000
    (message,) = recorder.messages
    assert message.startswith("The disk is full: checkpoint-7 could not be written (0 MB are free).")


def test_patience_has_an_end(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 100) as disk:
        with pytest.raises(NoRoom, match="The disk that holds model stayed full"):
            save_with_patience(lambda: save_bytes(disk / "model"), disk / "model", None, patience_seconds=0)
        assert not (disk / "model").exists()


def test_other_errors_are_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_with_patience(lambda: save_bytes(tmp_path / "none" / "model"), tmp_path / "none" / "model", None)
    assert is_disk_full(OSError(errno.EDQUOT, "quota"))
    assert not is_disk_full(OSError(errno.EACCES, "no"))
    assert not is_disk_full(RuntimeError("CUDA error"))


def test_a_run_on_a_full_disk_pauses_and_ends_as_one_with_room(
    make_request: Callable[..., FinetuneRequest],
    synthetic: Callable[..., Any],
    recorder: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "AGAIN_SECONDS", 0.01)
    settings = {"max_steps": 8, "save_steps": 4, "per_device_train_batch_size": 8, "eval_strategy": "no"}
    request = make_request(synthetic(40), validation=None, test=None, settings=settings)
    finetune(request, SILENT, resume=False)
    expected = (request.output_dir / "model.safetensors").read_bytes()

    with small_disk(tmp_path / "disk", 20 * len(expected) // 1024) as disk:
        hear = recorder.progress

        def progress(phase: str, done: float, *more: Any) -> None:
            hear(phase, done, *more)
            if (phase, done) == ("train", 3):
                free_when_told(recorder, fill(disk, leave_kilobytes=100))

        recorder.progress = progress
        small = replace(request, work_dir=disk / "work", output_dir=tmp_path / "other")
        finetune(small, recorder, resume=False)
    assert (small.output_dir / "model.safetensors").read_bytes() == expected
    assert [text.partition(":")[0] for text in recorder.messages] == ["The disk is full"]
    assert ("wait for disk", 1, 0, "tries") in recorder.phases
