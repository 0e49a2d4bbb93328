"""The features of a base: one vector per text, the mean of its last hidden states over its own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bedplate_serving.predictors.base import OnCut, predict_sorted
from bedplate_serving.predictors.encoders.encoder import Head, TextEncoder, Window
from bedplate_serving.predictors.text import TextItem, parse_text

__all__ = ["FeatureExtractor"]

HEAD = Head("AutoModel", "tokens", lambda output: output.last_hidden_state)


class FeatureExtractor:
    """A loaded base. It is not a Predictor: a base answers nobody, it is measured by a probe on these features."""

    def __init__(self, folder: Path, device: str = "auto", threads: int | None = None) -> None:
        self._encoder = TextEncoder(folder, HEAD, device, threads)
        self.device = self._encoder.device
        self.hidden_size = self._encoder.facts.hidden_size
        self.context_length = self._encoder.context_length
        self.token_budget = self._encoder.token_budget

    def encode(self, items: Sequence[TextItem]) -> list[Window]:
        return self._encoder.encode(items)

    def forward(self, batch: Sequence[Window]) -> list[np.ndarray[Any, Any]]:
        return [tokens.mean(axis=0) for tokens in self._encoder.run(batch)]

    def features(self, items: Sequence[Any], on_cut: OnCut | None = None) -> np.ndarray[Any, Any]:
        """[n, hidden]; texts and pairs as a classifier takes them."""
        rows = predict_sorted(self, [parse_text(item) for item in items], on_cut=on_cut)
        return np.stack(rows) if rows else np.zeros((0, self.hidden_size), dtype=np.float32)

    def sample(self) -> str:
        return "Hello, where is my order?"
