"""An encoder as an ONNX graph, kept with all that is needed to run it without torch.

    graph/
      meta.json        the key it is valid for, the facts of the model, size and digest of each file below; written last
      packed.onnx      ids, positions, segments, type_ids (where the model has them), taken -> rows of the taken tokens
      packed.data      its weights, in the model's form and in the form this processor multiplies; mapped into memory,
                       so that replicas of one model share them
      tokenizer.json   as the library tokenizers reads it
      samples.npz      windows, and what the padded pass of torch answered to them

A graph of another model, task, processor or version of the libraries is not opened, and neither is a damaged one.
graph_folder.py says where it lies and how it comes there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from bedplate_registry.durable import flush, write_json
from bedplate_serving.predictors.encoders.engines import EncoderFacts, Rows, Window
from bedplate_serving.predictors.encoders.graph_folder import (
    FILES,
    META,
    MODEL,
    NAME,
    SAMPLES,
    TOKENIZER,
    graph_key,
    holds_graph,
    sizes,
)

__all__ = ["Graph", "complete", "find_graph"]


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


def find_graph(derived: Path, model: Path, task: str) -> Graph | None:
    """The graph of this model where there is one that is valid here. Of a damaged one it raises anything."""
    return _read(derived / NAME) if holds_graph(derived, graph_key(derived, model, task)) else None


def _read(folder: Path) -> Graph:
    meta = json.loads((folder / META).read_bytes())
    for name, digest in _digests(folder).items():
        if meta["files"][name] != digest:
            raise ValueError(f"{name} is not as it was written")
    facts = TypeAdapter(EncoderFacts).validate_json(json.dumps(meta["facts"]), strict=True)
    return Graph(folder, facts, bool(meta["pooled"]), *_read_samples(folder / SAMPLES))


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for name in FILES:
        with (folder / name).open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def complete(graph: Graph, tokenizer: Any, key: dict[str, Any]) -> None:
    """Adds to the folder of a graph, which holds MODEL and DATA, all the rest."""
    folder = graph.folder
    tokenizer.save(str(folder / TOKENIZER))
    _write_samples(folder / SAMPLES, graph.samples, graph.expected)
    for name in FILES:
        flush(folder / name)
    about = {"key": key, "facts": asdict(graph.facts), "pooled": graph.is_pooled}
    write_json(folder / META, {**about, "sizes": sizes(folder), "files": _digests(folder)})


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
    if not lengths:
        raise ValueError(f"{SAMPLES} holds no sample")
    ends = np.cumsum(lengths).tolist()
    parts = [slice(start, end) for start, end in pairwise([0, *ends])]
    samples = [
        Window(length=length, ids=ids[part], type_ids=type_ids[part] or None, take=places)
        for length, part, places in zip(lengths, parts, take, strict=True)
    ]
    return samples, list(rows)
