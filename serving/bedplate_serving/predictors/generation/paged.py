"""Texts by transformers' continuous batching: a text joins the batch at the next step, and leaves it when it is done.

Its cache is paged and bounded by what we give it (left to itself it takes 60 % of a machine's memory). The choice of
tokens is ours: one processor at the end of its chain chooses for each text by itself, so seeds, penalties and the like
work here as anywhere, and a text's end is told to the manager as a cancelled request, which frees its pages before the
next step.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.continuous_api import OutputRouter
from transformers.generation.continuous_batching.scheduler import SCHEDULER_MAPPING, FIFOScheduler

from bedplate_registry.errors import BedplateError
from bedplate_serving.predictors.generation.engine import Told, advance, forced
from bedplate_serving.predictors.generation.writer import Text

__all__ = ["PagedEngine", "can_page"]

JOIN_SECONDS = 30.0


def can_page(model: Any) -> bool:
    """Whether it is worth a try; whether it is right for this model is measured (model.py)."""
    config = model.config
    return not config.is_encoder_decoder and config._attn_implementation in ("sdpa", "flash_attention_2")


class PagedEngine:
    """See engine.Engine. The cache holds `tokens`: one text must fit it with all that it becomes."""

    def __init__(self, model: Any, told: Told, *, tokens: int, rows: int, device: str) -> None:
        self._model, self._told = model, told
        self._tokens, self._rows = tokens, rows
        self._page = 256 if device.startswith("cuda") else 32
        self._texts: dict[str, Text] = {}
        self._names: dict[int, str] = {}  # of a text's id()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._manager: Any = None

    def start(self) -> None:
        self._manager = self._opened()

    def add(self, text: Text) -> None:
        """Called from one thread alone. Blocks while a manager that has failed is replaced."""
        if not self._takes_more():
            self._reopen()
        if not self._hand_in(text):  # the manager failed since it was looked at
            self._reopen()
            if not self._hand_in(text):
                self._fail(text)

    def _hand_in(self, text: Text) -> bool:
        """Whether the manager took it, or need not."""
        name = f"text-{next(self._numbers)}"
        with self._lock:  # all of it: who leaves comes before it or after it, not in between
            if text.is_done:
                return True
            self._texts[name], self._names[id(text)] = text, name
            ids = list(text.encoded.ids)
            taken = self._manager.add_request(ids, request_id=name, max_new_tokens=None, eos_token_id=-1)
            if taken is None:
                del self._texts[name], self._names[id(text)]
            return taken is not None

    def drop(self, text: Text) -> None:
        with self._lock:
            name = self._names.pop(id(text), None)
            if name is not None:
                del self._texts[name]
                self._manager.cancel_request(name)

    def stop(self) -> None:
        if self._manager is not None:
            self._manager.stop(block=True, timeout=JOIN_SECONDS, hard_stop=True)

    def _takes_more(self) -> bool:
        manager = self._manager
        return bool(manager.is_running() and manager.background_thread_status.can_accept_new_requests() is None)

    def _reopen(self) -> None:
        """The manager has ended by an error, or is about to: a new one, and an answer for whoever came in between."""
        self._manager.join(time.perf_counter(), JOIN_SECONDS)
        for name in list(self._texts):
            self.fail(name)
        self._manager = self._opened()

    # --- in the manager's thread

    def write(self, names: Sequence[str], scores: torch.Tensor) -> torch.Tensor:
        """One step: a token for each of the named texts."""
        for name in names:
            if name not in self._texts:  # the manager may look for who leaves before it takes in who came
                self._manager.cancel_request(name)
        known = [(row, text) for row, name in enumerate(names) if (text := self._texts.get(name)) is not None]
        chosen, step = advance([text for _, text in known], scores[[row for row, _ in known]])
        tokens = [0] * len(scores)
        for (row, _), token in zip(known, chosen, strict=True):
            tokens[row] = token
        for text, _ in step:
            if text.is_done:
                self.drop(text)
        if step:
            self._told(step)
        return forced(scores, tokens)

    def fail(self, name: str) -> None:
        with self._lock:  # its caller may leave just now
            text = self._texts.pop(name, None)
            self._names.pop(id(text), None)
        if text is not None and not text.is_done:
            self._fail(text)

    def _fail(self, text: Text) -> None:
        text.fail(BedplateError("The model failed while it wrote this text.", code="inference-failed"))
        self._told([(text, None)])

    def _opened(self) -> Any:
        logging.getLogger("ContinuousBatchingLogger").setLevel(logging.WARNING)  # it tells of each start and stop
        config = ContinuousBatchingConfig(
            page_size=self._page,
            num_blocks=-(-self._tokens // self._page) + 1,
            max_batch_tokens=max(256, self._rows),
            max_requests_per_batch=self._rows,
            scheduler_type=_Scheduler.__name__,
            use_async_batching=False,  # our processor is Python: no graph replays it, no step runs ahead of it
            use_cuda_graph=False,
            auto_switch_to_flash=False,
        )
        manager = self._model.init_continuous_batching(
            generation_config=GenerationConfig(do_sample=False, eos_token_id=-1), continuous_batching_config=config
        )
        manager.logit_processor = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([_Texts(self)]))
        manager.logit_processor.tensors_required = 1
        manager.output_router = _Failures(self)
        manager.start()
        return manager


class _Texts(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]  # transformers is not typed
    """The end of the chain of processors. Which rows are whose is told before each step, in the same thread."""

    supported_kwargs: dict[str, type] = {}  # noqa: RUF012 - the base's own form
    ignored_kwargs = ()

    def __init__(self, engine: PagedEngine) -> None:
        self._engine = engine
        self._names: list[str] = []

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: Sequence[Any]) -> torch.Tensor:
        self._names = [request.state.request_id for request in requests_with_new_token]
        return torch.zeros(len(self._names), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        return self._engine.write(self._names, scores)


class _Scheduler(FIFOScheduler):  # type: ignore[misc]
    """First come, first served. Where pages run out it sends the youngest back and lets nobody in until a text ends,
    but ours end as cancelled requests, which it does not take for that.
    """

    def clear_cancelled_requests(self) -> Any:
        cancelled = super().clear_cancelled_requests()
        if cancelled or not self.active_requests:
            self.block_new_requests = False
        return cancelled


SCHEDULER_MAPPING[_Scheduler.__name__] = _Scheduler


class _Failures(OutputRouter):  # type: ignore[misc]
    """No request of ours ever finishes by itself, so what comes out are those that failed."""

    def __init__(self, engine: PagedEngine) -> None:
        super().__init__()
        self._engine = engine

    def deliver(self, output: Any) -> None:
        self._engine.fail(output.request_id)

    def deliver_batch(self, outputs: Sequence[Any]) -> None:
        for output in outputs:
            self.deliver(output)
