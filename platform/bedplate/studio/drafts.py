"""What somebody has filled in so far: kept on the disk for each user, so that a reload, another window or a restart of
the server loses nothing. It goes when it is sent, and after a month.

A draft that is open in two windows is kept by the first that changes it; the other is told, and writes over nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["KEY", "REVISION", "STEP", "Drafts", "stamp"]

KEEP_SECONDS = 30 * 86400.0
MOST_BYTES = 1 << 20  # of one; a form is a few kB
MOST_DRAFTS = 50  # of a user; beyond that the oldest go
STEP = "step"  # where a draft keeps how far it is
REVISION = "draft_revision"  # where a draft keeps which writing of it this is: another one for each
KEY = "key"  # where a draft keeps what makes one job of it, however often it is sent


_saves: dict[Path, list[Callable[[], None]]] = {}  # of windows that show a draft, by its file


class Drafts:
    """The drafts of one user below a folder. Names are digests: nothing a user says becomes a path."""

    def __init__(self, folder: Path, user: str) -> None:
        self._folder = folder / hashlib.sha256(user.encode()).hexdigest()[:32]

    def read(self, name: str) -> dict[str, Any]:
        """What was kept under this name; nothing where that is not there or cannot be read.

        Windows that show it save first: a reload shows what was typed right before it.
        """
        for save in tuple(_saves.get(self._path(name), ())):
            save()
        return self._load(name)

    def save_first(self, name: str, save: Callable[[], None]) -> Callable[[], None]:
        """Call `save`, of a window that shows this draft, before it is read. The answer ends that."""
        path = self._path(name)
        _saves.setdefault(path, []).append(save)

        def end() -> None:
            _saves[path].remove(save)
            if not _saves[path]:
                del _saves[path]

        return end

    def _load(self, name: str) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            found = json.loads(self._path(name).read_bytes())
            return found if isinstance(found, dict) else {}
        return {}

    def update(self, name: str, draft: dict[str, Any]) -> bool:
        """Write a draft that was read here, with its next revision. False where somebody else wrote or dropped it since
        then: it stays as they left it.
        """
        if self._load(name).get(REVISION) != draft.get(REVISION):
            return False
        self.write(name, {**draft, REVISION: secrets.token_hex(8)})
        draft |= {key: value for key, value in self._load(name).items() if key == REVISION}
        return True

    def write(self, name: str, values: Mapping[str, Any]) -> None:
        """Keep it. One that cannot be written, for want of room, is simply not kept: nothing of anybody's is lost."""
        text = json.dumps(values).encode()
        if len(text) > MOST_BYTES:
            return
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self._path(name)
            part = path.with_suffix(f".{os.getpid()}.part")
            part.write_bytes(text)
            part.replace(path)
            self._sweep()

    def drop(self, name: str) -> None:
        """It was sent, or is not wanted any more."""
        with suppress(OSError):
            self._path(name).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Old ones go, and those beyond the most that a user has."""
        aged = sorted(((path.stat().st_mtime, path) for path in self._folder.iterdir()), reverse=True)
        for place, (changed, path) in enumerate(aged):
            if place >= MOST_DRAFTS or changed < time.time() - KEEP_SECONDS:
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def stamp(draft: dict[str, Any]) -> None:
    """Give a draft its key, for `client_key`: the same while it says the same, another one once it changed."""
    said = {name: value for name, value in draft.items() if name not in (STEP, KEY, REVISION)}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]
    own = str(draft.get(KEY) or "").partition("-")[0] or secrets.token_hex(12)
    draft[KEY] = f"{own}-{digest}"
