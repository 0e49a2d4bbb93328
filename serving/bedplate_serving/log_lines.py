"""Read what logs.py writes, beside lines of other programs; without what logs.py needs to write."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

__all__ = ["event_of", "last_event", "parse_line"]


def parse_line(line: str) -> dict[str, Any] | None:
    """The fields of a line of ours; None for any other line."""
    if not line.startswith('{"time": '):
        return None
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and isinstance(fields.get("event"), str) else None


def event_of(line: str) -> str:
    """What a line says: its event, with the last line of a traceback that it holds; any other line as it is."""
    fields = parse_line(line)
    if fields is None:
        return line
    trace = str(fields.get("exception") or "").strip().splitlines()
    return f"{fields['event']}: {trace[-1]}" if trace else str(fields["event"])


def last_event(lines: Iterable[str]) -> str:
    """What the last line says that is not empty; `nothing` where there is none."""
    return next((event_of(line) for line in reversed(list(lines)) if line.strip()), "nothing")
