"""A folder of links into the store, so that whoever takes paths finds files under their names.

It is made from a manifest, and made again where a link is missing or wrong. Nothing is kept in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import durable
from .blobs import Blobs
from .model_versions import FileEntry
from .names import check_file_path

__all__ = ["is_linked", "link_files", "relink"]


def link_files(blobs: Blobs, files: Sequence[FileEntry], folder: Path, seen_from: Path) -> None:
    """Make the view at `folder`, with links that are right once it lies at `seen_from`."""
    for parent in {check_file_path(entry.path).rpartition("/")[0] for entry in files}:
        (folder / parent).mkdir(parents=True, exist_ok=True)
    for path, target in _links(blobs, files, seen_from):
        (folder / path).symlink_to(target)


def is_linked(blobs: Blobs, files: Sequence[FileEntry], folder: Path) -> bool:
    try:
        return all(str((folder / path).readlink()) == target for path, target in _links(blobs, files, folder))
    except OSError:  # it is not there, or is no link
        return False


def relink(blobs: Blobs, files: Sequence[FileEntry], folder: Path) -> Path:
    """See to it that the view at `folder` is right."""
    if not is_linked(blobs, files, folder):
        temp = durable.temp_beside(folder)
        link_files(blobs, files, temp, folder)
        durable.replace_folder(temp, folder)
    return folder


def _links(blobs: Blobs, files: Sequence[FileEntry], folder: Path) -> Iterator[tuple[str, str]]:
    """The path of each link and what it leads to. There may be many, so the way to the store is found once a folder."""
    root, ways = str(blobs.root), dict[str, str]()
    for entry in files:
        parent = entry.path.rpartition("/")[0]
        if parent not in ways:
            ways[parent] = os.path.relpath(root, folder / parent)
        yield entry.path, ways[parent] + str(blobs.path(entry.sha256)).removeprefix(root)
