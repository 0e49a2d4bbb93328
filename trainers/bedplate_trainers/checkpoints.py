"""Checkpoints on disk: which are complete, and which to resume from.

    work/checkpoint-120/model.safetensors, optimizer.pt, …    written by the trainer, in any order
    work/checkpoint-120/complete.json                         size and digest of each, written last: the commit mark

A checkpoint without its mark, or with a file of another size, is not one: a run that died while writing leaves such.
Before a run goes on from one, its digests are checked too: a disk may give back other bytes than it was given.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bedplate_registry import durable

__all__ = [
    "MARK",
    "best_of",
    "complete_checkpoints",
    "discard_incomplete",
    "is_complete",
    "is_sound",
    "keep_resumable",
    "mark_complete",
    "prune",
    "read_state",
]

MARK = "complete.json"
STATE = "trainer_state.json"
HASHED_TOGETHER = 4


def mark_complete(checkpoint: Path) -> None:
    """Makes what was written durable, then says so."""
    paths = _files(checkpoint)
    with ThreadPoolExecutor(HASHED_TOGETHER) as pool:
        described = dict(zip([path.name for path in paths], pool.map(_flush_and_describe, paths), strict=True))
    durable.write_json(checkpoint / MARK, {"files": described})


def is_complete(checkpoint: Path) -> bool:
    """By the sizes of its files, which is quick."""
    described = _read_mark(checkpoint)
    sizes = {name: file.get("size") for name, file in described.items()}
    return bool(sizes) and sizes == {path.name: path.stat().st_size for path in _files(checkpoint)}


def is_sound(checkpoint: Path) -> bool:
    """By the digests of its files, which reads all of them."""
    described = _read_mark(checkpoint)
    with ThreadPoolExecutor(HASHED_TOGETHER) as pool:
        digests = dict(pool.map(lambda path: (path.name, _digest(path)), _files(checkpoint)))
    return digests == {name: file.get("sha256") for name, file in described.items()}


def complete_checkpoints(work_dir: Path) -> list[Path]:
    """All complete ones, the latest step first."""
    return sorted(filter(is_complete, _checkpoints(work_dir)), key=_step, reverse=True)


def discard_incomplete(work_dir: Path) -> list[str]:
    """Removes what a dying run left half written; the names of what was removed."""
    return _discard([path for path in _checkpoints(work_dir) if not is_complete(path)])


def keep_resumable(work_dir: Path) -> list[str]:
    """Removes what is damaged, and what is later than the checkpoint to go on from; the names of what was removed.

    That is the latest one whose best is there too, since the run may end with it; else the latest of all.
    """
    complete = complete_checkpoints(work_dir)
    sound = [path for path in complete if is_sound(path)]
    names = {path.name for path in sound}
    resumable = [path for path in sound if best_of(path) in names] or sound
    latest = _step(resumable[0]) if resumable else -1
    return _discard([path for path in complete if path.name not in names or _step(path) > latest])


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


def best_of(checkpoint: Path) -> str:
    """The name of the best checkpoint as far as this one knows: its own, where nothing was judged."""
    best = read_state(checkpoint).get("best_model_checkpoint")
    return Path(str(best)).name if best else checkpoint.name


def _checkpoints(work_dir: Path) -> list[Path]:
    return [path for path in work_dir.glob("checkpoint-*") if path.is_dir() and path.name[11:].isdigit()]


def _files(checkpoint: Path) -> list[Path]:
    return [path for path in sorted(checkpoint.iterdir()) if path.is_file() and path.name != MARK]


def _discard(checkpoints: list[Path]) -> list[str]:
    for path in checkpoints:
        shutil.rmtree(path)
    return sorted(path.name for path in checkpoints)


def _read_mark(checkpoint: Path) -> dict[str, dict[str, Any]]:
    """What the mark says of each file; nothing where it is missing or damaged."""
    try:
        described = json.loads((checkpoint / MARK).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    is_right = isinstance(described, dict) and all(isinstance(file, dict) for file in described.values())
    return described if is_right else {}


def _flush_and_describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return {"size": path.stat().st_size, "sha256": _digest(path)}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name[11:])
