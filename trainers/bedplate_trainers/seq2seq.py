"""Texts and what is written of them as an encoder-decoder takes them: rows, batches, and the judge of its texts."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from bedplate_registry.progress import Reporter

from .encoding import EncodedRows, Keep, Tokens, made_anew
from .metrics.of_task import metrics_of
from .metrics.written import tokenizer_for
from .objectives import ClassLoss
from .plan import Batch, Objective, inputs_of, watched
from .settings import FinetuneSettings
from .text_pairs import TextPair
from .writers import greedy

__all__ = ["PairRows", "WritingJudge", "encode_pairs", "target_lengths"]

CHUNK_ROWS = 1000
MOST = 99  # percent of the targets that are not cut by default
# Scored at each evaluation while training; the report has them all.
RUNNING_METRICS = {"summarization": ("rouge1", "rouge2", "rougeL"), "translation": ("bleu", "chrf")}


class PairRows:
    """Sources and targets, each padded to the longest of the batch; targets by what the loss leaves out."""

    def __init__(self, model: Any, source: EncodedRows, target: EncodedRows) -> None:
        self._model, self._source, self._target = model, source, target
        # Not their sum: rows alike in it may be long on either side, and a batch would be padded on both.
        self.lengths = np.maximum(source.lengths, target.lengths)
        self._wants_global_attention = "global_attention_mask" in inspect.signature(model.forward).parameters

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        batch = self._source.__getitems__(rows)
        labels = self._target.__getitems__(rows)["input_ids"]
        if self._wants_global_attention:  # LED is served with its first token seen by all others
            ids = batch["input_ids"]
            batch["global_attention_mask"] = torch.zeros_like(ids).index_fill(1, torch.tensor(0), 1)
        return batch | {"decoder_input_ids": _shifted(self._model, labels), "labels": labels}


def encode_pairs(
    tokenizer: Any,
    model: Any,
    rows: Sequence[TextPair],
    read: Callable[[str], str],
    settings: FinetuneSettings,
    reporter: Reporter,
    multiple: int = 1,
    keep: Keep = made_anew,
) -> PairRows:
    """Tokenizes once; sources and targets are cut, each to its own length. `read` puts words before a source."""
    texts = [(read(row.source), row.target) for row in rows]
    limits = (int(settings.max_source_length), int(settings.max_target_length))
    about = ("pairs", limits, _first_token(model))
    tokens = keep(texts, about, partial(_tokens, tokenizer, model, texts, limits, reporter))
    pads = {"input_ids": int(model.generation_config.pad_token_id)}
    return PairRows(
        model,
        EncodedRows({"input_ids": tokens["source"]}, {}, pads, multiple),
        EncodedRows({"input_ids": tokens["target"]}, {}, {"input_ids": ClassLoss.IGNORED}, multiple),
    )


def _tokens(
    tokenizer: Any, model: Any, texts: Sequence[tuple[str, str]], limits: tuple[int, int], reporter: Reporter
) -> Tokens:
    source: list[Any] = []
    target: list[Any] = []
    for at in range(0, len(texts), CHUNK_ROWS):
        sources, targets = map(list, zip(*texts[at : at + CHUNK_ROWS], strict=True))
        source += _ids(tokenizer, sources, truncation=True, max_length=limits[0])
        target += _targets(tokenizer, model, targets, truncation=True, max_length=limits[1])
        reporter.progress("tokenize", at + len(sources), len(texts), "rows")
    return {"source": source, "target": target}


def target_lengths(tokenizer: Any, model: Any, rows: Sequence[TextPair]) -> int:
    """The tokens that 99 of 100 targets have at most."""
    found = [
        len(ids)
        for at in range(0, len(rows), CHUNK_ROWS)
        for ids in _targets(tokenizer, model, [row.target for row in rows[at : at + CHUNK_ROWS]])
    ]
    return int(np.percentile(found, MOST, method="higher"))


def _targets(tokenizer: Any, model: Any, texts: list[str], **limits: Any) -> list[Any]:
    """As the decoder is to write them: what it starts with is not written."""
    start = _first_token(model)
    found = _ids(tokenizer, None, text_target=texts, **limits)
    return [ids[1:] if len(ids) > 1 and ids[0] == start else ids for ids in found]


def _first_token(model: Any) -> int | None:
    """What a target must not begin with. (Two BERTs start to write with what a text begins with.)"""
    return model.config.decoder_start_token_id if model.config.model_type == "encoder-decoder" else None


def _ids(tokenizer: Any, texts: list[str] | None, **options: Any) -> list[Any]:
    encoded = tokenizer(texts, padding=False, return_attention_mask=False, verbose=False, **options)
    return [np.asarray(row, dtype=np.int32) for row in encoded["input_ids"]]


def _shifted(model: Any, labels: torch.Tensor) -> torch.Tensor:
    """What the decoder reads to write the labels, by the family's own rule."""
    if hasattr(model, "prepare_decoder_input_ids_from_labels"):
        return torch.as_tensor(model.prepare_decoder_input_ids_from_labels(labels=labels))
    config, family = model.config, sys.modules[type(model).__module__]
    shifted = family.shift_tokens_right(labels, config.pad_token_id, config.decoder_start_token_id)
    return torch.as_tensor(shifted)


class WritingJudge:
    """The loss of the validation rows, and metrics of what the model writes of some of them, spread evenly."""

    def __init__(
        self,
        task: str,
        rows: PairRows,
        texts: Sequence[TextPair],
        tokenizer: Any,
        config: Any,
        objective: Objective,
        settings: FinetuneSettings,
    ) -> None:
        self.lengths = rows.lengths
        self._task, self._rows, self._tokenizer, self._objective = task, rows, tokenizer, objective
        count = min(settings.eval_generate_rows, len(texts))
        self._written = {len(texts) * number // count for number in range(count)}
        self._references = [texts[place].targets for place in sorted(self._written)]
        self._greedy = greedy(config)
        self._names = watched(RUNNING_METRICS[task], settings)
        self._metrics([""] * count)  # references that no metric can read are refused before training

    def predict(self, model: Any, rows: Sequence[int], device: torch.device) -> list[Any]:
        """Of each row: its summed loss, the number of its tokens, and the text, or None where none is written."""
        batch = self._rows.__getitems__(rows)
        logits, labels = model(**inputs_of(batch, device)).logits, batch["labels"].to(device)
        losses = [
            float(self._objective.total(SimpleNamespace(logits=logits[place, None]), {"labels": labels[place, None]}))
            for place in range(len(rows))
        ]
        counts = (batch["labels"] != ClassLoss.IGNORED).sum(dim=1).tolist()
        places = [place for place, row in enumerate(rows) if row in self._written]
        texts = dict(zip(places, self._write(model, batch, places, device), strict=True))
        return [(losses[place], counts[place], texts.get(place)) for place in range(len(rows))]

    def scores(self, predictions: Sequence[Any]) -> Mapping[str, float]:
        losses, counts, texts = zip(*predictions, strict=True)
        written = [text for text in texts if text is not None]
        return {"loss": sum(losses) / max(sum(counts), 1), **self._metrics(written)}

    def _write(self, model: Any, batch: Batch, places: Sequence[int], device: torch.device) -> list[str]:
        if not places:
            return []
        inputs = inputs_of(batch, device)
        chosen = {name: value[places] for name, value in inputs.items() if name != "decoder_input_ids"}
        ids = model.generate(**chosen, generation_config=self._greedy)
        return [text.strip() for text in self._tokenizer.batch_decode(ids.tolist(), skip_special_tokens=True)]

    def _metrics(self, texts: Sequence[str]) -> dict[str, float]:
        if not texts:
            return {}
        metrics, tokenizer = metrics_of(self._task), tokenizer_for(self._task, self._references)
        return metrics.score(metrics.Predictions(texts, self._references, tokenizer), self._names)
