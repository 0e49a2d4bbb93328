"""How long one request may take: what its caller gives it, within what its deployment allows."""

from __future__ import annotations

import math

from bedplate_serving.asgi import Scope, header
from bedplate_serving.problems import Problem

__all__ = ["DEFAULT_SECONDS", "timeout_seconds"]

DEFAULT_SECONDS = 300.0  # a deployment's own limit, where nothing else is set


def timeout_seconds(scope: Scope, limit_seconds: float) -> float:
    """X-Bedplate-Timeout, or less: the caller may want it sooner than the deployment allows, never later.

    Raises a Problem for what is no number of seconds.
    """
    given = header(scope, b"x-bedplate-timeout")
    try:
        seconds = limit_seconds if given is None else float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        hint = "Give a number of seconds above 0."
        raise Problem(422, "bad-timeout", f"X-Bedplate-Timeout is {str(given)[:100]!r}.", hint)
    return min(seconds, limit_seconds)
