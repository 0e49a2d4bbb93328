"""Checkpoints on disk: which are complete, and which to resume from.

    work/checkpoint-120/model.safetensors, optimizer.pt, …    written by the trainer, in any order
    work/checkpoint-120/complete.json                         sizes of all of them, written last: the commit mark

A checkpoint without its mark, or with a file of another size, is not one: a run that died while writing leaves such.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from bedplate_registry import durable

__all__ = ["MARK", "complete_checkpoints", "discard_incomplete", "is_complete", "mark_complete", "prune", "read_state"]

MARK = "complete.json"
STATE = "trainer_state.json"


def mark_complete(checkpoint: Path) -> None:
    """Makes what was written durable, then says so."""
    sizes = {}
    for path in _files(checkpoint):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sizes[path.name] = path.stat().st_size
    durable.write_json(checkpoint / MARK, {"files": sizes})


def is_complete(checkpoint: Path) -> bool:
    try:
        sizes = json.loads((checkpoint / MARK).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(sizes == {path.name: path.stat().st_size for path in _files(checkpoint)})


def complete_checkpoints(work_dir: Path) -> list[Path]:
    """All complete ones, the latest step first."""
    return sorted(filter(is_complete, _checkpoints(work_dir)), key=_step, reverse=True)


def discard_incomplete(work_dir: Path) -> list[str]:
    """Removes what a dying run left half written; the names of what was removed."""
    broken = [path for path in _checkpoints(work_dir) if not is_complete(path)]
    for path in broken:
        shutil.rmtree(path)
    return sorted(path.name for path in broken)


def prune(work_dir: Path, limit: int, best: str | None) -> None:
    """Keeps `limit` complete checkpoints: the best, the latest, and those just before it.

    Called after the new one has its mark, so that there is a complete one at every moment.
    """
    complete = complete_checkpoints(work_dir)
    kept = {path.name for path in complete if path.name == best} | {path.name for path in complete[:1]}
    for path in complete:
        if len(kept) < limit:
            kept.add(path.name)
        if path.name not in kept:
            shutil.rmtree(path)


def read_state(checkpoint: Path) -> dict[str, object]:
    """The trainer's own account of how far it was."""
    return dict(json.loads((checkpoint / STATE).read_text()))


def _checkpoints(work_dir: Path) -> list[Path]:
    return [path for path in work_dir.glob("checkpoint-*") if path.is_dir() and path.name[11:].isdigit()]


def _files(checkpoint: Path) -> list[Path]:
    return [path for path in sorted(checkpoint.iterdir()) if path.is_file() and path.name != MARK]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name[11:])
