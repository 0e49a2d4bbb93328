"""What all dialects do with a body: read it as an object of known keys, and have the predictor look at each item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from bedplate_registry.errors import Refused, nearest
from bedplate_serving.predictors.base import BadItems, ItemError, Predictor
from bedplate_serving.problems import Problem

__all__ = ["MAX_ITEMS", "BadItem", "as_mapping", "parse_items", "read_object", "refuse_too_many"]

MAX_ITEMS = 4096  # in one request: a longer one would keep the queue of everybody else for minutes


class BadItem:
    """Stands in the list for an item whose fault was seen before the predictor looked at it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def read_object(body: bytes, known: Sequence[str] | None = None) -> dict[str, Any]:
    """The body as a JSON object. Raises a Problem for what is none, Refused for a key that is not `known`."""
    try:
        root = orjson.loads(body)
    except ValueError as error:  # too deep, NaN, half a surrogate pair, not UTF-8: all of them end here
        raise Problem(400, "bad-json", f"The body is not JSON: {error}.") from error
    if not isinstance(root, dict):
        raise Refused(f"The body must be a JSON object, not {type(root).__name__}.", code="bad-body")
    for key in root if known is not None else ():
        if known is not None and key not in known:
            raise Refused(
                f"The body has the unknown key {key[:100]!r}.", hint=nearest(key[:100], known), code="unknown-key"
            )
    return root


def as_mapping(value: Any, name: str) -> Mapping[str, Any]:
    """null is as good as an empty object."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(f"{name} must be an object, not {type(value).__name__}.", code="bad-parameter")
    return value


def parse_items(items: Sequence[Any], predictor: Predictor, parameters: Any) -> list[Any]:
    """All of a list. Raises BadItems with every fault in it."""
    refuse_too_many(len(items))
    parsed: list[Any] = []
    errors: list[tuple[int, str]] = []
    for index, item in enumerate(items):
        try:
            if isinstance(item, BadItem):
                raise ItemError(item.reason)
            parsed.append(predictor.parse(item, parameters))
        except ItemError as error:
            errors.append((index, error.message))
    if errors:
        raise BadItems(errors)
    return parsed


def refuse_too_many(count: int) -> None:
    if count > MAX_ITEMS:
        detail = f"The request has {count} items; at most {MAX_ITEMS} are taken in one."
        raise Problem(413, "too-many-items", detail, "Split it, or score a file in batch.")
