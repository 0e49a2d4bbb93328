"""Texts that come in pieces of bytes: the lines of a log, and server-sent events."""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Event", "EventFeed", "Lines"]


class Lines:
    """The lines of a text in pieces, each as soon as it is whole."""

    def __init__(self) -> None:
        self._decoder, self._rest = codecs.getincrementaldecoder("utf-8")("replace"), ""

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that this piece ends."""
        *whole, self._rest = (self._rest + self._decoder.decode(chunk)).split("\n")
        return whole

    def rest(self) -> list[str]:
        """At the end, the line that nothing ended."""
        self._rest += self._decoder.decode(b"", final=True)
        return [self._rest] if self._rest else []


@dataclass(frozen=True)
class Event:
    """A server-sent event: a `type`, such as `progress`, and its `data`. A `state` has no `id`."""

    type: str
    data: dict[str, Any]
    id: int | None = None


class EventFeed:
    """The events of a text in pieces, each as soon as it is whole. Comments, which keep a line open, are left out."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._fields: dict[str, str] = {}

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this piece ends."""
        found = []
        for line in self._lines.feed(chunk):
            name, _, value = line.removesuffix("\r").partition(":")
            if name:
                self._fields[name] = value.removeprefix(" ")
            elif not line.strip():
                found += [_event(self._fields)] if "data" in self._fields else []
                self._fields = {}
        return found


def _event(fields: dict[str, str]) -> Event:
    number = fields.get("id", "")
    data = json.loads(fields["data"])
    return Event(fields.get("event", "message"), data, int(number) if number.isdecimal() else None)
