"""The batch that LitServe and BentoML run: padded to the longest, one pass, the likeliest label with its score."""

from __future__ import annotations

import os
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

__all__ = ["Classifier"]


class Classifier:
    def __init__(self) -> None:
        torch.set_num_threads(os.cpu_count() or 1)
        self._tokenizer = AutoTokenizer.from_pretrained(os.environ["MODEL"])
        self._model = AutoModelForSequenceClassification.from_pretrained(os.environ["MODEL"]).eval()

    @torch.inference_mode()
    def predict(self, texts: list[str]) -> list[list[dict[str, Any]]]:
        batch = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        scores, labels = self._model(**batch).logits.softmax(-1).max(-1)
        names = self._model.config.id2label
        pairs = zip(labels.tolist(), scores.tolist(), strict=True)
        return [[{"label": names[label], "score": score}] for label, score in pairs]
