"""Safetensors in place of the pickles of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .errors import Refused
from .model_versions import FileEntry
from .plans import check_room, is_pickle, is_safetensors
from .progress import Reporter
from .registry import Registry
from .staging import staged

__all__ = ["Convert", "convert_pickles"]

# Reads the pickles in the first folder and writes safetensors to the second: gives the versions of what did it.
Convert = Callable[[Path, Path], dict[str, str]]


def convert_pickles(
    registry: Registry, files: tuple[FileEntry, ...], convert: Convert, reporter: Reporter
) -> tuple[list[FileEntry], dict[str, Any]]:
    """The files with safetensors for pickles, and the lineage. The pickles stay in the store until the next gc."""
    pickles = [entry for entry in files if is_pickle(entry.path)]
    check_room(registry.root, sum(entry.size_bytes for entry in pickles))
    reporter.message(f"Converting {len(pickles)} pickles to safetensors")
    with staged(registry, files) as folder, staged(registry) as target:
        tools = convert(folder, target)
        made = []
        for path in sorted(target.iterdir()):
            if path.is_symlink() or not path.is_file() or not is_safetensors(path.name):
                raise Refused(f"The conversion left {path.name[:80]!r}.", hint="Take another model.")
            blob = registry.blobs.put_file(path, move=True)
            made.append(FileEntry(path.name, blob.size_bytes, blob.sha256))
    kept = [entry for entry in files if entry not in pickles]
    return kept + made, {"converted_from": [asdict(entry) for entry in pickles], "converted_with": tools}
