"""Where the graph of a text encoder is kept, what it is valid for, and the note that there can be none.

    DERIVED/graph/          the graph (onnx_graph.py); it appears as a whole, by a rename
    DERIVED/no-graph.json   {"key", "reason"}: none can be made, and none is tried again for as long as the key holds

Who serves or scores with a model only reads this folder. The server writes it, so it imports neither numpy nor torch.
"""

from __future__ import annotations

import errno
import hashlib
import json
import platform
import re
import shutil
import stat
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bedplate_registry.durable import flush, make_folder, remove_file, replace_folder, temp_beside, write_json
from bedplate_registry.errors import Refused

__all__ = [
    "DATA",
    "FILES",
    "MAX_BYTES",
    "MAX_CONTEXT",
    "META",
    "MODEL",
    "NAME",
    "NO_GRAPH",
    "SAMPLES",
    "TOKENIZER",
    "clear",
    "graph_key",
    "holds_graph",
    "key_of",
    "put_graph",
    "put_reason",
    "reason_for_none",
    "sizes",
    "stamp",
]

FORMAT = 4  # one more whenever what is exported, or its key, changes
MAX_BYTES = 1_900_000_000  # of float32 weights: a graph with its weights is first one message, which ends at 2 GiB
MAX_CONTEXT = 1024  # tokens: the attention of a graph holds the square of a row's length, twelve times and more
LIBRARIES = ("onnxruntime", "tokenizers", "torch", "transformers")  # another version may read a model otherwise
NO_GRAPH = "no-graph"  # the code of Refused where a model is one of which no graph can be made
NAME, META, NOTE = "graph", "meta.json", "no-graph.json"
FILES = MODEL, DATA, TOKENIZER, SAMPLES = "packed.onnx", "packed.data", "tokenizer.json", "samples.npz"
DIGEST = re.compile(r"[0-9a-f]{64}")


def key_of(identity: str, task: str) -> dict[str, Any]:
    """What a graph is valid for: a model, a task, and this machine as it is now."""
    return {
        "format": FORMAT,
        "task": task,
        "model": identity,
        "versions": {name: version(name) for name in LIBRARIES},
        "processor": _processor(),
    }


def graph_key(derived: Path, model: Path, task: str) -> dict[str, Any]:
    """The key of the model in `model`. The server names its folders by the digest of the version's manifest, which says
    all; elsewhere names, sizes and times of the files stand in for it.
    """
    return key_of(derived.name if DIGEST.fullmatch(derived.name) else _fingerprint(model), task)


def _fingerprint(folder: Path) -> str:
    files = sorted((str(file.relative_to(folder)), file.stat()) for file in folder.rglob("*") if file.is_file())
    return _digest(json.dumps([(name, about.st_size, about.st_mtime_ns) for name, about in files]).encode())


def _processor() -> str:
    """The kernels, and so the form of the weights, are chosen by these."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return _digest(f"{platform.machine()} {features}".encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- looking


def holds_graph(derived: Path, key: dict[str, Any]) -> bool:
    """Whether a graph of this key is there, none of its files cut short; that each byte is as it was written is seen
    when it is opened.
    """
    return _is_graph(derived / NAME, key)


def _is_graph(folder: Path, key: dict[str, Any]) -> bool:
    about = _read(folder / META)
    return about.get("key") == key and about.get("sizes") == sizes(folder)


def sizes(folder: Path) -> dict[str, int | None]:
    """The bytes of each file of a graph, as META has them; None for one that is not there."""
    return {name: (folder / name).stat().st_size if (folder / name).is_file() else None for name in FILES}


def reason_for_none(derived: Path, key: dict[str, Any]) -> str | None:
    """Why there can be no graph, where that is known for this key."""
    note = _read(derived / NOTE)
    return str(note.get("reason")) if note.get("key") == key else None


def stamp(derived: Path) -> tuple[tuple[int, int] | None, ...]:
    """Another one whenever a graph or a note was put there."""
    return tuple(_stamp(file) for file in (derived / NAME / META, derived / NOTE))


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _read(file: Path) -> dict[str, Any]:
    """A JSON object; a file that is missing or damaged holds nothing."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


# --- writing


def put_graph(made: Path, derived: Path, key: dict[str, Any]) -> None:
    """The folder `made` becomes the graph of `derived`; who has the one before it open still reads that.

    A worker wrote it, who is not trusted. Raises Refused where it is anything but a graph of this key.
    """
    _check_plain(made)
    if not _is_graph(made, key):
        raise Refused("The graph is not whole, or is of another model or of other libraries.", code="bad-graph")
    make_folder(derived)
    remove_file(derived / NOTE)
    try:
        replace_folder(made, derived / NAME)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = temp_beside(derived / NAME)  # it was made on another disk
        shutil.copytree(made, copy, symlinks=True)
        for file in copy.iterdir():
            flush(file)
        replace_folder(copy, derived / NAME)


def _check_plain(folder: Path) -> None:
    """The files of a graph and nothing else: a link would have us, or a replica, read what its maker may not."""
    found = {}
    if folder.is_dir() and not folder.is_symlink():
        folder.chmod(0o700)  # it may have been left so that it cannot be moved
        found = {path.name: path.lstat().st_mode for path in folder.iterdir()}
    if set(found) != {META, *FILES} or not all(map(stat.S_ISREG, found.values())):
        raise Refused(f"{folder.name!r} does not hold the files of a graph.", code="bad-graph")


def put_reason(derived: Path, key: dict[str, Any], reason: str) -> None:
    """There is no graph for this key, and none to come; one of another key is of no use any more.

    Where there is one, nothing is written: it tells that there can be one.
    """
    if holds_graph(derived, key):
        return
    make_folder(derived)
    write_json(derived / NOTE, {"key": key, "reason": reason})
    shutil.rmtree(derived / NAME, ignore_errors=True)


def clear(derived: Path) -> None:
    """Takes away what a killed process, or an earlier release, left there half done."""
    for path in derived.iterdir():
        if path.name in (NAME, NOTE):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
