"""Server-sent events: an answer that comes piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import orjson

from bedplate_registry.errors import BedplateError, Refused
from bedplate_serving.predictors.base import Predictor
from bedplate_serving.problems import Problem, problem_of

__all__ = ["HEADERS", "event", "refuse_unless_writing", "with_errors"]

HEADERS = (("cache-control", "no-cache"), ("x-accel-buffering", "no"))  # a proxy that collects them defeats the purpose
WRITES = "text-generation"


def event(data: Any) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def refuse_unless_writing(predictor: Predictor, what: str) -> None:
    """Raises a Problem for an endpoint whose task is not text generation; `what` it was asked for."""
    if predictor.task != WRITES:
        detail = f"This endpoint does {predictor.task}: it has no {what}."
        raise Refused(detail, hint=f"That is for endpoints of the task {WRITES}.", code="wrong-task")


async def with_errors(chunks: AsyncIterator[bytes], last: Callable[[Problem], bytes]) -> AsyncIterator[bytes]:
    """The chunks. An error after the first of them is the `last` one, for the status has been sent; before, it is
    raised as it is.
    """
    is_started = False
    async with aclosing(chunks) as opened:  # type: ignore[type-var]  # of generators, which all of them are
        try:
            async for chunk in opened:
                yield chunk
                is_started = True
        except BedplateError as error:
            if not is_started:
                raise
            yield last(problem_of(error))
