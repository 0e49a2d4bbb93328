"""What all text encoders share: a tokenizer, facts about the model, and an engine that runs batches of windows.

Nothing here knows a task, and importing this imports no torch: an encoder whose ONNX graph is at hand (onnx_graph.py)
needs none, which halves the memory of its process. Without a graph torch answers, packed where the architecture allows
it, else padded to the longest of a batch; `improve` waits for a graph and changes over to it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from bedplate_serving.out_of_sight import uncollected
from bedplate_serving.predictors.base import TaskPredictor
from bedplate_serving.predictors.encoders.engines import EncoderEngine, EncoderFacts, Head, Rows, Window, agree
from bedplate_serving.predictors.encoders.graph_folder import MAX_CONTEXT
from bedplate_serving.predictors.encoders.memory import give_back_memory
from bedplate_serving.predictors.encoders.onnx_session import TOLERANCE, await_engine, open_alone
from bedplate_serving.predictors.text import TextItem

if TYPE_CHECKING:
    from bedplate_serving.predictors.encoders.torch_encoder import TorchEncoder

__all__ = ["EncoderPredictor", "Head", "TextEncoder", "Window"]

log = logging.getLogger("bedplate_serving.predictors")

CHARACTERS_PER_TOKEN = 64  # no real text has more; a longer text is cut before it is tokenized (see `_shorten`)


class TextEncoder:
    """A model and its tokenizer, and the two steps every task of an encoder takes: `encode` and `run`.

    For tasks to read: `facts` (and the first of them by name: labels, context_length, wants_type_ids, mask_token,
    mask_token_id, problem_type) and `backend_tokenizer`, of the library tokenizers.
    """

    facts: EncoderFacts
    backend_tokenizer: Any
    _engine: EncoderEngine

    def __init__(
        self,
        folder: Path,
        head: Head,
        device: str = "auto",
        threads: int | None = None,
        derived: Path | None = None,
    ) -> None:
        """`derived` is a folder with what was made of this model: its graph, which is for a CPU and for a task. It is
        only read, and need not be there.

        Raises Refused: load-failed, no-head, no-fast-tokenizer, and for a device that is not there.
        """
        self._folder, self._head, self._threads, self._derived = folder, head, threads, derived
        self._torch: TorchEncoder | None = None
        self.device = device
        if not (device == "cpu" and self._open_graph()):
            self._load_model()
        self.labels, self.context_length = self.facts.labels, self.facts.context_length
        self.wants_type_ids, self.problem_type = self.facts.wants_type_ids, self.facts.problem_type
        self.mask_token, self.mask_token_id = self.facts.mask_token, self.facts.mask_token_id

    def _open_graph(self) -> bool:
        if self._derived is None or not self._head.task:
            return False
        engine, tokenizer = open_alone(self._derived, self._folder, self._head.task, self._threads)
        if engine is None:
            return False
        self.facts, self.backend_tokenizer, self._engine = engine.graph.facts, tokenizer, engine
        log.info("onnxruntime answers, %d batches at once", engine.workers)
        return True

    def _load_model(self) -> None:
        with uncollected():
            from bedplate_serving.predictors.encoders.torch_encoder import load_encoder
            from bedplate_serving.predictors.loading import pick_device

        self.device = pick_device(self.device)
        loaded = self._torch = load_encoder(self._folder, self._head, self.device, self._threads)
        self.facts, self.backend_tokenizer, self._engine = loaded.facts, loaded.tokenizer, loaded.engine

    # --- the engine

    @property
    def engine(self) -> str:
        """onnxruntime, torch-packed or torch-padded."""
        return self._engine.name

    @property
    def is_packed(self) -> bool:
        """Whether batches run without padding; the results are the same."""
        return self._engine.name != "torch-padded"

    @property
    def workers(self) -> int:
        return self._engine.workers

    @property
    def token_budget(self) -> int:
        return self._engine.token_budget

    def run(self, batch: Sequence[Window]) -> list[Rows]:
        """One pass, float32, in the order of the batch: [n] for each window where the head is pooled, else
        [tokens taken, n].
        """
        return self._engine.run(batch)

    def improve(self) -> None:
        """Where torch answers and a graph may come: waits for it, however long that takes, and changes over to it
        between two batches. Where none can come it returns.
        """
        loaded = self._torch
        if loaded is None or self._derived is None or not self._head.task:
            return
        if self.device != "cpu" or not self.is_packed or self.context_length > MAX_CONTEXT:
            return
        engine = await_engine(self._derived, self._folder, self._head.task, self._threads)
        if engine is None:
            return
        graph = engine.graph
        if graph.facts != loaded.facts or not _same(engine, loaded.padded, graph.samples):
            log.warning("%s goes on answering: the ONNX graph is of another model, or answers otherwise", self.engine)
            return
        self._engine = engine
        self._torch = None
        model = ref(loaded.padded.model)
        del loaded
        give_back_memory(model)
        log.info("onnxruntime answers from now on, %d batches at once", engine.workers)

    # --- the tokenizer

    def encode(self, items: Sequence[TextItem]) -> list[Window]:
        """Each text or pair as one window, cut at the context's length. Raises ItemError where one has no tokens."""
        limit = self.context_length * CHARACTERS_PER_TOKEN
        short = [_shorten(item, limit) for item in items]
        encoded = [self._window(e) for e in self._tokenize(short)]
        for index, (kept, given) in enumerate(zip(short, items, strict=True)):
            if kept is not given and not encoded[index].truncated:  # mostly blanks: the cut went too far
                encoded[index] = self._window(self._tokenize([given])[0])
        return encoded

    def _tokenize(self, items: Sequence[TextItem]) -> list[Any]:
        rows = [item.text if item.pair is None else (item.text, item.pair) for item in items]
        return self.backend_tokenizer.encode_batch_fast(rows)  # type: ignore[no-any-return]

    def _window(self, encoding: Any) -> Window:
        ids = encoding.ids
        type_ids = encoding.type_ids if self.wants_type_ids else None
        return Window(length=len(ids), truncated=bool(encoding.overflowing), ids=ids, type_ids=type_ids)


class EncoderPredictor(TaskPredictor):
    """What predictors on a TextEncoder have in common: they are as fast as their encoder is by now."""

    workers: int  # batches that run at once
    engine: str
    _encoder: TextEncoder

    def _stand_on(self, encoder: TextEncoder) -> None:
        """Called once by a task's __init__."""
        self._encoder = encoder
        self.device, self.context_length = encoder.device, encoder.context_length
        self._follow()

    def _follow(self) -> None:
        self.engine, self.workers, self.token_budget = (
            self._encoder.engine,
            self._encoder.workers,
            self._encoder.token_budget,
        )

    @property
    def is_packed(self) -> bool:
        return self._encoder.is_packed

    def improve(self) -> None:
        """See TextEncoder.improve; it may be called while batches run."""
        self._encoder.improve()
        self._follow()


def _same(engine: EncoderEngine, padded: EncoderEngine, samples: Sequence[Window]) -> bool:
    return agree(engine.run(samples), padded.run(samples), TOLERANCE)


def _shorten(item: TextItem, limit: int) -> TextItem:
    """A megabyte of text takes seconds to tokenize though only the first page is read: cut it beforehand."""
    if len(item.text) <= limit and (item.pair is None or len(item.pair) <= limit):
        return item
    return TextItem(item.text[:limit], None if item.pair is None else item.pair[:limit])
