"""Folders that exist for a while, below the registry's root: what is looked at before it is published."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from . import durable
from .model_versions import FileEntry
from .registry import Registry

__all__ = ["staged"]


@contextmanager
def staged(registry: Registry, files: Iterable[FileEntry] = ()) -> Iterator[Path]:
    """A folder with these files of the store, as links."""
    root = durable.make_folder(registry.root / "staging")
    folder = Path(mkdtemp(dir=root))
    try:
        yield registry.models.stage(files, folder)
    finally:
        shutil.rmtree(folder)
