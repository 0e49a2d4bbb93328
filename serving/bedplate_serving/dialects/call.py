"""What passes between the replica and its dialects: a call, and the reply to it.

A dialect is a function of a Call and the predictor. It gives a Reply where the model has nothing to do, and otherwise
what is to be asked of the model and how its results are written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Call", "Reply", "ScoringRequest", "StreamingReply", "StreamingRequest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, and what is asked: the replica makes it of HTTP, a dialect reads it."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str]  # lower-case names; of several of a name the first
    deadline: float  # on time.monotonic()'s clock
    model: str  # name:version
    endpoint: str
    sample: Mapping[str, Any]  # {"request": a body of the Hub's dialect, "answer": …} of this very model

    @property
    def content_type(self) -> str | None:
        return self.headers.get("content-type")

    @property
    def accept(self) -> str | None:
        return self.headers.get("accept")


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    body: bytes
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()
    status: int = 200


@dataclass(frozen=True, slots=True)
class StreamingReply:
    """An answer that comes piece by piece. What goes wrong before the first chunk is raised by it, as a Reply's would
    be; what goes wrong later is for the dialect to say in a chunk of its own.
    """

    chunks: AsyncIterator[bytes]
    content_type: str = "text/event-stream"
    headers: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """Items that the predictor agreed to, and how the model's raw results of them, in their order, are written."""

    items: Sequence[Any]
    write: Callable[[Sequence[Any]], Reply]
    is_heavy: bool = False  # whether writing is too much for the event loop


@dataclass(frozen=True, slots=True)
class StreamingRequest:
    """One item, and how the pieces of its answer (predictors.base.Piece) are written."""

    item: Any
    write: Callable[[AsyncIterator[Any]], AsyncIterator[bytes]]
