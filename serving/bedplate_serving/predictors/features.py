"""The features of a base: one vector per text, the mean of its last hidden states over its own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bedplate_serving.predictors.base import Encoded, predict_sorted
from bedplate_serving.predictors.encoder import TextEncoder, TextItem, load_model, parse_text, pick_device

__all__ = ["FeatureExtractor"]


class FeatureExtractor:
    """A loaded base. It is not a Predictor: a base answers nobody, it is measured by a probe on these features."""

    task = ""
    labels: tuple[str, ...] = ()

    def __init__(self, folder: Path, device: str = "auto", threads: int | None = None) -> None:
        from transformers import AutoModel

        self.device = pick_device(device)
        self._model = load_model(AutoModel, folder, self.device)
        if getattr(self._model.config, "is_encoder_decoder", False):
            self._model = self._model.get_encoder()
        self._encoder = TextEncoder(self._model, folder, self.device, threads)
        self.hidden_size = int(self._model.config.hidden_size)
        self.context_length = self._encoder.context_length
        self.token_budget = self._encoder.token_budget

    def encode(self, items: Sequence[TextItem]) -> list[Encoded]:
        return self._encoder.encode(items)

    def forward(self, batch: Sequence[Encoded]) -> list[np.ndarray[Any, Any]]:
        return list(self._encoder.run(batch, self._mean))

    def features(self, items: Sequence[Any]) -> np.ndarray[Any, Any]:
        """[n, hidden]; texts and pairs as a classifier takes them."""
        rows = predict_sorted(self, [parse_text(item) for item in items])
        return np.stack(rows) if rows else np.zeros((0, self.hidden_size), dtype=np.float32)

    def _mean(self, **inputs: Any) -> Any:
        hidden = self._model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"].unsqueeze(-1).float()
        return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1.0)

    def sample(self) -> str:
        return "Hello, where is my order?"
