"""What all encoder-decoders share: one model, its tokenizer, and texts written of texts in static batches.

    text --encode--> Source (token ids, Plan) --run--> Generated

Sources with equal plans are written together, padded to the longest of them, and come out as each would alone. Sampled
texts with a seed are written alone: what chance gives them must not depend on their neighbors. (Transformers'
continuous batching knows decoders only: some encoder-decoders fail in it, others answer wrongly.)
"""

from __future__ import annotations

import copy
import inspect
import secrets
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from bedplate_serving.predictors.base import ItemError, LongWork, TaskPredictor
from bedplate_serving.predictors.loading import load_model, pick_device
from bedplate_serving.predictors.parameters import read_parameters
from bedplate_serving.predictors.refusing import refusing
from bedplate_serving.predictors.seq2seq.model_config import context_length, most_tokens, own_settings, own_tokens
from bedplate_serving.predictors.seq2seq.settings import Limits, Plan, Seq2SeqParameters, settings_of
from bedplate_serving.predictors.text import check_text, keys_of, kind_of, shown_key

__all__ = ["CutShort", "Generated", "Seq2SeqEngine", "Seq2SeqItem", "Seq2SeqPredictor", "Source", "text_of"]

# Cost of an item: what it reads and, for each beam, what it may write.
CPU_TOKEN_BUDGET = 2048  # more rows gain little on a CPU, and the next request waits for all of them
GPU_TOKEN_BUDGET = 65536
MAX_SECONDS = 120.0  # of one batch: others wait for it
CHARACTERS_PER_TOKEN = 64  # no real text has more; a longer text is cut before it is tokenized


CutShort = Annotated[Literal["time"], Field(description="Only there where a clock ended the text before its end.")]


@dataclass(frozen=True, slots=True)
class Seq2SeqItem:
    """A text to read and how to write."""

    text: str
    plan: Plan
    language: str | None = None  # the tokenizer's, of the source
    may_cut: bool = True
    clean_up: bool | None = None  # blanks before punctuation; None as the tokenizer says


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(LongWork):
    """A text as the encoder reads it."""

    ids: Sequence[int]
    item: Seq2SeqItem


@dataclass(frozen=True, slots=True)
class Generated:
    """A text that was written. `time` as finish_reason: it took too long, and ends wherever it was.

    `truncated` says that some of the source was not read, or that the text lacks its end.
    """

    text: str
    token_ids: tuple[int, ...]  # without the one that every text starts with
    prompt_tokens: int
    finish_reason: Literal["eos_token", "length", "time"]
    truncated: bool

    @property
    def completion_tokens(self) -> int:
        return len(self.token_ids)


class Seq2SeqEngine:
    """`limits`, `config` and `generation_config` (the model's own), `tokenizer` and `prefixes` are there to be read."""

    def __init__(self, folder: Path, task: str, device: str = "auto", threads: int | None = None) -> None:
        self.device = pick_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        self.tokenizer = _load_tokenizer(folder)
        self.model = load_model(AutoModelForSeq2SeqLM, folder, self.device)
        self.config = self.model.config
        with refusing("The model"):
            own = own_settings(self.model.generation_config, self.config, task)
            # In place of the model's, from which `generate` would fill in what a plan leaves out.
            self.generation_config = self.model.generation_config = own_tokens(self.model, self.tokenizer)
            self.context_length = context_length(self.model, self.tokenizer)
            self.limits = Limits(own, most_tokens(self.model))
        self.token_budget = CPU_TOKEN_BUDGET if self.device == "cpu" else GPU_TOKEN_BUDGET
        self._wants_global_attention = "global_attention_mask" in inspect.signature(self.model.forward).parameters
        self._ends = _as_set(self.generation_config.eos_token_id)
        self._tokenizer_lock = threading.Lock()  # its language and its truncation are state
        self._model_lock = threading.Lock()

    def encode(self, items: Sequence[Seq2SeqItem]) -> list[Source]:
        """Raises ItemError where a text that must not be cut is too long."""
        sources: list[Any] = [None] * len(items)
        with self._tokenizer_lock:
            for language in dict.fromkeys(item.language for item in items):
                places = [place for place, item in enumerate(items) if item.language == language]
                if language is not None:
                    self.tokenizer.src_lang = language
                for place, source in zip(places, self._read([items[place] for place in places]), strict=True):
                    sources[place] = source
        return sources

    def _read(self, items: Sequence[Seq2SeqItem]) -> list[Source]:
        most = self.context_length * CHARACTERS_PER_TOKEN
        rows = self._ids([item.text[:most] for item in items])
        return [self._source(item, ids, most) for item, ids in zip(items, rows, strict=True)]

    def _source(self, item: Seq2SeqItem, ids: list[int], most: int) -> Source:
        if len(item.text) > most and len(ids) <= self.context_length:  # mostly blanks: the cut went too far
            ids = self._ids([item.text])[0]
        truncated = len(ids) > self.context_length
        if truncated and not item.may_cut:
            raise ItemError(
                f"has {len(ids)} tokens or more, and the model reads {self.context_length}; "
                "shorten it, or let it be cut with the truncation longest_first"
            )
        if truncated:
            ids = self._ids([item.text[:most]], truncation=True, max_length=self.context_length)[0]
        cost = len(ids) + item.plan.max_new_tokens * item.plan.num_beams
        return Source(length=cost, truncated=truncated, ids=ids, item=item)

    def _ids(self, texts: list[str], **more: Any) -> list[list[int]]:
        return self.tokenizer(texts, return_attention_mask=False, **more)["input_ids"]  # type: ignore[no-any-return]

    def run(self, batch: Sequence[Source]) -> list[Generated]:
        """In the order of the batch, within MAX_SECONDS; each group has an equal share of what is left of them."""
        results: list[Any] = [None] * len(batch)
        with self._model_lock:
            ends = time.monotonic() + MAX_SECONDS
            groups = list(_groups(batch))
            for number, places in enumerate(groups):
                share = (ends - time.monotonic()) / (len(groups) - number)
                written = self._generate([batch[place] for place in places], max(share, 0.0))
                for place, row in zip(places, written, strict=True):
                    results[place] = self._result(batch[place], row)
        return results

    def _generate(self, sources: Sequence[Source], seconds: float) -> list[list[int]]:
        """The tokens of each, without the first."""
        plan = sources[0].item.plan
        config = copy.deepcopy(self.generation_config)
        config.update(**dict(plan.settings), max_time=min(seconds, plan.max_seconds or seconds))
        devices = [] if self.device == "cpu" else [self.device]
        with torch.inference_mode(), torch.random.fork_rng(devices=devices, enabled=plan.is_sampled):
            if plan.is_sampled:
                torch.manual_seed(secrets.randbits(63) if plan.seed is None else plan.seed)
            rows = self.model.generate(
                **self._padded(sources), generation_config=config, stopping_criteria=[_nobody_waits(sources)]
            )
        return rows[:, 1:].tolist()  # type: ignore[no-any-return]

    def _padded(self, sources: Sequence[Source]) -> dict[str, torch.Tensor]:
        """On the right, whatever the tokenizer prefers: an encoder counts its positions from the left."""
        width = max(len(source.ids) for source in sources)
        ids = torch.full((len(sources), width), self.generation_config.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, source in enumerate(sources):
            ids[row, : len(source.ids)] = torch.tensor(source.ids)
            mask[row, : len(source.ids)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._wants_global_attention:  # LED was trained with its first token seen by all others
            inputs["global_attention_mask"] = torch.zeros_like(ids).index_fill(1, torch.tensor(0), 1)
        return {name: tensor.to(self.device) for name, tensor in inputs.items()}

    def _result(self, source: Source, row: list[int]) -> Generated:
        plan = source.item.plan
        end = next((place for place, token in enumerate(row) if token in self._ends), None)
        ids = row[: plan.max_new_tokens] if end is None else row[: end + 1]
        is_forced = end is not None and self.generation_config.forced_eos_token_id is not None
        if len(ids) >= plan.max_new_tokens and (end is None or is_forced):
            reason: Literal["eos_token", "length", "time"] = "length"
        else:
            reason = "time" if end is None else "eos_token"
        text = self._text(ids, source.item.clean_up)
        return Generated(text, tuple(ids), len(source.ids), reason, source.truncated or reason == "time")

    def _text(self, ids: list[int], clean_up: bool | None) -> str:
        more = {} if clean_up is None else {"clean_up_tokenization_spaces": clean_up}
        with self._tokenizer_lock:
            return str(self.tokenizer.decode(ids, skip_special_tokens=True, **more)).strip()


class Seq2SeqPredictor(TaskPredictor):
    """The part that summarization and translation have in common. A task adds its parameters, its texts, its answer."""

    answer_key: str
    column: str  # that batch scoring adds to a file

    def __init__(self, folder: Path, device: str = "auto", threads: int | None = None) -> None:
        self._engine = Seq2SeqEngine(folder, self.task, device, threads)
        self.device = self._engine.device
        self.context_length = self._engine.context_length
        self.token_budget = self._engine.token_budget

    def parameters(self, raw: Mapping[str, Any]) -> Any:
        wanted = read_parameters(self.parameters_type, settings_of(raw), self.task)
        self._engine.limits.plan(wanted)  # type: ignore[arg-type]  # what the model cannot do is said before any item is read
        return wanted

    def encode(self, items: Sequence[Seq2SeqItem]) -> list[Source]:
        return self._engine.encode(items)

    def forward(self, batch: Sequence[Source]) -> list[Generated]:
        return self._engine.run(batch)

    def answer(self, raw: Generated, parameters: Any = None) -> dict[str, str]:
        """`finish_reason` only where a clock ended the text."""
        told = {"finish_reason": raw.finish_reason} if raw.finish_reason == "time" else {}
        return {self.answer_key: raw.text, **told}

    def hub_answer(self, answers: Sequence[dict[str, str]], single: bool) -> list[dict[str, str]]:
        """A list even for one input, as InferenceClient reads it."""
        return list(answers)

    def azure_answer(self, answers: Sequence[dict[str, str]], parameters: Any) -> list[str]:
        return [answer[self.answer_key] for answer in answers]

    def output_columns(self, parameters: Any) -> tuple[str, ...]:
        return (self.column,)

    def output_row(self, answer: dict[str, str], parameters: Any) -> dict[str, Any]:
        return {self.column: answer[self.answer_key]}

    def _item(self, text: str, wanted: Seq2SeqParameters, language: str | None = None, **forced: int) -> Seq2SeqItem:
        plan = self._engine.limits.plan(wanted, **forced)
        may_cut = wanted.truncation != "do_not_truncate"
        return Seq2SeqItem(text, plan, language, may_cut, wanted.clean_up_tokenization_spaces)


def _nobody_waits(sources: Sequence[Source]) -> Callable[..., torch.Tensor]:
    """A stopping criterion: all who asked for these texts have left."""

    def is_done(input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        done = all(source.is_abandoned for source in sources)
        return torch.full((input_ids.shape[0],), done, device=input_ids.device)

    return is_done


def text_of(item: Any, keys: Sequence[str], ignored: Sequence[str] = ()) -> str:
    """The text of a string, or of an object that has it under one of the keys. Raises ItemError."""
    if isinstance(item, str):
        return check_text(item, "text")
    if not isinstance(item, dict):
        raise ItemError(f'must be a string or an object {{"{keys[0]}": …}}, not {kind_of(item)}')
    key = next((key for key in keys if key in item), None)
    if key is None:
        raise ItemError(f'has no "{keys[0]}"; it holds {keys_of(item)}')
    if unknown := sorted(set(map(str, item)) - {key, *ignored}):
        raise ItemError(f"has the unknown key {shown_key(unknown[0])}; its text is {key!r}")
    return check_text(item[key], key)


def _groups(batch: Sequence[Source]) -> Iterator[list[int]]:
    """Places of the batch that may be written together."""
    alone = [place for place, source in enumerate(batch) if source.item.plan.seed is not None]
    others = [place for place, source in enumerate(batch) if source.item.plan.seed is None]
    yield from ([place] for place in alone)
    by_plan: dict[Plan, list[int]] = {}
    for place in others:
        by_plan.setdefault(batch[place].item.plan, []).append(place)
    yield from by_plan.values()


def _load_tokenizer(folder: Path) -> Any:
    """A fast one where the family has it; Marian and M2M100 have theirs in Python."""
    with refusing("The tokenizer"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Marian's recommends a package that it makes no use of
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _as_set(tokens: Any) -> frozenset[int]:
    return frozenset() if tokens is None else frozenset(tokens if isinstance(tokens, list) else [tokens])
