"""What all text encoders share: loading a model folder, its tokenizer, and one padded pass through the model.

Nothing here knows a task. Padding goes to the longest of the batch, never to a maximum.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from bedplate_registry.errors import Refused
from bedplate_serving.predictors.base import Encoded, ItemError
from bedplate_serving.predictors.packed import Packing, packing_for

__all__ = ["TextEncoder", "TextItem", "load_model", "parse_text", "pick_device"]

Rows = np.ndarray[Any, Any]
Forward = Callable[..., torch.Tensor]

CPU_TOKEN_BUDGET = 512  # beyond this a batch gains nothing on a CPU and only makes the next request wait
GPU_TOKEN_BUDGET = 16384
CHARACTERS_PER_TOKEN = 64  # no real text has more; a longer text is cut before it is tokenized (see `_shorten`)
UNLIMITED = 1_000_000  # tokenizers without a limit state one of about 1e30


class TextItem(NamedTuple):
    """A text, or a pair of texts."""

    text: str
    pair: str | None = None


PAIR_KEYS = (("text", "text_pair"), ("sentence1", "sentence2"), ("input_string", "input_string_pair"))


def parse_text(item: Any) -> TextItem:
    """A string, `{"text", "text_pair"}`, or a row of mapped columns `{"sentence1", "sentence2"}`."""
    if isinstance(item, TextItem):
        return item
    if isinstance(item, str):
        return TextItem(_check_text(item, "text"))
    if not isinstance(item, dict):
        what = "a list" if isinstance(item, list) else "null" if item is None else type(item).__name__
        raise ItemError(f'must be a string or a pair {{"text": …, "text_pair": …}}, not {what}')
    for first, second in PAIR_KEYS:
        if first in item:
            return _parse_pair(item, first, second)
    raise ItemError(f'has no "text"; it holds {", ".join(sorted(map(repr, map(str, item)))) or "nothing"}')


def _parse_pair(item: dict[str, Any], first: str, second: str) -> TextItem:
    unknown = sorted(set(item) - {first, second, "label"})
    if unknown:
        raise ItemError(f"has the unknown key {unknown[0]!r}; a pair has {first!r} and {second!r}")
    text = _check_text(item[first], first)
    pair = item.get(second)
    return TextItem(text) if pair is None else TextItem(text, _check_text(pair, second))


def _check_text(text: Any, key: str) -> str:
    if not isinstance(text, str):
        raise ItemError(f"{key} must be a string, not {'null' if text is None else type(text).__name__}")
    if not text.strip():
        raise ItemError(f"{key} is empty")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ItemError(f"{key} holds half a surrogate pair at character {error.start}") from error
    return text


def pick_device(device: str) -> str:
    """`auto` is the first GPU where there is one; a GPU that is asked for and missing is refused."""
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise Refused(f"Device {device!r} was asked for, but torch sees no GPU.", hint="Use --device cpu, or auto.")
    return device


def _dtype(device: str) -> torch.dtype:
    """Half precision where the card is built for it: bf16 from compute capability 8, fp16 on 7 (V100)."""
    if not device.startswith("cuda"):
        return torch.float32
    major, _ = torch.cuda.get_device_capability(device)
    return torch.bfloat16 if major >= 8 else torch.float16 if major == 7 else torch.float32


def load_model(auto_class: Any, folder: Path, device: str, *, head: str = "") -> Any:
    """The model in eval mode. Weights missing from the files are refused: random weights must never answer."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model, info = auto_class.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=_dtype(device),
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise Refused(f"The model could not be loaded: {_first_line(error)}", code="load-failed") from error
    missing = sorted(name for name in info["missing_keys"] if "pooler" not in name or head)
    if missing:
        raise _missing_weights(missing, head)
    return model.eval().to(device)


def _missing_weights(missing: list[str], head: str) -> Refused:
    shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
    if not head:
        return Refused(f"The model's files lack weights: {shown}.", code="missing-weights")
    return Refused(
        f"The model has no head for {head}: its files lack {shown}.",
        hint="It is a base: import it without --task and fine-tune it.",
        code="no-head",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


class TextEncoder:
    """A tokenizer and a model, and the two steps every text task takes: `encode` and one padded pass."""

    def __init__(self, model: Any, folder: Path, device: str, threads: int | None) -> None:
        self.model = model
        self.device = device
        tokenizer = _load_tokenizer(folder)
        self._tokenizer = tokenizer.backend_tokenizer
        self._wants_type_ids = "token_type_ids" in tokenizer.model_input_names
        self.first_position = _first_position(model)
        self.context_length = _context_length(model, tokenizer.model_max_length, self.first_position)
        self._pad_id = _pad_id(model)
        self._pads_left = tokenizer.padding_side == "left"  # XLNet classifies by the last token: it must be a real one
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self.token_budget = CPU_TOKEN_BUDGET if device == "cpu" else GPU_TOKEN_BUDGET
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.context_length, strategy="longest_first")
        self._lock = threading.Lock()
        if threads is not None:
            torch.set_num_threads(threads)

    def encode(self, items: Sequence[TextItem]) -> list[Encoded]:
        limit = self.context_length * CHARACTERS_PER_TOKEN
        short = [_shorten(item, limit) for item in items]
        encoded = [self._encoded(e) for e in self._tokenize(short)]
        for index, (kept, given) in enumerate(zip(short, items, strict=True)):
            if kept is not given and not encoded[index].truncated:  # mostly blanks: the cut went too far
                encoded[index] = self._encoded(self._tokenize([given])[0])
        return encoded

    def _tokenize(self, items: Sequence[TextItem]) -> list[Any]:
        rows = [item.text if item.pair is None else (item.text, item.pair) for item in items]
        return self._tokenizer.encode_batch_fast(rows)  # type: ignore[no-any-return]

    def _encoded(self, encoding: Any) -> Encoded:
        return Encoded(encoding.ids, encoding.type_ids if self._wants_type_ids else None, bool(encoding.overflowing))

    def run(self, batch: Sequence[Encoded], forward: Forward, packing: Packing | None = None) -> Rows:
        """`forward(**inputs)` over a batch, as float32 rows in its order: packed where that can be, else padded."""
        with self._lock, torch.inference_mode():
            if packing is not None:
                return cast(Rows, packing.logits(batch, forward).float().numpy())
            return self._run_padded(batch, forward)

    def _run_padded(self, batch: Sequence[Encoded], forward: Forward) -> Rows:
        """Texts of like length together, so that a long one among short ones does not make them all long."""
        order = sorted(range(len(batch)), key=lambda index: batch[index].length)
        rows: list[Any] = [None] * len(batch)
        for group in _alike(order, [batch[index].length for index in order]):
            outputs = forward(**self._pad([batch[index] for index in group])).float().cpu().numpy()
            for index, row in zip(group, outputs, strict=True):
                rows[index] = row
        return np.stack(rows)

    def packing(self, forward: Forward) -> Packing | None:
        """The packed pass, if this model has one and it answers as the padded one does."""
        packing = packing_for(self.model, self.first_position)
        if packing is None:
            return None
        samples = self.encode(
            [TextItem("a"), TextItem("where is my order?", "it is late"), TextItem("my card is lost")]
        )
        with torch.inference_mode():
            return packing if packing.is_exact(forward, samples) else None

    def _pad(self, batch: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        lengths = [item.length for item in batch]
        longest = max(lengths)
        starts = [longest - length if self._pads_left else 0 for length in lengths]
        mask = _padded([[1] * length for length in lengths], starts, longest, 0)
        arrays = {"input_ids": _padded([item.ids for item in batch], starts, longest, self._pad_id)}
        arrays["attention_mask"] = mask
        if self._wants_type_ids:
            arrays["token_type_ids"] = _padded([item.type_ids or () for item in batch], starts, longest, 0)
        if self._pads_left and self._takes_positions:  # by itself the model would count the padding in front, too
            arrays["position_ids"] = np.maximum(mask.cumsum(1) - 1, 0) + self.first_position
        return {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}


def _padded(rows: Sequence[Sequence[int]], starts: Sequence[int], width: int, fill: int) -> Rows:
    """Rows of one width, each with its values from its start on."""
    array = np.full((len(rows), width), fill, dtype=np.int64)
    for row, (values, start) in enumerate(zip(rows, starts, strict=True)):
        array[row, start : start + len(values)] = values
    return array


def _alike(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Indices sorted by length, split where the longest would be half as long again as the shortest, and 8 more."""
    groups: list[list[int]] = []
    shortest = 0
    for index, length in zip(order, lengths, strict=True):
        if not groups or length > shortest * 1.5 + 8:
            groups.append([])
            shortest = length
        groups[-1].append(index)
    return groups


def _shorten(item: TextItem, limit: int) -> TextItem:
    """A megabyte of text takes seconds to tokenize though only the first page is read: cut it beforehand."""
    if len(item.text) <= limit and (item.pair is None or len(item.pair) <= limit):
        return item
    return TextItem(item.text[:limit], None if item.pair is None else item.pair[:limit])


def _load_tokenizer(folder: Path) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise Refused(f"The tokenizer could not be loaded: {_first_line(error)}", code="load-failed") from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise Refused(
            f"The tokenizer {type(tokenizer).__name__} has no tokenizer.json.",
            hint="Save it once with transformers 5 (AutoTokenizer … save_pretrained) and import that folder.",
            code="no-fast-tokenizer",
        )
    return tokenizer


def _first_position(model: Any) -> int:
    """0, but RoBERTa and its kin count positions from the one after padding."""
    table: Any = next((m for name, m in model.named_modules() if name.endswith("position_embeddings")), None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def _context_length(model: Any, stated: float, first_position: int) -> int:
    """The smaller of what the tokenizer states and what the position embeddings hold."""
    positions = int(getattr(model.config, "max_position_embeddings", None) or 0)  # -1: XLNet has no table of them
    held = positions - first_position if positions > 0 else UNLIMITED
    length = min(int(min(stated, UNLIMITED)), held)
    return length if length < UNLIMITED else 4096


def _pad_id(model: Any) -> int:
    pad = model.config.pad_token_id
    if pad is None:  # decoders used as classifiers find the end of a text by this id
        eos = getattr(model.config, "eos_token_id", None)
        pad = model.config.pad_token_id = (eos[0] if isinstance(eos, list) else eos) or 0
    return int(pad)
