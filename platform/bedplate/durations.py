"""Durations as people write them: `90s`, `30m`, `2h`, `1.5d`, or a number of seconds."""

from __future__ import annotations

import math
import re

from bedplate_registry.errors import Refused

__all__ = ["seconds_of"]

WRITTEN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([smhd]?)")
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
MOST_SECONDS = 366 * 86_400


def seconds_of(name: str, value: object) -> float:
    """How many seconds the value of the setting `name` means. Raises Refused."""
    found = WRITTEN.fullmatch(value.strip()) if isinstance(value, str) else None
    seconds = float(found[1]) * SECONDS[found[2]] if found else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise Refused(f"{name}={value!r} is no duration.", hint="Write it as 90s, 30m, 2h or 1.5d.")
    if not 0 < seconds <= MOST_SECONDS:
        raise Refused(f"{name}={value!r} is not accepted.", hint="Give more than nothing, and at most a year.")
    return float(seconds)
