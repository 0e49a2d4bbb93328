"""What a power cut would leave on the disk, from a record of what was written and of what was waited for.

SIGKILL cannot show a missing fsync: what a dead process wrote is still there. So the record follows `durable`'s hook,
and gives two trees at each operation:

    dropped    nothing but what was waited for: the bytes of files and the names in folders as at their last fsync
    reordered  the names as they are now, the bytes as at their last fsync: what a journaling file system may do
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Record", "Tree", "lay_out"]


@dataclass(frozen=True)
class Tree:
    """A folder as it would be found, by inodes. What was never waited for is empty."""

    root: int
    folders: dict[int, dict[str, int]]
    files: dict[int, bytes]
    links: dict[int, str]
    are_folders: frozenset[int]


class Record:
    """All of `root` is on the disk when the record begins. `at` is then told of each operation, as `fault_hook` is."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._held: dict[int, int] = {}  # each inode open, so that its number is not given to another file
        self._links: dict[int, str] = {}
        self._are_folders: set[int] = set()
        self._folders = self._now()
        self._files = {path.stat().st_ino: path.read_bytes() for path in root.rglob("*") if _is_plain(path)}
        self.trees: list[tuple[str, Tree]] = []
        self._last: dict[str, Tree] = {}

    def at(self, name: str, path: Path) -> None:
        now = self._now()
        when, _, operation = name.partition(" ")
        if when == "after" and operation in ("fsync", "append"):
            self._files[path.stat().st_ino] = path.read_bytes()
        if when == "after" and operation == "fsync-folder":
            self._folders[path.stat().st_ino] = now[path.stat().st_ino]
        self._add("dropped", name, self._folders)
        self._add("reordered", name, now)

    def end(self) -> None:
        """What is left when the cut comes after the act was acknowledged."""
        self._last.clear()
        self.at("end", self._root)

    def close(self) -> None:
        for handle in self._held.values():
            os.close(handle)

    def _add(self, kind: str, name: str, folders: dict[int, dict[str, int]]) -> None:
        root, are_folders = self._root.stat().st_ino, frozenset(self._are_folders)
        tree = Tree(root, {**folders}, {**self._files}, {**self._links}, are_folders)
        if tree != self._last.get(kind):
            self.trees.append((f"{name}, {kind}", tree))
            self._last[kind] = tree

    def _now(self) -> dict[int, dict[str, int]]:
        """The names in all folders as they are."""
        found = {}
        for place in [self._root, *(path for path in self._root.rglob("*") if path.is_dir() and not path.is_symlink())]:
            paths = [place, *place.iterdir()]
            for path in paths:
                self._hold(path)
            self._are_folders.add(place.stat().st_ino)
            found[place.stat().st_ino] = {path.name: path.lstat().st_ino for path in paths[1:]}
        return found

    def _hold(self, path: Path) -> None:
        inode = path.lstat().st_ino
        if inode in self._held:
            return
        self._held[inode] = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        if path.is_symlink():
            self._links[inode] = str(path.readlink())


def lay_out(tree: Tree, target: Path) -> None:
    """Make a folder that is as the tree."""
    shutil.rmtree(target, ignore_errors=True)
    _lay_out(tree, tree.root, target)


def _lay_out(tree: Tree, inode: int, target: Path) -> None:
    if inode in tree.links:
        target.symlink_to(tree.links[inode])
    elif inode in tree.are_folders:
        target.mkdir()
        for name, inside in tree.folders.get(inode, {}).items():
            _lay_out(tree, inside, target / name)
    else:
        target.write_bytes(tree.files.get(inode, b""))


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
