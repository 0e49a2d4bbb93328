"""/api/v1/uploads, /api/v1/datasets and /api/v1/evaluations: the caller's data, and what was measured on it."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import Annotated, Any

from fastapi import Body, Request, Response

from bedplate.api.access import Routes, WorkspaceOf
from bedplate.data_refs import DataRef
from bedplate_registry.blobs import Blob
from bedplate_registry.durable import write_chunk
from bedplate_registry.errors import NotFound, Refused
from bedplate_registry.names import Name

__all__ = ["datasets", "evaluations", "uploads"]

uploads = Routes("/api/v1/uploads", "data")
datasets = Routes("/api/v1/datasets", "data")
evaluations = Routes("/api/v1/evaluations", "data")


@uploads.route("HEAD", "/{sha256}", "any-key")
def has_upload(sha256: str, workspace: WorkspaceOf) -> Response:
    """200 where these bytes are here already, 404 where they are to be sent."""
    return Response(status_code=200 if workspace.registry.blobs.has(sha256) else 404)


@uploads.route("PUT", "/{sha256}", "data", status_code=201)
async def upload(sha256: str, request: Request, workspace: WorkspaceOf) -> Any:
    """Bytes under their digest, streamed to disk and kept once. Raises Refused where the digest does not agree."""
    blobs = workspace.registry.blobs
    partial = blobs.partial(f"upload-{sha256}-{secrets.token_hex(8)}")
    digest, size = hashlib.sha256(), 0
    try:
        with partial.open("wb") as file:
            async for chunk in request.stream():
                await asyncio.to_thread(write_chunk, file, chunk, partial)
                digest.update(chunk)
                size += len(chunk)
        if digest.hexdigest() != sha256:
            raise Refused(
                f"The bytes have the digest {digest.hexdigest()}, not {sha256}.",
                hint="Send the file again.",
                code="bad-digest",
            )
        await asyncio.to_thread(blobs.adopt_hashed, partial, Blob(sha256, size))
    finally:
        partial.unlink(missing_ok=True)
    return {"sha256": sha256, "size_bytes": size}


@datasets.route("GET", "", "any-key")
def list_datasets(workspace: WorkspaceOf) -> Any:
    return {"items": [version.to_json() for version in workspace.registry.datasets.list()]}


@datasets.route("POST", "", "data", status_code=201)
def add_dataset(workspace: WorkspaceOf, body: Annotated[dict[str, Any], Body()]) -> Any:
    """{"name", "upload": SHA256, "filename"}: a new version of a dataset; the same bytes again make none."""
    ref = DataRef.resolve(workspace.registry, {k: body.get(k) for k in ("upload", "filename")}, "upload")
    name = Name.parse(str(body.get("name", "")))
    return workspace.registry.datasets.add(name, ref.path(workspace.registry), ref.filename).to_json()


@datasets.route("GET", "/{name:path}/preview", "any-key")
def preview(name: str, workspace: WorkspaceOf, limit: int = 10) -> Any:
    version = workspace.registry.datasets.get(name)
    return {"items": workspace.registry.datasets.preview(version, max(1, min(limit, 1000)))}


@datasets.route("GET", "/{name:path}", "any-key")
def show_dataset(name: str, workspace: WorkspaceOf) -> Any:
    """`name` may be `org/name`, and may carry a version; after the preview, which such a path would swallow."""
    return workspace.registry.datasets.get(name).to_json()


@evaluations.route("GET", "", "any-key")
def list_evaluations(workspace: WorkspaceOf, model: str | None = None) -> Any:
    return {"items": workspace.registry.evaluations.list(model)}


@evaluations.route("GET", "/{evaluation_id}", "any-key")
def show_evaluation(evaluation_id: str, workspace: WorkspaceOf) -> Any:
    report = workspace.registry.evaluations.get(evaluation_id)
    if report is None:
        raise NotFound(f"There is no evaluation {evaluation_id!r}.", hint="See GET /api/v1/evaluations.")
    return report
