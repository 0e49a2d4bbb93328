"""BentoML as the serving lab tuned it: adaptive batches of at most 16. `bentoml serve` runs it."""

from __future__ import annotations

from typing import Any

import bentoml
from model import Classifier


@bentoml.service(workers=1, traffic={"timeout": 60})
class Service:
    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=60000)
    def predict(self, inputs: list[str]) -> list[list[dict[str, Any]]]:
        return self._classifier.predict(inputs)
