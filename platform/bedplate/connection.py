"""One connection to a server: requests, uploads and downloads, and errors as our own exceptions."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx

from bedplate_registry.errors import BedplateError, Conflict, Forbidden, NotFound, Refused, Unavailable
from bedplate_registry.names import Ref

__all__ = ["Connection", "answer_of", "error_of", "json_bytes", "json_of", "model_path", "tcp_client", "url_path"]

ERRORS: dict[int, type[BedplateError]] = {
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Refused,
    429: Unavailable,
    503: Unavailable,
}
CHUNK_BYTES = 1 << 20
PATIENCE_SECONDS = 30.0  # how long a call over the home's socket waits for the next control plane
AGAIN_SECONDS = 0.2
CUTS = 10  # answers that are cut off one after the other without another byte
PAGE_ITEMS = 1000  # what the server gives at most
Revive = Callable[[], str | None]
T = TypeVar("T")


class Connection:
    """Requests to one server; what it refuses is raised as our own errors, with code and hint.

    `revive` is given for the home's own socket: it starts the server where none runs, and tells the token. A call that
    never reached a server is then made again, and so is one that only reads and was cut off.
    """

    def __init__(self, client: httpx.Client, token: str | None, *, revive: Revive | None = None) -> None:
        self._client = client
        self._revive = revive
        self.token = token

    @property
    def is_local(self) -> bool:
        """Whether this is the home's own socket, so that the server runs in the caller's name."""
        return self._client.base_url.host == "bedplate"

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        response = self._send(method, path, **options)
        if not response.is_success:
            raise error_of(response)
        return response

    def get(self, path: str, **params: Any) -> Any:
        return json_of(self.request("GET", path, params={k: v for k, v in params.items() if v is not None}))

    def items(self, path: str, **params: Any) -> list[Any]:
        """The items of a list."""
        return self._items(self.get(path, **params))

    def pages(self, path: str, *, limit: int, **params: Any) -> list[Any]:
        """The first `limit` items of a list that comes in pages."""
        found: list[Any] = []
        while len(found) < limit:
            body = self.get(path, limit=min(limit - len(found), PAGE_ITEMS), **params)
            found += self._items(body)
            if not body.get("next"):
                break
            params["after"] = body["next"]
        return found

    def post(self, path: str, body: Mapping[str, Any] | None = None, **options: Any) -> Any:
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return json_of(self.request("POST", path, content=json_bytes(body or {}), headers=headers, **options))

    def upload(self, path: Path) -> str:
        """Send a file once: bytes that are there already are not sent again. Returns their SHA-256."""
        with _local_file(path, "read"):
            digest = _sha256(path)
            place = url_path("uploads", digest)
            found = self._send("HEAD", place)
            if found.status_code == 404:
                with path.open("rb") as file:
                    self.request("PUT", place, content=iter(lambda: file.read(CHUNK_BYTES), b""))
            elif not found.is_success:
                raise error_of(found)
        return digest

    def download(self, path: str, target: Path) -> None:
        """Stream an answer to a file, which appears under its name when it is whole."""
        temporary = target.with_name(f".{target.name}.part")
        with _local_file(target, "written"):
            try:
                self._call(lambda: self._stream(path, temporary), again=True)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)

    def follow(self, path: str, **params: Any) -> Iterator[bytes]:
        """An answer as it comes, for as long as it takes, each byte once.

        One that is cut off, or silent for a minute, is asked for again from the byte it got to: X-Bedplate-Offset says
        where it began. Raises Unavailable where nothing more comes of that.
        """
        cuts = 0
        while cuts < CUTS:
            response = self._call(lambda: self._open(path, params), again=True)
            params["offset"] = int(response.headers.get("X-Bedplate-Offset", 0))
            try:
                for chunk in response.iter_raw():
                    params["offset"] += len(chunk)
                    cuts = 0
                    yield chunk
                return
            except httpx.ReadTimeout:
                cuts = 0
            except (httpx.ReadError, httpx.RemoteProtocolError):
                cuts += 1
                time.sleep(AGAIN_SECONDS)
            finally:
                response.close()
        raise Unavailable(f"{self._client.base_url} breaks off its answers.", hint="Its log says more.")

    def endpoint_url(self, url: str) -> str:
        """Where to score: over TCP the server that we talk to, whatever it calls itself; else the gateway it names."""
        if self.is_local:
            return url
        return str(self._client.base_url).rstrip("/") + urlsplit(url).path

    def close(self) -> None:
        self._client.close()

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._call(lambda: self._client.request(method, path, **options), again=method in ("GET", "HEAD"))

    def _open(self, path: str, params: Mapping[str, Any]) -> httpx.Response:
        """An answer whose body is still to come; whoever takes it closes it."""
        response = self._client.send(self._client.build_request("GET", path, params=dict(params)), stream=True)
        if response.is_success:
            return response
        try:
            response.read()
            raise error_of(response)
        finally:
            response.close()

    def _items(self, body: dict[str, Any]) -> list[Any]:
        if not isinstance(body.get("items"), list):
            raise _not_ours(str(self._client.base_url))
        found: list[Any] = body["items"]
        return found

    def _stream(self, path: str, temporary: Path) -> None:
        with self._client.stream("GET", path) as response:
            if not response.is_success:
                response.read()
                raise error_of(response)
            with temporary.open("wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)

    def _call(self, send: Callable[[], T], *, again: bool) -> T:
        """Send; over the home's socket again where nothing was sent, or (`again`) where sending twice does no harm."""
        deadline, connects = time.monotonic() + PATIENCE_SECONDS, 0
        while True:
            try:
                with _plain_errors(str(self._client.base_url)):
                    return send()
            except Unavailable as exc:
                cause = exc.__cause__
                is_late = self._revive is None or time.monotonic() > deadline
                if is_late or not isinstance(cause, (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError)):
                    raise
                was_sent = not isinstance(cause, httpx.ConnectError)
                if not again and (was_sent or connects):
                    raise
                connects += not was_sent
            self._wake(deadline)

    def _wake(self, deadline: float) -> None:
        """A server that is just leaving still holds the home for a moment, and the next one cannot start until then."""
        assert self._revive is not None
        while True:
            time.sleep(AGAIN_SECONDS)
            try:
                self.token = self._revive()
                return
            except Unavailable:
                if time.monotonic() > deadline:
                    raise


def tcp_client(url: str, token: str | None) -> httpx.Client:
    """An HTTP client for a server at `url`. Raises Refused for what is no URL, or a token that no header can carry."""
    hint = "Give it as in --url http://gpu01:8686, or in BEDPLATE_URL."
    try:
        base = httpx.URL(url.rstrip("/"))
        parts = urlsplit(url)
        is_url = base.scheme in ("http", "https") and bool(base.host) and not parts.query and (parts.port or 1) > 0
    except (httpx.InvalidURL, ValueError) as exc:
        raise Refused(f"{url!r} is not the URL of a server: {exc}.", hint=hint, code="bad-url") from exc
    if not is_url:
        raise Refused(f"{url!r} is not the URL of a server.", hint=hint, code="bad-url")
    if token and not (token.isascii() and token.isprintable()):
        raise Refused(
            "The token holds characters that a key never has.", hint="Check BEDPLATE_TOKEN.", code="bad-token"
        )
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=base, headers=headers, timeout=60.0)


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


def answer_of(url: str, send: Callable[[], httpx.Response]) -> Any:
    """The JSON that a server answers to one request; its errors and those on the way as our own."""
    with _plain_errors(url):
        response = send()
    if not response.is_success:
        raise error_of(response)
    return _parse(response)


def json_of(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer. Raises Unavailable where something else answers, such as a page for people."""
    body = _parse(response)
    if not isinstance(body, dict):
        raise _not_ours(_origin(response))
    return body


def error_of(response: httpx.Response) -> BedplateError:
    """The error that a problem document tells of."""
    try:
        parsed = response.json()
    except ValueError:
        parsed = None
    body: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
    if response.is_redirect:
        return _not_ours(_origin(response), f"it sends callers on to {response.headers.get('location', '')!r}")
    kind = ERRORS.get(response.status_code, BedplateError)
    message = body.get("detail") or f"{_origin(response)} answered {response.status_code}."
    hint = body.get("hint") or ("Give a key, for example in BEDPLATE_TOKEN." if kind is Forbidden else "")
    return kind(str(message), hint=str(hint), code=body.get("code") or kind.code)


def _parse(response: httpx.Response) -> Any:
    try:
        return response.json()
    except (ValueError, RecursionError) as exc:
        raise _not_ours(_origin(response)) from exc


def _not_ours(url: str, why: str = "it does not answer in JSON as one does") -> Unavailable:
    return Unavailable(
        f"{url} is not a Bedplate server: {why}.", hint="Check --url or BEDPLATE_URL.", code="not-bedplate"
    )


def _origin(response: httpx.Response) -> str:
    url = response.request.url
    return f"{url.scheme}://{url.netloc.decode('ascii', 'replace').rpartition('@')[2]}"


@contextmanager
def _plain_errors(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.InvalidURL as exc:
        raise Refused(f"{url!r} is not a URL to call: {exc}.", hint="Check the name or --url.", code="bad-url") from exc
    except httpx.HTTPError as exc:
        hint = "Is the server running? Start: bedplate serve"
        raise Unavailable(f"{url} does not answer: {str(exc) or type(exc).__name__}.", hint=hint) from exc


@contextmanager
def _local_file(path: Path, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        hint = "Check the path, its permissions and the room on its disk."
        raise Refused(f"{str(path)!r} cannot be {done}: {exc.strerror or exc}.", hint=hint, code="local-file") from exc


def json_bytes(body: Mapping[str, Any]) -> bytes:
    """A body as JSON. Raises Refused for a value that has no form there, such as a date or infinity."""
    try:
        return json.dumps(dict(body), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise Refused(
            f"The request holds a value that JSON cannot carry: {exc}.",
            hint="Use texts, finite numbers, true, false, lists and objects.",
        ) from exc


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
