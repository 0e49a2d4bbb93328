"""Whole files as answers: the control plane names the file to the gateway, which sends it by itself.

Through both processes it would be far slower. The header that names it goes between these two alone: the gateway reads
it of the control plane's answers only, and drops it there.
"""

from __future__ import annotations

import asyncio
import os
from io import FileIO
from pathlib import Path

from bedplate_serving.asgi import Message, Scope, Send
from bedplate_serving.problems import Problem

__all__ = ["FORWARDED", "handing_over", "named_file", "send_file"]

FORWARDED = b"x-bedplate-forwarded"  # of a request: the gateway passed it on
FILE = b"x-bedplate-file"  # of an answer: the file that is its body
PATH_SEND = "http.response.pathsend"  # ASGI's own name for an answer that is a file
PIECE_BYTES = 1 << 20

Headers = list[tuple[bytes, bytes]]


def handing_over(scope: Scope, send: Send) -> tuple[Scope, Send]:
    """The control plane's side: an application may answer this request of the gateway with the path of a file."""
    if FORWARDED not in dict(scope["headers"]):
        return scope, send
    head: Message = {}

    async def hand_over(message: Message) -> None:
        nonlocal head
        if message["type"] == "http.response.start":
            head = message
        elif message["type"] == PATH_SEND:
            kept = [(key, value) for key, value in head["headers"] if key != b"content-length"]
            named = (FILE, os.fsencode(message["path"]))
            await send({**head, "headers": [*kept, (b"content-length", b"0"), named]})
            await send({"type": "http.response.body", "body": b""})
        else:
            if head:
                await send(head)
                head = {}
            await send(message)

    return {**scope, "extensions": {PATH_SEND: {}}}, hand_over


def named_file(headers: Headers) -> Path | None:
    """The gateway's side: the file that an answer names, if it does. The name is then taken out of its headers."""
    path = dict(headers).get(FILE)
    if path is None:
        return None
    headers[:] = [(key, value) for key, value in headers if key not in (FILE, b"content-length")]
    return Path(os.fsdecode(path))


async def send_file(path: Path, status: int, headers: Headers, send: Send) -> None:
    """Answer with a file that never changes. Raises a Problem where it went in this moment."""
    with _open(path) as file:
        length = (b"content-length", str(os.fstat(file.fileno()).st_size).encode())
        await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _open(path: Path) -> FileIO:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        message = "This file is damaged or missing on the server."
        hint = "Import the model, or add the dataset, again on this server to repair it."
        said = (("x-error-code", "DamagedFile"), ("x-error-message", f"{message} {hint}"))  # a Hub's client reads these
        raise Problem(503, "damaged-file", message, hint, headers=said) from None
