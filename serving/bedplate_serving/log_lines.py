"""Lines of a log: written without what logs.py needs, by small processes; and read, beside lines of other programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

__all__ = ["event_of", "last_event", "make_line", "parse_line", "readable"]


def make_line(logger: str, event: str, *, level: str = "warning", **fields: object) -> str:
    """A line as logs.py writes it, without its newline."""
    now = time.time()
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1e6):06}Z"
    return json.dumps({"time": moment, "level": level, "logger": logger, "event": event, **fields}, default=repr)


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


def readable(line: str) -> str:
    """A line as a person reads it: time, level and event, and below that the traceback that it holds."""
    fields = parse_line(line)
    if fields is None:
        return line
    trace = f"\n{fields['exception'].rstrip()}" if isinstance(fields.get("exception"), str) else ""
    return f"{str(fields['time'])[:19]} {fields.get('level', '')!s:<7} {fields['event']}{trace}"
