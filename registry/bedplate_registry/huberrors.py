"""The errors of the Hub's routes: what its released clients go by are headers, and the code in one of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import BedplateError, Refused

__all__ = ["LastHandler", "NotServed", "error_answer", "error_headers", "refused"]

log = logging.getLogger(__name__)


class NotServed(Exception):
    """Answered with the code that the Hub's clients go by."""

    def __init__(self, code: str, message: str, commit: str | None = None, *, status: int = 404) -> None:
        super().__init__(message)
        # The commit lets the client remember that this file is not in it.
        self.response = error_answer(status, code, message, {"X-Repo-Commit": commit} if commit else {})


def error_headers(code: str, message: str) -> dict[str, str]:
    """What the clients read of an error: its body they may not see."""
    shown = message.encode("ascii", "backslashreplace").decode()
    return {"X-Error-Message": shown, **({"X-Error-Code": code} if code else {})}


def error_answer(status: int, code: str, message: str, headers: Mapping[str, str]) -> Response:
    return JSONResponse({"error": message}, status, headers={**headers, **error_headers(code, message)})


def refused(error: BedplateError) -> Response:
    """A search that makes no sense is the caller's fault; anything else is a version that cannot be read now."""
    code = error.code or ""
    is_callers = isinstance(error, Refused) and code != "bad-manifest"
    return error_answer(400 if is_callers else 503, code, f"{error.message} {error.hint}".strip(), {})


class LastHandler:
    """Answers what nothing else caught, with the headers that the clients read.

    Starlette's own would raise it again, for which the server closes a connection that other callers wait for.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            if has_begun:  # the rest is missing, which only a cut connection says
                raise
            log.exception("%s %s failed", scope.get("method"), scope.get("path"))
            await error_answer(500, "", "This failed here. The server's log says why.", {})(scope, receive, send)
