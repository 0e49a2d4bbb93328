"""A folder of links into the store, so that whoever takes paths finds files under their names.

It is made from a manifest, and made again where a link is missing or wrong. Nothing is kept in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from . import durable
from .blobs import Blobs
from .model_versions import FileEntry
from .names import check_file_path

__all__ = ["is_linked", "link_files", "relink"]


def link_files(blobs: Blobs, files: Iterable[FileEntry], folder: Path, seen_from: Path) -> None:
    """Make the view at `folder`, with links that are right once it lies at `seen_from`."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in files:
        link = folder / check_file_path(entry.path)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(_target(blobs, entry, seen_from))


def is_linked(blobs: Blobs, files: Iterable[FileEntry], folder: Path) -> bool:
    links = ((folder / entry.path, _target(blobs, entry, folder)) for entry in files)
    return folder.is_dir() and all(link.is_symlink() and str(link.readlink()) == target for link, target in links)


def relink(blobs: Blobs, files: Iterable[FileEntry], folder: Path) -> Path:
    """See to it that the view at `folder` is right."""
    files = tuple(files)
    if not is_linked(blobs, files, folder):
        temp = durable.temp_beside(folder)
        link_files(blobs, files, temp, folder)
        durable.replace_folder(temp, folder)
    return folder


def _target(blobs: Blobs, entry: FileEntry, folder: Path) -> str:
    return os.path.relpath(blobs.path(entry.sha256), (folder / entry.path).parent)
