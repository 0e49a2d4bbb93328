"""One input of a text task: a text, or a pair of texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, NotRequired

from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on

from bedplate_serving.predictors.base import ItemError

__all__ = ["TextItem", "TextPair", "check_text", "keys_of", "kind_of", "parse_text", "shown_key"]

MAX_SHOWN = 100  # characters of a caller's key in an error
MAX_KEYS = 8
PAIR_KEYS = (("text", "text_pair"), ("sentence1", "sentence2"), ("input_string", "input_string_pair"))


class TextPair(TypedDict):
    """A pair as callers write it. (A list of two strings is two items.)"""

    text: str
    text_pair: NotRequired[str | None]


class TextItem(NamedTuple):
    """A text, or a pair of texts."""

    text: str
    pair: str | None = None


def parse_text(item: Any) -> TextItem:
    """A string, `{"text", "text_pair"}`, or a row of mapped columns `{"sentence1", "sentence2"}`."""
    if isinstance(item, TextItem):
        return item
    if isinstance(item, str):
        return TextItem(check_text(item, "text"))
    if not isinstance(item, dict):
        raise ItemError(f'must be a string or a pair {{"text": …, "text_pair": …}}, not {kind_of(item)}')
    for first, second in PAIR_KEYS:
        if first in item:
            return _parse_pair(item, first, second)
    raise ItemError(f'has no "text"; it holds {keys_of(item)}')


def _parse_pair(item: dict[str, Any], first: str, second: str) -> TextItem:
    unknown = sorted(set(map(str, item)) - {first, second, "label"})
    if unknown:
        raise ItemError(f"has the unknown key {shown_key(unknown[0])}; a pair has {first!r} and {second!r}")
    text = check_text(item[first], first)
    pair = item.get(second)
    return TextItem(text) if pair is None else TextItem(text, check_text(pair, second))


def kind_of(item: Any) -> str:
    """What somebody sent in place of something else, as an error tells it."""
    return "a list" if isinstance(item, list) else "null" if item is None else type(item).__name__


def shown_key(key: Any) -> str:
    """A caller's key as an error tells it, in quotes; no more than 100 characters of it."""
    return repr(str(key)[:MAX_SHOWN])


def keys_of(item: Iterable[Any]) -> str:
    """The keys that an item has, the first few of them, as an error tells them."""
    keys = sorted(map(shown_key, item))
    more = f" and {len(keys) - MAX_KEYS} more" if len(keys) > MAX_KEYS else ""
    return (", ".join(keys[:MAX_KEYS]) or "nothing") + more


def check_text(text: Any, key: str) -> str:
    """A text that a tokenizer can read and that says something. Raises ItemError."""
    if not isinstance(text, str):
        raise ItemError(f"{key} must be a string, not {kind_of(text)}")
    if not text.strip():
        raise ItemError(f"{key} is empty")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ItemError(f"{key} holds half a surrogate pair at character {error.start}") from error
    return text
