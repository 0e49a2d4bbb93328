"""Errors on the wire: an RFC 9457 problem document; on scoring routes with what inference clients look for.

    {"type": "about:blank", "title": …, "status": 422, "code": "bad-items", "detail": "item 3: …", "hint": "Correct …",
     "request_id": …, "error": detail and hint, "error_type": "validation", "errors": [{"index", "message"}]}

`error` must be a string (tritonclient fails to decode anything else); `error_type` is what text_generation maps. Under
/v1 it is OpenAI's object, which is all that its client shows:

    {"error": {"message": detail and hint, "type": "invalid_request_error", "param": …, "code": "bad-items"}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

import orjson

from bedplate_registry.errors import BedplateError, Conflict, Forbidden, NotFound, Refused, Unavailable

__all__ = ["CONTENT_TYPE", "ErrorShape", "Problem", "problem_of"]

CONTENT_TYPE = "application/problem+json"
STATUS = {Refused: 422, NotFound: 404, Conflict: 409, Forbidden: 403, Unavailable: 503}
ERROR_TYPES = {401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "overloaded", 500: "generation"}
OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
OPENAI_CODES = {  # what programs look for; other codes are our own
    "no-endpoint": "model_not_found",
    "unauthorized": "invalid_api_key",
    "rate-limited": "rate_limit_exceeded",
}
ErrorShape = Literal["problem", "scoring", "openai"]


@dataclass(eq=False)  # not frozen: Python writes the traceback into what is raised
class Problem(Exception):
    """An answer that is an error. It is raised by whoever finds the fault and sent by the request's outer edge."""

    status: int
    code: str
    detail: str
    hint: str = ""
    retry_after_seconds: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        return HTTPStatus(self.status).phrase

    @property
    def all_headers(self) -> list[tuple[str, str]]:
        retry = [] if self.retry_after_seconds is None else [("retry-after", str(self.retry_after_seconds))]
        return [("content-type", CONTENT_TYPE), *retry, *self.headers]

    def headers_in(self, shape: ErrorShape) -> list[tuple[str, str]]:
        kind = "application/json" if shape == "openai" else CONTENT_TYPE
        return [("content-type", kind), *self.all_headers[1:]]

    def body_in(self, shape: ErrorShape, request_id: str | None) -> bytes:
        """As the callers of that kind of route read it."""
        if shape == "openai":
            return self.openai_body()
        return self.scoring_body(request_id) if shape == "scoring" else self.body(request_id)

    def body(self, request_id: str | None = None) -> bytes:
        """None for what was no request yet."""
        return orjson.dumps(self._document(request_id))

    def scoring_body(self, request_id: str | None) -> bytes:
        """On a scoring route."""
        kind = ERROR_TYPES.get(self.status, "validation" if self.status < 500 else "unavailable")
        return orjson.dumps({**self._document(request_id), "error": self.sentence, "error_type": kind})

    def openai_body(self) -> bytes:
        """Under /v1. The request's id is in its header alone."""
        kind = OPENAI_TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        code, param = OPENAI_CODES.get(self.code, self.code), self.extra.get("param")
        return orjson.dumps({"error": {"message": self.sentence, "type": kind, "param": param, "code": code}})

    @property
    def sentence(self) -> str:
        return f"{self.detail} {self.hint}".strip()

    def _document(self, request_id: str | None) -> dict[str, Any]:
        document = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "hint": self.hint,
            **self.extra,
        }
        return document if request_id is None else {**document, "request_id": request_id}


def problem_of(error: BedplateError) -> Problem:
    """The problem document of one of our own errors."""
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    errors = [{"index": index, "message": message} for index, message in getattr(error, "errors", ())]
    return Problem(
        getattr(error, "status", status),
        error.code,
        error.message,
        error.hint,
        getattr(error, "retry_after_seconds", 1 if status == 503 else None),
        {"errors": errors} if errors else {},
    )
