"""The files of a folder on this machine that is imported: which there are, and their copies in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from .blobs import Blobs
from .errors import Refused
from .models import FileEntry
from .names import check_file_path
from .plans import ADAPTER_FILES, is_adapter
from .progress import Reporter

__all__ = ["FolderFile", "copy_files", "folder_digest", "list_folder"]


@dataclass(frozen=True)
class FolderFile:
    """A file of a folder on this machine."""

    path: str
    size_bytes: int
    real: Path


def list_folder(folder: Path) -> list[FolderFile]:
    """The files that are not hidden. An adapter beside its base is listed where adapters are kept. Raises Refused."""
    if not folder.is_dir():
        raise Refused(
            f"{folder.name!r} is not a folder.", hint="Give the folder that holds config.json.", code="no-folder"
        )
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_file() and not any(part.startswith(".") for part in relative.split("/")):
            found.append(FolderFile(check_file_path(relative), path.stat().st_size, _real(path, folder)))
    return _with_adapter_apart(found)


def copy_files(blobs: Blobs, files: Iterable[FolderFile], reporter: Reporter) -> list[FileEntry]:
    """The files in the store."""
    files = list(files)
    total, done, taken = sum(file.size_bytes for file in files), 0, []

    def count(size: int) -> None:
        nonlocal done
        done += size
        reporter.progress("copy", done, total, "bytes")

    for file in files:
        blob = blobs.put_file(file.real, on_bytes=count)
        taken.append(FileEntry(file.path, blob.size_bytes, blob.sha256))
    return taken


def folder_digest(files: Iterable[FileEntry]) -> str:
    """One digest for what a folder holds, whatever it is called and wherever it lies."""
    lines = "".join(f"{entry.path}\0{entry.sha256}\n" for entry in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _with_adapter_apart(files: list[FolderFile]) -> list[FolderFile]:
    """An adapter that lies beside its base is kept in the folder where adapters are kept (plans.ADAPTER_FILES)."""
    homes = {Path(path).name: path for path in ADAPTER_FILES}
    paths = {file.path for file in files}
    if not {"config.json", *homes} <= paths or ADAPTER_FILES[0] in paths or is_adapter(paths):
        return files
    return [replace(file, path=homes.get(file.path, file.path)) for file in files]


def _real(path: Path, folder: Path) -> Path:
    """The file itself. A link may lead only to a place in the folder, or to the blobs of the Hub cache it is in."""
    real, allowed = path.resolve(), [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        allowed.append(folder.resolve().parent.parent / "blobs")
    if not any(real.is_relative_to(root) for root in allowed):
        raise Refused(
            f"{path.relative_to(folder).as_posix()} is a link that leads out of the folder.",
            hint="Put the file itself there.",
            code="unexpected-symlink",
        )
    return real
