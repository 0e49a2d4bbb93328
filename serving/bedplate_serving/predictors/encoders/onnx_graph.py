"""An encoder as an ONNX graph, kept beside the model it was made of, with all that is needed to run it without torch.

    DERIVED/graph/
      meta.json        the key it is valid for, the facts of the model, the digest of each file below; written last
      packed.onnx      ids, positions, segments, type_ids (where the model has them), taken -> rows of the taken tokens
      packed.data      its weights, in the model's form and in the form this processor multiplies; mapped into memory,
                       so that replicas of one model share them
      tokenizer.json   as the library tokenizers reads it
      samples.npz      windows, and what the padded pass of torch answered to them

A graph of another model, task, processor or version of the libraries is not opened, and neither is a damaged one.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bedplate_registry.durable import flush, replace_folder, write_json
from bedplate_serving.predictors.encoders.engines import EncoderFacts, Rows, Window

__all__ = ["DATA", "MAX_CONTEXT", "MODEL", "Graph", "find_graph", "key_of", "new_graph", "publish"]

FORMAT = 2  # one more whenever what is exported changes
MAX_CONTEXT = 1024  # tokens: the attention of a graph holds the square of a row's length, twelve times and more
LIBRARIES = ("onnxruntime", "tokenizers", "torch", "transformers")  # another version may read a model otherwise
NAME, META = "graph", "meta.json"
FILES = MODEL, DATA, TOKENIZER, SAMPLES = "packed.onnx", "packed.data", "tokenizer.json", "samples.npz"


@dataclass(frozen=True)
class Graph:
    """What is kept, opened. `expected` are the rows of `samples`."""

    folder: Path
    facts: EncoderFacts
    is_pooled: bool  # whether a window has one row, of its first token
    samples: Sequence[Window]
    expected: Sequence[Rows]

    @property
    def model(self) -> Path:
        return self.folder / MODEL

    def tokenizer(self) -> Any:
        """Of the library tokenizers."""
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.folder / TOKENIZER))


def key_of(model: Path, task: str) -> dict[str, Any]:
    """What a graph is valid for."""
    return {
        "format": FORMAT,
        "task": task,
        "model": _fingerprint(model),
        "versions": {name: version(name) for name in LIBRARIES},
        "processor": _processor(),
    }


def _fingerprint(folder: Path) -> str:
    """Of names, sizes and times, an adapter's included: a version's files are never changed, and reading gigabytes
    takes seconds.
    """
    files = sorted((str(file.relative_to(folder)), file.stat()) for file in folder.rglob("*") if file.is_file())
    return _digest(json.dumps([(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]).encode())


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


def find_graph(derived: Path, model: Path, task: str) -> Graph | None:
    """The graph of this model where there is a whole one that is valid here. Raises nothing: a damaged one is none."""
    folder = derived / NAME
    try:
        meta = json.loads((folder / META).read_text())
        if meta["key"] != key_of(model, task) or meta["files"] != _digests(folder):
            return None
        facts = EncoderFacts(**{**meta["facts"], "labels": tuple(meta["facts"]["labels"])})
        return Graph(folder, facts, bool(meta["pooled"]), *_read_samples(folder / SAMPLES))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for name in FILES:
        with (folder / name).open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


@contextmanager
def new_graph(derived: Path) -> Iterator[Path]:
    """An empty folder for a graph to be made in, by one process at a time (onnx_making.py sees to that); what an
    earlier one left is removed.
    """
    folder = derived / f"{NAME}.new"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(graph: Graph, tokenizer: Any, key: dict[str, Any], derived: Path) -> None:
    """The graph, whose MODEL and DATA are in its folder, is completed and takes the place of the one that was there,
    which whoever has it open still reads.
    """
    folder = graph.folder
    tokenizer.save(str(folder / TOKENIZER))
    _write_samples(folder / SAMPLES, graph.samples, graph.expected)
    for name in FILES:
        flush(folder / name)
    about = {"key": key, "facts": asdict(graph.facts), "pooled": graph.is_pooled, "files": _digests(folder)}
    write_json(folder / META, about)
    replace_folder(folder, derived / NAME)


def _write_samples(path: Path, samples: Sequence[Window], rows: Sequence[Rows]) -> None:
    np.savez(
        path,
        lengths=[sample.length for sample in samples],
        ids=np.concatenate([sample.ids for sample in samples]),
        type_ids=np.concatenate([sample.type_ids or () for sample in samples]).astype(np.int64),
        take=[list(sample.take or ()) for sample in samples],
        rows=np.stack(rows),
    )


def _read_samples(path: Path) -> tuple[list[Window], list[Rows]]:
    with np.load(path, allow_pickle=False) as arrays:
        lengths, take, rows = arrays["lengths"].tolist(), arrays["take"].tolist(), arrays["rows"]
        ids, type_ids = arrays["ids"].tolist(), arrays["type_ids"].tolist()
    ends = np.cumsum(lengths).tolist()
    parts = [slice(start, end) for start, end in pairwise([0, *ends])]
    samples = [
        Window(length=length, ids=ids[part], type_ids=type_ids[part] or None, take=places)
        for length, part, places in zip(lengths, parts, take, strict=True)
    ]
    return samples, list(rows)
