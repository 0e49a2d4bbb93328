"""What goes over the wire between the client and a server: paths, bodies, and what answers say, as our own errors.

It does no input or output itself: the client and its async twin share it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from bedplate_registry.errors import (
    BedplateError,
    Changed,
    Conflict,
    Forbidden,
    NoRoom,
    NotFound,
    Refused,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)
from bedplate_registry.names import Ref

__all__ = [
    "AGAIN_SECONDS",
    "CUT",
    "Patience",
    "any_json_of",
    "error_of",
    "given",
    "items_of",
    "json_bytes",
    "json_of",
    "local_file",
    "model_path",
    "plain_errors",
    "url_path",
]

ERRORS: dict[int, type[BedplateError]] = {
    400: Refused,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    405: Refused,
    409: Conflict,
    412: Changed,
    413: TooLarge,
    415: UnsupportedMedia,
    422: Refused,
    429: Unavailable,  # a limit of this key, or a queue that is full
    431: TooLarge,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
    507: NoRoom,
}
# How a connection breaks after it stood: what was asked may have been done or not.
CUT = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
PATIENCE_SECONDS = 30.0  # how long a call waits for the next control plane, or for its turn
AGAIN_SECONDS = 0.2
TCP_SENDS = 3  # of a request that may be sent again, where its connection is cut


class Patience:
    """Whether a request that failed is sent once more.

    Over the home's own sockets one that never reached a server is, since a server is started meanwhile. One that was
    cut off is where sending twice does no harm (`again`), and so is one that a gateway could not pass on to its control
    plane. One that came too soon for its key is when its turn is.
    """

    def __init__(self, *, again: bool, is_local: bool) -> None:
        self._again, self._is_local = again, is_local
        self._connects, self._cuts = 0, 0
        self.deadline = time.monotonic() + PATIENCE_SECONDS

    def allows(self, exc: Unavailable) -> bool:
        """Whether to send again after this error."""
        cause = exc.__cause__
        if time.monotonic() > self.deadline:
            return False
        if isinstance(cause, httpx.ConnectError):
            self._connects += 1
            return self._is_local and (self._again or self._connects == 1)
        self._cuts += 1
        return isinstance(cause, CUT) and self._again and (self._is_local or self._cuts < TCP_SENDS)

    def pause_seconds(self, response: httpx.Response) -> float | None:
        """How long to wait before it is sent again; None where the answer is one to take.

        What the gateway could not pass on may have been done all the same, so that is sent again only where it may be.
        """
        is_restarting = response.status_code == 503 and error_of(response).code == "control-unavailable"
        if not (response.status_code == 429 or (is_restarting and self._again)):
            return None
        after = response.headers.get("Retry-After", "1")
        pause = max(AGAIN_SECONDS, float(after)) if after.isdecimal() else 1.0
        return pause if time.monotonic() + pause < self.deadline else None


def url_path(*parts: str) -> str:
    """The path below /api/v1, each part quoted. Raises Refused for a part that would lead to another route."""
    for part in parts:
        if part in ("", ".", "..") or not part.isprintable():  # lone surrogates are not printable
            raise Refused(f"{part!r} is not a name.", hint="Give a name or an id.", code="bad-name")
    return "/".join(["/api/v1", *(quote(part, safe="") for part in parts)])


def model_path(ref: str, *more: str) -> str:
    """The path of a model, with one-part names under `_`. Raises Refused for what is no reference."""
    org, _, rest = str(Ref.parse(ref)).rpartition("/")
    return url_path("models", org or "_", rest, *more)


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def json_bytes(body: Mapping[str, Any]) -> bytes:
    """A body as JSON. Raises Refused for a value that has no form there, such as a date or infinity."""
    try:
        return json.dumps(dict(body), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise Refused(
            f"The request holds a value that JSON cannot carry: {exc}.",
            hint="Use texts, finite numbers, true, false, lists and objects.",
        ) from exc


def json_of(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer. Raises Unavailable where something else answers, such as a page for people."""
    body = any_json_of(response)
    if not isinstance(body, dict):
        raise _not_ours(_origin(response))
    return body


def any_json_of(response: httpx.Response) -> Any:
    """The JSON of an answer, whatever it is. Raises Unavailable where it is none."""
    try:
        return response.json()
    except (ValueError, RecursionError) as exc:
        raise _not_ours(_origin(response)) from exc


def items_of(body: Mapping[str, Any], url: str) -> list[Any]:
    """The items of a list that a server answered with. Raises Unavailable where there are none."""
    found = body.get("items")
    if not isinstance(found, list):
        raise _not_ours(url)
    return found


def error_of(response: httpx.Response) -> BedplateError:
    """The error that a problem document tells of. The body has been read."""
    try:
        parsed = response.json()
    except (ValueError, RecursionError):
        parsed = None
    body: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
    if response.is_redirect:
        return _not_ours(_origin(response), f"it sends callers on to {response.headers.get('location', '')!r}")
    kind = ERRORS.get(response.status_code, BedplateError)
    message = body.get("detail") or f"{_origin(response)} answered {response.status_code}."
    hint = body.get("hint") or ("Give a key, for example in BEDPLATE_TOKEN." if kind is Forbidden else "")
    return kind(str(message), hint=str(hint), code=body.get("code") or kind.code)


@contextmanager
def plain_errors(url: str, *, is_here: bool) -> Iterator[None]:
    """What goes wrong on the way, as Refused for a URL that is none and as Unavailable for the rest.

    `is_here`: the server is one of this machine, where the caller may start it.
    """
    try:
        yield
    except httpx.InvalidURL as exc:
        raise Refused(f"{url!r} is not a URL to call: {exc}.", hint="Check the name or --url.", code="bad-url") from exc
    except httpx.HTTPError as exc:
        hint = (
            "Is the server running? Start: bedplate serve" if is_here else "Check the address, and that it runs there."
        )
        if "CERTIFICATE_VERIFY_FAILED" in str(exc):
            hint = "Call it by a name in its certificate, and name the file of its authority in SSL_CERT_FILE."
        raise Unavailable(f"{url} does not answer: {str(exc) or type(exc).__name__}.", hint=hint) from exc


@contextmanager
def local_file(path: Path, done: str) -> Iterator[None]:
    """What goes wrong with a file of the caller's, as Refused; `done` is "read" or "written"."""
    try:
        yield
    except OSError as exc:
        hint = "Check the path, its permissions and the room on its disk."
        raise Refused(f"{str(path)!r} cannot be {done}: {exc.strerror or exc}.", hint=hint, code="local-file") from exc


def _not_ours(url: str, why: str = "it does not answer in JSON as one does") -> Unavailable:
    return Unavailable(
        f"{url} is not a Bedplate server: {why}.", hint="Check --url or BEDPLATE_URL.", code="not-bedplate"
    )


def _origin(response: httpx.Response) -> str:
    url = response.request.url
    return f"{url.scheme}://{url.netloc.decode('ascii', 'replace').rpartition('@')[2]}"
