"""A causal model, loaded: prompts become tokens, texts are written in batches, engines are opened for the queue."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from bedplate_registry.errors import BedplateError, Refused
from bedplate_registry.estimates import CACHE_SHARE, MOST_CACHED_TOKENS, cache_room
from bedplate_serving.halving import outcomes
from bedplate_serving.leased_memory import leased_gpu_bytes
from bedplate_serving.predictors.base import BadItems, ItemError
from bedplate_serving.predictors.generation.chat_template import ChatTemplate
from bedplate_serving.predictors.generation.control_tokens import ControlTokens
from bedplate_serving.predictors.generation.engine import Step, Told
from bedplate_serving.predictors.generation.generated import Generation
from bedplate_serving.predictors.generation.paged import PagedEngine, can_page
from bedplate_serving.predictors.generation.parameters import (
    DEFAULT_CHAT_TOKENS,
    DEFAULT_NEW_TOKENS,
    GenerationParameters,
)
from bedplate_serving.predictors.generation.prompt import EncodedPrompt, Prompt, PromptTooLong, sampling_of
from bedplate_serving.predictors.generation.static import StaticEngine, batches, write_batch
from bedplate_serving.predictors.generation.vocabulary import TokenTexts
from bedplate_serving.predictors.generation.writer import Text
from bedplate_serving.predictors.loading import load_model, load_tokenizer, pick_device

__all__ = ["CausalModel"]

log = logging.getLogger("bedplate_serving.predictors")

LEAST_CACHED_TOKENS = 256
MOST_ROWS = {"cpu": 32, "cuda": 128}  # texts written at once
DEFAULT_CONTEXT = 2048  # of a model whose config does not name one
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")
KEEPS_STATE = ("recurrent_gemma",)  # types whose modules hold what they read last, as transformers 5.23 has them
SPARE_TOKENS = 64  # tokenized beyond what is read, so that its first token is not half of one
CHECK_PROMPTS, CHECK_TOKENS, CHECK_SECONDS = (3, 12), 4, 120.0


class CausalModel:
    """`context_length` is the model's own, or what the cache holds where that is less."""

    def __init__(self, folder: Path, task: str, device: str = "auto", threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = pick_device(device)
        self._kind = self.device.partition(":")[0]
        self._tokenizer = load_tokenizer(folder)
        self._model = load_model(AutoModelForCausalLM, folder, self.device, head=task)
        _check_keeps_callers_apart(self._model.config)
        self._defaults = self._model.generation_config
        self._eos = _end_tokens(self._defaults, self._model.config, self._tokenizer)
        self._pad = next((one for one in (self._tokenizer.pad_token_id, *sorted(self._eos)) if one is not None), 0)
        self._model.generation_config = GenerationConfig()  # else `generate` would apply the defaults once more
        self._special = _special_tokens(self._tokenizer)
        self._longest_token = max(map(len, self._tokenizer.get_vocab()))  # in characters, or bytes
        self.vocabulary = int(self._model.get_input_embeddings().num_embeddings)
        self.token_texts = TokenTexts(self._tokenizer)
        self._control = ControlTokens(self._tokenizer)
        self.chat = ChatTemplate(_templates(self._tokenizer), _variables(self._tokenizer))
        self.token_budget = self._cached_tokens()
        self.context_length = min(_context_length(self._model.config), self.token_budget)

    # --- prompts

    def encode_all(self, items: Sequence[Prompt], left: Event | None = None) -> list[EncodedPrompt]:
        """As `encode`; of several items BadItems tells which ones do not fit. Ends early where nobody waits: `left`."""
        encoded: list[EncodedPrompt] = []
        failed: list[tuple[int, str]] = []
        for index, item in enumerate(items):
            if left is not None and left.is_set():
                raise BedplateError("Nobody waits for these texts any more.", code="abandoned")
            [one] = outcomes(self.encode, [item])
            if not isinstance(one, BedplateError):
                encoded.append(one)
            elif isinstance(one, ItemError) and len(items) > 1:
                failed.append((index, one.message))
            else:
                raise one
        if failed:
            raise BadItems(failed)
        return encoded

    def encode(self, items: Sequence[Prompt]) -> list[EncodedPrompt]:
        """Raises PromptTooLong, and what a chat template may raise."""
        return [self._encoded(item) for item in items]

    def _encoded(self, item: Prompt) -> EncodedPrompt:
        wanted, beams = item.parameters, item.parameters.num_beams or 1
        parts = self._parts(item)
        ids = list(item.token_ids) or self._tokens(parts, wanted.truncate, is_chat=bool(item.messages))
        if not ids:
            raise ItemError("the prompt has no tokens")
        kept = ids if wanted.truncate is None else ids[-wanted.truncate :]
        new = self._new_tokens(len(kept), wanted, is_chat=bool(item.messages))
        text = "".join(parts) or self._tokenizer.decode(kept, skip_special_tokens=True)
        echoed = text if wanted.return_full_text else ""
        return EncodedPrompt(
            length=(len(kept) + new) * beams,
            truncated=len(kept) < len(ids),
            ids=tuple(kept),
            echoed=echoed,
            max_new_tokens=new,
            stops=wanted.stops,
            keeps_stop=wanted.include_stop_str_in_output,
            sampling=sampling_of(wanted, self._defaults),
            sequences=wanted.sequences,
            keeps_best=(wanted.best_of or 1) > 1,
            with_prefill=wanted.decoder_input_details,
        )

    def _parts(self, item: Prompt) -> list[str]:
        """The text of a prompt, cut where a chat's message looks like a control token."""
        if not item.messages:
            return [item.text]
        self._check_characters(sum(len(message["content"]) for message in item.messages))
        messages, tools = self._control.mark(item.messages), self._control.mark(item.tools)
        return self._control.parts(self.chat.render(messages, tools))

    def _tokens(self, parts: Sequence[str], truncate: int | None, *, is_chat: bool) -> list[int]:
        """Of a text that cannot fit none is made: it has more characters than the longest tokens would."""
        if truncate is not None and not is_chat:
            parts = [parts[0][-(truncate + SPARE_TOKENS) * self._longest_token :]]
        self._check_characters(sum(map(len, parts)))
        return [token for part in parts for token in self._tokenizer(part, add_special_tokens=not is_chat)["input_ids"]]

    def _check_characters(self, characters: int) -> None:
        if characters > (self.context_length + SPARE_TOKENS) * self._longest_token:
            raise PromptTooLong(
                f"the prompt has {characters} characters; the model holds {self.context_length} tokens in all",
                hint="Shorten the prompt.",
            )

    def _new_tokens(self, prompt: int, wanted: GenerationParameters, *, is_chat: bool) -> int:
        beams = wanted.num_beams or 1
        held = min(self.context_length, self.token_budget // beams)
        room, asked = held - prompt, wanted.max_new_tokens
        if room < (asked or 1):
            new = f" and {asked} new ones are asked for" if asked else ""
            each = f" for each of {beams} beams" if beams > 1 else ""
            raise PromptTooLong(
                f"the prompt has {prompt} tokens{new}; the model holds {held} in all{each}",
                hint=f"Shorten the prompt, ask for fewer new tokens{' or beams' if each else ''}, or set truncate.",
            )
        return asked or min(DEFAULT_CHAT_TOKENS if is_chat else DEFAULT_NEW_TOKENS, room)

    # --- texts

    def text(self, encoded: EncodedPrompt) -> Text:
        """The text of one `single` prompt, with nothing written yet."""
        return Text(encoded, self._tokenizer, self._eos, self._special, self.device)

    def write(self, batch: Sequence[EncodedPrompt]) -> list[Generation]:
        """The offline path: all of a list in static batches, texts of one length together."""
        groups = [[self.text(single) for single in encoded.single()] for encoded in batch]
        texts = [text for group in groups for text in group]
        texts.sort(key=lambda text: (text.encoded.max_new_tokens, len(text.encoded.ids)))
        for together in batches(texts, self.token_budget, self.context_length, pads=self._pads):
            write_batch(self._model, together, _nobody, self._pad)
        for text in texts:
            if text.failure is not None:
                raise text.failure
        return [
            Generation.joined([text.generation() for text in group], keeps_best=encoded.keeps_best)
            for encoded, group in zip(batch, groups, strict=True)
        ]

    # --- engines

    def open_static(self, told: Told, token_budget: int | None = None) -> StaticEngine:
        budget = token_budget or self.token_budget
        engine = StaticEngine(
            self._model,
            told,
            pad=self._pad,
            token_budget=budget,
            context_length=self.context_length,
            pads=self._pads,
        )
        engine.start()
        return engine

    def open_paged(self, told: Told, token_budget: int | None = None) -> PagedEngine | None:
        """Continuous batching, started; None where this model cannot be run so, or not rightly.

        Whether it is right is seen, not known: two texts of different length are written at once, and each of their
        tokens must be as likely as the plain forward pass says.
        """
        if not can_page(self._model):
            return None
        tokens = max(token_budget or self.token_budget, self.context_length)
        engine = PagedEngine(_twin(self._model), told, tokens=tokens, rows=MOST_ROWS[self._kind], device=self.device)
        try:
            engine.start()
            if self._is_right(lambda texts: _write_with(engine, texts)):
                return engine
            log.info("continuous batching does not agree with the plain forward pass of this model: static batches")
        except Exception as error:  # noqa: BLE001 - whatever it is that a family of models cannot do
            log.info("no continuous batching for this model (%s): static batches", type(error).__name__)
        engine.stop()
        return None

    @cached_property
    def _pads(self) -> bool:
        """Whether prompts of different length may be written in one batch, which pads them.

        It is seen, too: recurrent models read the padding, others count their positions from it.
        """
        is_right = self._is_right(lambda texts: write_batch(self._model, texts, _nobody, self._pad))
        if not is_right:
            log.info("padding changes what this model writes: static batches are of prompts of one length")
        return is_right

    def _is_right(self, write: Callable[[Sequence[Text]], None]) -> bool:
        wanted = GenerationParameters(max_new_tokens=CHECK_TOKENS)
        if max(CHECK_PROMPTS) + CHECK_TOKENS > self.context_length:
            return False
        prompts = [[7 * place % self.vocabulary for place in range(1, length + 1)] for length in CHECK_PROMPTS]
        texts = [
            Text(encoded, self._tokenizer, frozenset(), frozenset(), self.device)
            for encoded in self.encode([Prompt(wanted, token_ids=tuple(prompt)) for prompt in prompts])
        ]
        write(texts)
        return all(text.finish_reason is not None and self._is_as_likely(text) for text in texts)

    def _is_as_likely(self, text: Text) -> bool:
        tokens = [piece.token_id for piece in text.pieces]
        ids = torch.tensor([[*text.encoded.ids, *tokens]], device=self._model.device)
        with torch.inference_mode():
            logits = self._model(ids).logits[0, -len(tokens) - 1 : -1].float()
        plain = logits.log_softmax(-1).gather(1, ids[0, -len(tokens) :, None])[:, 0]
        paged = torch.tensor([piece.logprob for piece in text.pieces], device=plain.device)
        tolerance = 1e-3 if self._model.dtype == torch.float32 else 0.15
        return bool((plain - paged).abs().max() <= tolerance)

    def _cached_tokens(self) -> int:
        """How many tokens the cache of all texts may hold: a share of the device's free memory, what is left of the
        share of a card that this process was lent, and a bound."""
        bytes_a_token = _bytes_a_token(self._model.config.get_text_config(), self._model.dtype)
        on_gpu = self._kind == "cuda"
        free = int(torch.cuda.mem_get_info(self.device)[0] if on_gpu else psutil.virtual_memory().available)
        room = int(free * CACHE_SHARE[self._kind])
        if on_gpu and (leased := leased_gpu_bytes()) is not None:
            room = min(room, cache_room(leased, torch.cuda.memory_allocated(self.device)))
        fitting = room // bytes_a_token
        return max(min(fitting, MOST_CACHED_TOKENS[self._kind]), LEAST_CACHED_TOKENS)


def _bytes_a_token(config: Any, dtype: torch.dtype) -> int:
    """Keys and values of all layers. Models without attention hold less: for them it is a bound."""
    width = int(config.hidden_size)
    all_heads = getattr(config, "num_attention_heads", None)
    if all_heads:
        size = getattr(config, "head_dim", None) or width // all_heads
        width = int(size * (getattr(config, "num_key_value_heads", None) or all_heads))
    return int(2 * config.num_hidden_layers * width * dtype.itemsize)


def _twin(model: Any) -> Any:
    """The same weights in other modules, with a config of their own.

    A forward pass of continuous batching writes `is_causal` into the config and takes it back afterwards: beside a pass
    of `generate` in another thread it stays there now and then, and from then on the model sees what is to come.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def _write_with(engine: PagedEngine, texts: Sequence[Text]) -> None:
    """Returns when they are done, or have had their time."""
    for text in texts:
        engine.add(text)
    until = time.monotonic() + CHECK_SECONDS
    while not all(text.is_done for text in texts) and time.monotonic() < until:
        time.sleep(0.002)


def _nobody(step: Step) -> None:
    """Nobody is told of single tokens."""


def _check_keeps_callers_apart(config: Any) -> None:
    """Raises Refused where the modules hold what they read last: a prompt of one token would go on with it."""
    if config.model_type in KEEPS_STATE:
        raise Refused(
            f"Models of the type {config.model_type!r} are not served: they keep one caller's text for the next.",
            hint="Take a model of another architecture.",
            code="keeps-state",
        )


def _end_tokens(defaults: Any, config: Any, tokenizer: Any) -> frozenset[int]:
    for source in (defaults, config, tokenizer):
        found = getattr(source, "eos_token_id", None)
        if found is not None:
            return frozenset(found if isinstance(found, list) else [found])
    return frozenset()


def _special_tokens(tokenizer: Any) -> frozenset[int]:
    """Those that texts leave out: more than the ones with a name of their own (eos_token, …)."""
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(tokenizer.all_special_ids) | {number for number, token in added if token.special}


def _templates(tokenizer: Any) -> dict[str, str]:
    template = tokenizer.chat_template
    return template if isinstance(template, dict) else {"default": template} if template else {}


def _variables(tokenizer: Any) -> dict[str, Any]:
    """The special tokens, by the names that templates know them by."""
    return {name: value for name, value in tokenizer.special_tokens_map.items() if isinstance(value, str | list)}


def _context_length(config: Any) -> int:
    text = config.get_text_config()
    return next((int(value) for key in CONTEXT_KEYS if (value := getattr(text, key, None))), DEFAULT_CONTEXT)
