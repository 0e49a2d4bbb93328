"""Makes the ONNX graph of a text encoder, for onnx_session.py to run: torch's pass over a packed row, traced, then
fused by ONNX Runtime, then held against the padded pass. It takes much memory, all of which ends with its process:
the server has a job do it, and make_graph.py does it by hand.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import onnxruntime
import torch
from transformers import AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from bedplate_registry.errors import Refused
from bedplate_serving.predictors.encoders.engines import Head, agree
from bedplate_serving.predictors.encoders.graph_folder import DATA, MAX_BYTES, MAX_CONTEXT, MODEL, NO_GRAPH
from bedplate_serving.predictors.encoders.onnx_graph import Graph, complete
from bedplate_serving.predictors.encoders.onnx_session import TOLERANCE, OnnxEngine, session_options
from bedplate_serving.predictors.encoders.packed import ATTENTION, PackedEngine, PackedModel, is_packable
from bedplate_serving.predictors.encoders.packed_row import PackedRow, pack
from bedplate_serving.predictors.encoders.torch_encoder import load_encoder, sample_windows

__all__ = ["export"]

OPSET = 17
OUT_OF_SIGHT = -1e9  # added to the score of a token of another text


def export(model: Path, task: str, folder: Path, key: dict[str, Any]) -> None:
    """Fills `folder`, an empty one, with the graph of the model, for `key`.

    Raises Refused: no-graph where the model is one of which none can be made, today or later; another code, or anything
    else, where this attempt failed.
    """
    graph, tokenizer = _export(model, _head(task), folder)
    _check(graph)
    complete(graph, tokenizer, key)


def _head(task: str) -> Head:
    return cast(Head, import_module(f"bedplate_serving.predictors.{task.replace('-', '_')}").HEAD)


def _export(model: Path, head: Head, folder: Path) -> tuple[Graph, Any]:
    """The graph in `folder`, with its samples, and the tokenizer. The model is let go on the way."""
    loaded = load_encoder(model, head, "cpu")
    if not is_packable(loaded.padded.model):
        raise _no_graph("its architecture is not packed")
    if loaded.facts.context_length > MAX_CONTEXT:
        raise _no_graph(f"its context is longer than {MAX_CONTEXT} tokens")
    if 4 * sum(parameter.numel() for parameter in loaded.padded.model.parameters()) > MAX_BYTES:
        raise _no_graph(f"it has more than {MAX_BYTES / 1e9} GB of weights")
    if not isinstance(loaded.engine, PackedEngine):
        raise Refused("The packed pass of the model failed.", hint="The log says why.", code="no-packed-pass")
    samples = sample_windows(loaded.tokenizer, loaded.facts)
    expected = [loaded.padded.run([sample])[0] for sample in samples]
    raw = folder / "raw.onnx"
    _trace(loaded.engine.packed, pack(samples, loaded.facts.first_position, pooled=head.is_pooled), raw)
    _optimize(raw, folder)
    raw.unlink()
    return Graph(folder, loaded.facts, head.is_pooled, samples, expected), loaded.tokenizer


def _no_graph(reason: str) -> Refused:
    return Refused(reason, code=NO_GRAPH)


class _Traced(torch.nn.Module):  # type: ignore[misc]
    """The packed model as a function of plain arrays."""

    def __init__(self, packed: PackedModel, names: Sequence[str]) -> None:
        super().__init__()
        self._packed, self._names = packed, names
        self.model = packed.model  # a module finds its weights by its attributes

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        row = dict(zip(self._names, arrays, strict=True))
        segments = row["segments"]
        bias = torch.where(segments[:, None] == segments[None, :], 0.0, OUT_OF_SIGHT)
        return self._packed(row, partial(_attend_all, bias))


def _attend_all(
    bias: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> torch.Tensor:
    attended = torch.softmax((query * scale) @ key.transpose(-1, -2) + bias, -1) @ value  # [1, heads, T, size]
    return attended.transpose(1, 2)


def _trace(packed: PackedModel, row: PackedRow, path: Path) -> None:
    """By torch's exporter that traces: the one that compiles needs another package and half a minute."""
    names = ["ids", "positions", "segments", "taken", *(["type_ids"] if packed.takes_type_ids else [])]
    with torch.inference_mode(), _without_masks(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: what is taken for a constant is found out by `_check`
        torch.onnx.export(
            _Traced(packed, names).eval(),
            tuple(torch.from_numpy(getattr(row, name)) for name in names),
            str(path),
            input_names=names,
            output_names=["rows"],
            dynamic_axes={name: {0: "taken" if name == "taken" else "tokens"} for name in names},
            opset_version=OPSET,
            dynamo=False,
        )


@contextmanager
def _without_masks() -> Iterator[None]:
    """The bias is the mask: transformers' own would be traced as well, and for nothing."""
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)
    try:
        yield
    finally:
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def _optimize(raw: Path, folder: Path) -> None:
    """Fused, with its weights outside of it as this processor multiplies them."""
    options = session_options(threads=1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / MODEL)
    for name, value in {
        "session.optimized_model_external_initializers_file_name": DATA,
        "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
        "session.save_external_prepacked_constant_initializers": "1",
    }.items():
        options.add_session_config_entry(name, value)
    onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])


def _check(graph: Graph) -> None:
    """Against the padded pass: the samples together, in the other order, and each alone."""
    engine = OnnxEngine(graph, threads=1)
    alone = [engine.run([sample])[0] for sample in graph.samples]
    backward = engine.run(graph.samples[::-1])[::-1]
    for rows in (engine.run(graph.samples), alone, backward):
        if not agree(rows, graph.expected, TOLERANCE):
            raise _no_graph("the graph does not answer as its model does")
