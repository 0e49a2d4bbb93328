"""Texts and what is written of them as an encoder-decoder takes them: rows, batches, and the judge of its texts."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from bedplate_registry.progress import Reporter

from .encoding import EncodedRows
from .metrics.of_task import metrics_of
from .metrics.written import tokenizer_for
from .objectives import ClassLoss
from .plan import Batch, Objective, inputs_of
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
        self.lengths = source.lengths + target.lengths
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
) -> PairRows:
    """Tokenizes once; sources and targets are cut, each to its own length. `read` puts words before a source."""
    source: list[Any] = []
    target: list[Any] = []
    for at in range(0, len(rows), CHUNK_ROWS):
        chunk = rows[at : at + CHUNK_ROWS]
        texts = [read(row.source) for row in chunk]
        source += _ids(tokenizer, texts, truncation=True, max_length=int(settings.max_source_length))
        target += _targets(tokenizer, model, chunk, truncation=True, max_length=int(settings.max_target_length))
        reporter.progress("tokenize", at + len(chunk), len(rows), "rows")
    pads = {"input_ids": int(model.generation_config.pad_token_id)}
    return PairRows(
        model,
        EncodedRows({"input_ids": source}, {}, pads, multiple),
        EncodedRows({"input_ids": target}, {}, {"input_ids": ClassLoss.IGNORED}, multiple),
    )


def target_lengths(tokenizer: Any, model: Any, rows: Sequence[TextPair]) -> int:
    """The tokens that 99 of 100 targets have at most."""
    found = [
        len(ids)
        for at in range(0, len(rows), CHUNK_ROWS)
        for ids in _targets(tokenizer, model, rows[at : at + CHUNK_ROWS])
    ]
    return int(np.percentile(found, MOST, method="higher"))


def _targets(tokenizer: Any, model: Any, rows: Sequence[TextPair], **limits: Any) -> list[Any]:
    """As the decoder is to write them: what it starts with is not written. (Two BERTs start with what a text does.)"""
    start = model.config.decoder_start_token_id if model.config.model_type == "encoder-decoder" else None
    found = _ids(tokenizer, None, text_target=[row.target for row in rows], **limits)
    return [ids[1:] if len(ids) > 1 and ids[0] == start else ids for ids in found]


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
        self._references = [texts[place].target for place in sorted(self._written)]
        self._greedy = greedy(config)
        wanted = settings.metric_for_best_model
        self._names = tuple(dict.fromkeys((*RUNNING_METRICS[task], *(() if wanted == "loss" else (wanted,)))))
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
