# Generated from bedplate/remote/connection.py by platform/make_twin.py. Change that, then run: make twin
"""One connection to a server: requests, uploads, downloads and streams, and what is refused as our own errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httpx

from bedplate.aio.seam import Client, chunks, client_for, close, leave, read, send, sleep, to_thread
from bedplate.caller import sha256_of
from bedplate.targets import Target
from bedplate.text_streams import Event, EventFeed
from bedplate.wire import (
    AGAIN_SECONDS,
    CUT,
    Patience,
    any_json_of,
    error_of,
    given,
    items_of,
    json_bytes,
    json_of,
    local_file,
    plain_errors,
    url_path,
)
from bedplate_registry.errors import Conflict, Unavailable

__all__ = ["Connection"]

CHUNK_BYTES = 1 << 20
CUTS = 10  # answers that break off one after the other without another byte
PAGE_ITEMS = 1000  # what the server gives at most
SCORE_SECONDS = 120.0
PATIENT = httpx.Timeout(60.0, read=3600.0)  # for an answer that takes as long as reading all files of a large model
JSON = {"Content-Type": "application/json"}


class Connection:
    """Requests to one server; what it refuses is raised as our own errors, with code and hint.

    Over the home's own socket a server is started where none runs, and a call that never reached one is made again, as
    is one that only reads and was cut off. Several threads may share one.
    """

    def __init__(self, target: Target, client: Client | None = None) -> None:
        """`client` is what sends, where it is not the usual one."""
        self._target = target
        self._client: Client = client or client_for(target.url, socket=target.socket, token=target.token)
        self._scorers: dict[str | None, Client] = {}
        self.token = target.token

    @property
    def is_local(self) -> bool:
        """Whether this is the home's own socket, so that the server runs in the caller's name."""
        return self._target.is_local

    @property
    def url(self) -> str:
        """The server, as errors name it."""
        return self._target.url

    async def open(self) -> None:
        """Start the home's server where none runs; another one is asked nothing yet. Raises Unavailable."""
        self.token = await to_thread(self._target.open)

    async def close(self) -> None:
        """End all connections to it."""
        for client in (self._client, *self._scorers.values()):
            await close(client)

    # --- one request, one answer ---

    async def request(
        self, method: str, path: str, *, again: bool | None = None, patient: bool = False, **options: Any
    ) -> httpx.Response:
        """One request. `again`: whether to send it twice does no harm; where not given, that is so for reading.

        `patient`: its answer may take an hour.
        """
        safe = method in ("GET", "HEAD") if again is None else again
        if patient:
            options["timeout"] = PATIENT
        response = await self._send(method, path, again=safe, **options)
        if not response.is_success:
            raise error_of(response)
        return response

    async def get(self, path: str, *, patient: bool = False, **params: Any) -> dict[str, Any]:
        """An object."""
        return json_of(await self.request("GET", path, patient=patient, params=given(params)))

    async def text(self, path: str, **params: Any) -> str:
        """A text."""
        response = await self.request("GET", path, params=given(params))
        return response.text

    async def items(self, path: str, *, limit: int | None = None, patient: bool = False, **params: Any) -> list[Any]:
        """The first `limit` items of a list that may come in pages, or all."""
        found: list[Any] = []
        while limit is None or len(found) < limit:
            size = None if limit is None else min(limit - len(found), PAGE_ITEMS)
            body = await self.get(path, patient=patient, limit=size, **params)
            found += items_of(body, self.url)
            if not body.get("next"):
                break
            params["after"] = body["next"]
        return found

    async def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        patient: bool = False,
        **params: Any,
    ) -> dict[str, Any]:
        """Send an object, and the one that comes back. With an idempotency `key` it is sent again where it was cut."""
        headers = {**JSON, "Idempotency-Key": key} if key else JSON
        sent = {"content": json_bytes(body or {}), "headers": headers, "params": given(params)}
        return json_of(await self.request("POST", path, again=bool(key), patient=patient, **sent))

    async def change(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, tag: str | None = None
    ) -> dict[str, Any]:
        """PATCH or PUT an object. Raises Changed where it has another ETag than `tag` by now."""
        headers = {**JSON, "If-Match": tag} if tag else JSON
        return json_of(await self.request(method, path, content=json_bytes(body or {}), headers=headers))

    async def delete(self, path: str) -> dict[str, Any]:
        """Delete what is there; what the server tells of it, if anything."""
        response = await self.request("DELETE", path)
        return json_of(response) if response.content else {}

    async def score(self, url: str, body: Mapping[str, Any], *, key: str | None = None) -> Any:
        """What an endpoint answers; bytes where that is no JSON. On this machine its user needs no key, by the
        gateway's own socket.
        """
        content, where = json_bytes(body), urlsplit(url).path  # of a server elsewhere: whatever it calls itself
        socket = self._target.scoring_socket
        client = self._scorer(socket) if self.is_local else self._client
        if self.is_local and socket is None:
            where = url
        secret = None if socket else key or self.token
        headers = {**JSON, "Authorization": f"Bearer {secret}"} if secret else JSON
        self._check_open()
        with plain_errors(url, is_here=self._target.is_here):
            request = client.build_request("POST", where, content=content, headers=headers, timeout=SCORE_SECONDS)
            response = await send(client, request)
        if not response.is_success:
            raise error_of(response)
        kind = response.headers.get("content-type", "")
        return response.content if kind.startswith("image/") else any_json_of(response)

    # --- files ---

    async def upload(self, path: Path) -> str:
        """Send a file once: bytes that are there already are not sent again. Returns their SHA-256."""
        with local_file(path, "read"):
            digest = await to_thread(sha256_of, path)
            place = url_path("uploads", digest)
            found = await self._send("HEAD", place, again=True)
            if found.status_code in (404, 503):  # that of a HEAD does not say why; that of a PUT does
                await self.request("PUT", place, again=True, upload=path)
            elif not found.is_success:
                raise error_of(found)
        return digest

    async def download(self, path: str, target: Path) -> None:
        """Stream an answer to a file, which appears under its name when it is whole."""
        temporary = target.with_name(f".{target.name}.part")
        with local_file(target, "written"):
            try:
                await self._fetch(path, temporary)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)

    async def _fetch(self, path: str, target: Path) -> None:
        """An answer into a file. One that breaks off is asked for anew."""
        for _ in range(CUTS):
            response = await self._open(path)
            try:
                with target.open("wb") as file:
                    async for chunk in chunks(response):
                        await to_thread(file.write, chunk)
                return
            except (*CUT, httpx.ReadTimeout):
                await sleep(AGAIN_SECONDS)
            finally:
                await leave(response)
        raise self._breaks_off()

    # --- streams ---

    async def follow(self, path: str, **params: Any) -> AsyncIterator[bytes]:
        """An answer as it comes, for as long as it takes, each byte once.

        One that is cut off, or silent for a minute, is asked for again from the byte it got to: X-Bedplate-Offset says
        where it began. Raises Unavailable where nothing more comes of that.
        """
        cuts = 0
        while cuts < CUTS:
            response = await self._open(path, params=params)
            params["offset"] = int(response.headers.get("X-Bedplate-Offset", 0))
            try:
                async for chunk in chunks(response):
                    params["offset"] += len(chunk)
                    cuts = 0
                    yield chunk
                return
            except httpx.ReadTimeout:
                cuts = 0
            except CUT:
                cuts += 1
                await sleep(AGAIN_SECONDS)
            finally:
                await leave(response)
        raise self._breaks_off()

    async def events(self, path: str, is_last: Callable[[Event], bool], *, after: int = 0) -> AsyncIterator[Event]:
        """Server-sent events, until the last one. A stream that ends before is taken up again where it was.

        Raises Unavailable where nothing more comes of that.
        """
        cuts = 0
        while cuts < CUTS:
            response = await self._open(path, headers={"Last-Event-ID": str(after)})
            feed = EventFeed()
            with suppress(*CUT, httpx.ReadTimeout):
                try:
                    async for chunk in chunks(response):
                        for event in feed.feed(chunk):
                            after, cuts = event.id or after, 0
                            yield event
                            if is_last(event):
                                return
                finally:
                    await leave(response)
            cuts += 1
            await sleep(AGAIN_SECONDS)
        raise self._breaks_off()

    # --- how it is sent ---

    async def _open(self, path: str, **options: Any) -> httpx.Response:
        """An answer whose body is still to come; whoever takes it leaves it."""
        response = await self._send("GET", path, again=True, stream=True, **options)
        if response.is_success:
            return response
        try:
            await read(response)
            raise error_of(response)
        finally:
            await leave(response)

    async def _send(
        self, method: str, path: str, *, again: bool, stream: bool = False, upload: Path | None = None, **options: Any
    ) -> httpx.Response:
        """One answer, of as many tries as `Patience` allows."""
        patience = Patience(again=again, is_local=self.is_local)
        while True:
            if upload is not None:
                options |= {"content": _bytes_of(upload), "headers": {"Content-Length": str(upload.stat().st_size)}}
            self._check_open()
            try:
                with plain_errors(self.url, is_here=self._target.is_here):
                    request = self._client.build_request(method, path, **options)
                    response = await send(self._client, request, stream=stream)
                    if response.status_code == 503:
                        await read(response)  # it says why
            except Unavailable as exc:
                if not patience.allows(exc):
                    raise
                await self._wake(patience)
                continue
            pause = patience.pause_seconds(response)
            if pause is None:
                return response
            await leave(response)
            await sleep(pause)

    async def _wake(self, patience: Patience) -> None:
        """A server that is just leaving still holds the home for a moment, and the next one cannot start until then."""
        while True:
            await sleep(AGAIN_SECONDS)
            try:
                await self.open()
                return
            except Unavailable:
                if monotonic() > patience.deadline:
                    raise

    def _scorer(self, socket: str | None) -> Client:
        """The client for scoring at the gateway of this machine: by its socket, or where it has none, by its port."""
        if socket not in self._scorers:
            self._scorers[socket] = client_for(self.url, socket=socket)
        return self._scorers[socket]

    def _check_open(self) -> None:
        if self._client.is_closed:
            raise Conflict("This workspace is closed.", hint="Connect again, with bedplate.connect().", code="closed")

    def _breaks_off(self) -> Unavailable:
        return Unavailable(f"{self.url} breaks off its answers.", hint="Its log says more.")


async def _bytes_of(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await to_thread(file.read, CHUNK_BYTES):
            yield chunk
