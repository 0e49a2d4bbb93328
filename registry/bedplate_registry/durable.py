"""Every durable write of every floor goes through here, so that a fault can be injected at each of them.

An operation is one thing the disk does: write, fsync, rename, fsync of a folder. `fault_hook`, if set, is called with
"before write", "after write" … and the path. It may raise an OSError (a full disk) or kill the process; what is on the
disk then must read as either the old or the new state.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from .errors import Unavailable

__all__ = [
    "append_line",
    "flush",
    "make_folder",
    "publish_folder",
    "read_lines",
    "remove_file",
    "remove_folder",
    "rename",
    "replace_folder",
    "write_bytes",
    "write_chunk",
    "write_json",
    "writing",
]

fault_hook: Callable[[str, Path], None] | None = None


def write_bytes(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put `data` at `path` so that a reader sees the old bytes or the new ones, never a part."""
    temp = temp_beside(path)
    try:
        with _operation("write", temp), _create(temp, mode) as file:
            file.write(data)
        flush(temp)
        rename(temp, path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, *, mode: int = 0o644) -> None:
    """Put `value` at `path` as readable JSON with sorted keys."""
    write_bytes(path, json_bytes(value), mode=mode)


def json_bytes(value: Any) -> bytes:
    """Half a surrogate pair, which a text of somebody's JSON may hold and UTF-8 cannot, is written as JSON's escape."""
    text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    return (text + "\n").encode(errors="backslashreplace")


def append_line(path: Path, line: str) -> None:
    """Add one line to `path` in one write. A line torn by a crash stays alone: the next one starts afresh."""
    assert "\n" not in line
    is_new = not path.exists()
    data = line.encode() + b"\n"
    with _operation("append", path):
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                data = b"\n" + data
            os.write(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
    if is_new:
        _sync_folder(path.parent)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file written by `append_line`. A torn line was never acknowledged, and is left out."""
    found = []
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def write_chunk(file: BinaryIO, data: bytes, path: Path) -> None:
    """One piece of a long write; `flush` makes the whole durable."""
    with _operation("write", path):
        file.write(data)


def flush(path: Path) -> None:
    """Wait until what was written at `path` is on the disk."""
    with _operation("fsync", path):
        _fsync(path, os.O_RDONLY)


def rename(source: Path, target: Path) -> None:
    """Give a finished file its name, replacing what was there, and make the name durable."""
    with _operation("rename", target):
        source.replace(target)
    _sync_folder(target.parent)


def publish_folder(temp: Path, final: Path) -> None:
    """Give a finished folder its name. Its files are durable already; FileExistsError where `final` is taken."""
    for folder in [path for path in temp.rglob("*") if path.is_dir() and not path.is_symlink()]:
        _sync_folder(folder)
    _sync_folder(temp)
    if final.exists():
        raise FileExistsError(errno.EEXIST, "a published folder is never replaced", str(final))
    with _operation("rename", final):
        temp.rename(final)
    _sync_folder(final.parent)
    if temp.parent != final.parent:
        _sync_folder(temp.parent)


def replace_folder(temp: Path, final: Path) -> None:
    """Put `temp` where `final` is. Between two renames there is no `final`: only for views that can be rebuilt."""
    old = temp_beside(final)
    if final.exists() or final.is_symlink():
        with _operation("rename", old):
            final.rename(old)
    publish_folder(temp, final)
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old)
    else:
        old.unlink(missing_ok=True)


def make_folder(path: Path) -> Path:
    """Make `path` and its parents, each durable in its parent."""
    if path.is_dir():
        return path
    make_folder(path.parent)
    with _operation("mkdir", path):
        path.mkdir(exist_ok=True)
    _sync_folder(path.parent)
    return path


def remove_file(path: Path) -> None:
    """Take a file away, durably; none there is well too."""
    with _operation("unlink", path):
        path.unlink(missing_ok=True)
    _sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Take a folder away: first its name, at once, then what is in it."""
    gone = temp_beside(path)
    with _operation("rename", gone):
        path.rename(gone)
    _sync_folder(path.parent)
    shutil.rmtree(gone)


def temp_beside(path: Path) -> Path:
    """A new name in the same folder (the same file system), which every reader skips: it starts with a dot."""
    return path.parent / f".tmp-{secrets.token_hex(8)}"


def _sync_folder(path: Path) -> None:
    with _operation("fsync-folder", path):
        _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def _fsync(path: Path, flags: int) -> None:
    handle = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _create(path: Path, mode: int) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around writes by other means than these functions: a full or failing disk is Unavailable here too."""
    with _operation("write", path):
        yield


@contextmanager
def _operation(name: str, path: Path) -> Iterator[None]:
    try:
        if fault_hook is not None:
            fault_hook(f"before {name}", path)
        yield
        if fault_hook is not None:
            fault_hook(f"after {name}", path)
    except OSError as exc:
        raise _explained(exc) from exc


def _explained(exc: OSError) -> Exception:
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(
            "The disk that holds the registry is full.",
            hint="Make room on the disk that holds BEDPLATE_HOME, then run the same command again.",
            code="disk-full",
        )
    if exc.errno == errno.EIO:
        return Unavailable(
            "The disk that holds the registry reported an input/output error.",
            hint="Check the disk (dmesg, smartctl) before going on: what was last written may be lost.",
            code="disk-error",
        )
    if exc.errno in (errno.EMFILE, errno.ENFILE):
        return Unavailable(
            "Too many files are open.", hint="Raise the limit (ulimit -n) or do less at once.", code="too-many-files"
        )
    return exc
