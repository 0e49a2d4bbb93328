"""How much one key may ask for: so many requests a second, with a short burst, and so many open at once.

The counts live in the gateway alone, by the key's id, and are gone when it is started again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bedplate_serving.problems import Problem
from bedplate_serving.routes import Key

__all__ = ["KeyLimits"]

LONGEST_RETRY_SECONDS = 3600.0  # at a very low rate the true answer may be years, or no number at all


@dataclass
class _Use:
    """One key: the requests it may make at once from now on, as of `at`, and those that are open."""

    tokens: float
    at: float
    open: int = 0


class KeyLimits:
    """What each key has used. Used by one event loop; nothing here waits."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    @contextmanager
    def hold(self, key: Key | None) -> Iterator[None]:
        """For as long as one request of `key` is open; None and keys without a limit pass.

        Raises a Problem, `rate-limited` or `too-many-requests-open`, which counts for nothing.
        """
        if key is None or not (key.rate or key.concurrency):
            yield
            return
        use = self._uses.get(key.id) or self._uses.setdefault(key.id, _Use(_burst(key), self._clock()))
        if key.concurrency and use.open >= key.concurrency:
            raise _too_many_open(key)
        if key.rate:
            self._take(key, use)
        use.open += 1
        try:
            yield
        finally:
            use.open -= 1

    def _take(self, key: Key, use: _Use) -> None:
        now = self._clock()
        use.tokens = min(_burst(key), use.tokens + (now - use.at) * key.rate)
        use.at = now
        if use.tokens < 1:
            raise _too_fast(key, (1 - use.tokens) / key.rate)
        use.tokens -= 1

    def forget_idle(self, known: set[str]) -> None:
        """Drops keys that are none any more; `known` are the ids in force."""
        for key_id in [key_id for key_id, use in self._uses.items() if key_id not in known and not use.open]:
            del self._uses[key_id]


def _burst(key: Key) -> float:
    return max(1.0, 2 * key.rate)


def _too_fast(key: Key, seconds: float) -> Problem:
    retry = math.ceil(min(seconds, LONGEST_RETRY_SECONDS))
    detail = f"The key {key.id!r} has used its {key.rate:g} requests a second."
    return Problem(429, "rate-limited", detail, "Send fewer, or batch them.", retry_after_seconds=retry)


def _too_many_open(key: Key) -> Problem:
    detail = f"The key {key.id!r} has {key.concurrency} requests open, which is all it may."
    return Problem(429, "too-many-requests-open", detail, "Wait for one of them.", retry_after_seconds=1)
