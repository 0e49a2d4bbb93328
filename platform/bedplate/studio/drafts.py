"""What somebody has filled in so far: kept on the disk for each user, so that a reload, another window or a restart of
the server loses nothing. It goes when it is sent, and after a month.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["Drafts"]

KEEP_SECONDS = 30 * 86400.0
MOST_BYTES = 1 << 20  # of one; a form is a few kB


class Drafts:
    """The drafts of one user below a folder. Names are digests: nothing a user says becomes a path."""

    def __init__(self, folder: Path, user: str) -> None:
        self._folder = folder / hashlib.sha256(user.encode()).hexdigest()[:32]

    def read(self, name: str) -> dict[str, Any]:
        """What was kept under this name; nothing where that is not there or cannot be read."""
        with suppress(OSError, ValueError):
            found = json.loads(self._path(name).read_bytes())
            return found if isinstance(found, dict) else {}
        return {}

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

    def drop(self, name: str) -> None:
        """It was sent, or is not wanted any more. Old ones go too."""
        with suppress(OSError):
            self._path(name).unlink(missing_ok=True)
            for path in self._folder.iterdir():
                if path.stat().st_mtime < time.time() - KEEP_SECONDS:
                    path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
