"""Which names of a store changed lately: <root>/.changes, one line for each change of a name, in their order.

It spares whoever keeps an index of the store a look at every folder. It is a hint and no record: it is not synced, and
where it is missing, was begun anew or is not understood, anything may have changed.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from .errors import Refused
from .names import Name

__all__ = ["changed_since", "note_change"]

FILE = ".changes"


def note_change(root: Path, name: Name) -> None:
    """Say that something under this name is new, different or gone. Called after the change."""
    path = root / FILE
    try:
        with path.open("ab", buffering=0) as file:
            file.write(f"{name}\n".encode())
    except OSError:  # a full disk; the change itself stands, so that there is no log any more is all that may be said
        with suppress(OSError):
            path.unlink(missing_ok=True)


def changed_since(root: Path, mark: str) -> tuple[set[Name] | None, str]:
    """The names that changed since this mark was given, and the next mark. None: any of them may have.

    The first mark is the empty text. With a mark that was given before a name is read, no change of it is missed.
    """
    path = root / FILE
    try:
        with path.open("ab+", buffering=0) as file:
            inode, size = path.stat().st_ino, file.tell()
            start = _offset(mark, inode, size)
            file.seek(start or 0)
            lines = file.read(size - start) if start is not None else b""
    except OSError:  # there is no store yet, or one that cannot be written to
        return None, ""
    if start is None or (lines and not lines.endswith(b"\n")):
        return None, f"{inode}:{size}"
    try:
        return {Name.parse(line) for line in lines.decode().splitlines()}, f"{inode}:{size}"
    except (Refused, UnicodeDecodeError):
        return None, f"{inode}:{size}"


def _offset(mark: str, inode: int, size: int) -> int | None:
    """Where to read on; None where the mark is of another file than this one."""
    known, _, offset = mark.partition(":")
    return int(offset) if known == str(inode) and int(offset) <= size else None
