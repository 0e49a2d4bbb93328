"""/api/v1/uploads: bytes that a caller sends, under their digest. They are kept once, whoever sends them."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
from pathlib import Path as FilePath
from typing import Annotated, BinaryIO

from fastapi import Path, Request, Response
from pydantic import ConfigDict

from bedplate.api.access import Routes, WorkspaceOf
from bedplate.api.bodies import Answer, json_answer
from bedplate.api.problems import codes
from bedplate.compute import GIB
from bedplate_registry.blobs import Blob, Blobs, check_digest
from bedplate_registry.durable import write_chunk
from bedplate_registry.errors import NoRoom, Refused, TooLarge, Unavailable

__all__ = ["EXAMPLE", "EXAMPLE_SHA256", "routes"]

routes = Routes("/api/v1/uploads", "uploads")

KEPT_FREE_BYTES = 256 << 20  # an upload is not what fills the disk that the database lies on
CHUNK_BYTES = 1 << 20  # a trip to a thread for each
EXAMPLE = "text,intent\nmy card is lost,card\n"
EXAMPLE_SHA256 = hashlib.sha256(EXAMPLE.encode()).hexdigest()
Sha256 = Annotated[str, Path(description="The SHA-256 of the bytes, in hexadecimal.", examples=[EXAMPLE_SHA256])]


class Upload(Answer):
    """Bytes that are here."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sha256": EXAMPLE_SHA256, "size_bytes": len(EXAMPLE)}]})

    sha256: str
    size_bytes: int


@routes.route(
    "HEAD",
    "/{sha256}",
    "read",
    response_class=Response,  # without a body, which HEAD never has
    responses={200: {"description": "They are here."}, 404: {"description": "They are to be sent."}},
)
def has_upload(sha256: Sha256, workspace: WorkspaceOf) -> Response:
    """Ask whether these bytes are here already."""
    return Response(status_code=200 if workspace.registry.blobs.keep(sha256) else 404)


@routes.route(
    "PUT",
    "/{sha256}",
    "data",
    status_code=201,
    response_model=Upload,
    responses=codes("bad-digest", "upload-too-large", "no-room"),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}, "example": EXAMPLE}
            },
        }
    },
)
async def upload(sha256: Sha256, request: Request, workspace: WorkspaceOf) -> Response:
    """Send bytes under their digest. They are streamed to the disk, and are there when the digest agrees."""
    check_digest(sha256)
    blobs, most = workspace.registry.blobs, workspace.settings.max_upload_gb * GIB
    await asyncio.to_thread(check_size, blobs, int(request.headers.get("content-length") or 0), most)
    partial = blobs.partial(f"upload-{sha256}-{secrets.token_hex(8)}")
    digest, size, held = hashlib.sha256(), 0, bytearray()

    def write() -> None:
        _write(file, bytes(held), partial)
        digest.update(held)
        held.clear()

    try:
        with partial.open("wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    raise _too_large(most)
                held += chunk
                if len(held) >= CHUNK_BYTES:
                    await asyncio.to_thread(write)
            await asyncio.to_thread(write)
        if digest.hexdigest() != sha256:
            raise Refused(
                f"The bytes have the digest {digest.hexdigest()}, not {sha256}.",
                hint="Send the file again.",
                code="bad-digest",
            )
        await asyncio.to_thread(blobs.adopt_hashed, partial, Blob(sha256, size))
    finally:
        partial.unlink(missing_ok=True)
    return json_answer({"sha256": sha256, "size_bytes": size}, 201)


def check_size(blobs: Blobs, stated_bytes: int, most: int) -> None:
    """Before a byte is read. Raises TooLarge, NoRoom."""
    if stated_bytes > most:
        raise _too_large(most)
    blobs.root.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(blobs.root).free < stated_bytes + KEPT_FREE_BYTES:
        raise _no_room()


def _write(file: BinaryIO, data: bytes, partial: FilePath) -> None:
    """Raises NoRoom where the disk is full meanwhile."""
    try:
        write_chunk(file, data, partial)
    except Unavailable as exc:
        raise _no_room() if exc.code == "disk-full" else exc from exc


def _too_large(most: int) -> TooLarge:
    return TooLarge(
        f"An upload has at most {most // GIB} GiB here.",
        hint="Send less, or ask who runs the server for a higher BEDPLATE_MAX_UPLOAD_GB.",
        code="upload-too-large",
    )


def _no_room() -> NoRoom:
    return NoRoom("The server's disk has no room for this upload.", hint="Ask who runs the server to make room.")
