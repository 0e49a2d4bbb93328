"""Models as OpenAI's dialect lists them: endpoints, by their names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

__all__ = ["model_card", "model_list"]


def model_list(endpoints: Iterable[str]) -> bytes:
    return orjson.dumps({"object": "list", "data": [_card(name) for name in endpoints]})


def model_card(endpoint: str) -> bytes:
    return orjson.dumps(_card(endpoint))


def _card(endpoint: str) -> dict[str, Any]:
    return {"id": endpoint, "object": "model", "created": 0, "owned_by": "bedplate"}  # 0: when is not told here
