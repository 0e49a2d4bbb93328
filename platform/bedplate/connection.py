"""One connection to a server: requests, uploads and downloads, and errors as our own exceptions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from bedplate_registry.errors import BedplateError, Conflict, Forbidden, NotFound, Refused, Unavailable

__all__ = ["Connection", "error_of"]

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


class Connection:
    """Requests to one server; what it refuses is raised as our own errors, with code and hint."""

    def __init__(self, client: httpx.Client, token: str | None) -> None:
        self._client = client
        self.token = token

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **options)
        except httpx.HTTPError as exc:
            raise Unavailable(
                f"{self._client.base_url} does not answer: {exc}.", hint="Is the server running? Start: bedplate serve"
            ) from exc
        if response.is_error:
            raise error_of(response)
        return response

    def get(self, path: str, **params: Any) -> Any:
        return self.request("GET", path, params={k: v for k, v in params.items() if v is not None}).json()

    def post(self, path: str, body: Mapping[str, Any] | None = None, **options: Any) -> Any:
        return self.request("POST", path, json=dict(body or {}), **options).json()

    def upload(self, path: Path) -> str:
        """Send a file once: bytes that are there already are not sent again. Returns their SHA-256."""
        digest = _sha256(path)
        if self._client.request("HEAD", f"/api/v1/uploads/{digest}").status_code != 200:
            with path.open("rb") as file:
                self.request("PUT", f"/api/v1/uploads/{digest}", content=iter(lambda: file.read(CHUNK_BYTES), b""))
        return digest

    def download(self, path: str, target: Path) -> None:
        """Stream an answer to a file, which appears under its name when it is whole."""
        temporary = target.with_name(f".{target.name}.part")
        with self._client.stream("GET", path) as response:
            if response.is_error:
                response.read()
                raise error_of(response)
            with temporary.open("wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
        temporary.replace(target)

    def endpoint_url(self, url: str) -> str:
        """Where to score: over TCP the server that we talk to, whatever it calls itself; else the gateway it names."""
        if self._client.base_url.host == "bedplate":
            return url
        return str(self._client.base_url).rstrip("/") + urlsplit(url).path

    def close(self) -> None:
        self._client.close()


def error_of(response: httpx.Response) -> BedplateError:
    """The error that a problem document tells of."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    kind = ERRORS.get(response.status_code, BedplateError)
    message = body.get("detail") or f"The server answered {response.status_code}."
    return kind(message, hint=body.get("hint", ""), code=body.get("code") or kind.code)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
