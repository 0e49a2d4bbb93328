"""The Hub's read-only routes, so that the released clients (huggingface_hub, transformers, datasets) read from here.

    GET  /api/models/{id}[/revision/{rev}]      what the model is, its commit and files
    GET  /api/models/{id}/tree/{rev}[/{folder}] files with sizes and digests
    GET  /api/models/{id}/refs                  revisions
    GET, HEAD  /{id}/resolve/{rev}/{file}       bytes, whole or a range

What is served comes from a source: the registry (`RegistrySource`) or folders under a fixed id and commit
(`FolderSource`: the demo without a network, and tests). Who may read is the business of whoever mounts this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from .hubsources import FolderSource, HubSource, RegistrySource, ServedFile, Snapshot

__all__ = ["FolderSource", "HubSource", "RegistrySource", "create_hub_app"]

_VERB = re.compile(r"(?P<id>[^/]+(?:/[^/]+)?)/(?P<verb>revision|tree|refs)(?:/(?P<rest>.*))?")
_RESOLVE = re.compile(r"(?P<id>[^/]+(?:/[^/]+)?)/(?:resolve|raw)/(?P<revision>[^/]+)/(?P<path>.+)")


def create_hub_app(source: HubSource) -> Starlette:
    """The routes over `source`, to be served or mounted."""

    # Plain functions: Starlette runs them in threads, so reading manifests never holds the event loop.
    def models(request: Request) -> Response:
        try:
            return _api(source, request.path_params["path"], request)
        except _NotServed as exc:
            return exc.response

    def files(request: Request) -> Response:
        try:
            return _resolve(source, request.path_params["path"])
        except _NotServed as exc:
            return exc.response

    return Starlette(
        routes=[
            Route("/api/models/{path:path}", models, methods=["GET"]),
            Route("/{path:path}", files, methods=["GET", "HEAD"]),
        ]
    )


class _File(FileResponse):
    # Sixteen times Starlette's: each piece costs a trip to a thread.
    chunk_size = 1 << 20


class _NotServed(Exception):
    """Answered with the code that the Hub's clients go by."""

    def __init__(self, code: str, message: str, commit: str | None = None, *, status: int = 404) -> None:
        super().__init__(message)
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        if commit:  # lets the client remember that this file is not in this commit
            headers["X-Repo-Commit"] = commit
        self.response = JSONResponse({"error": message}, status, headers=headers)


def _api(source: HubSource, path: str, request: Request) -> Response:
    match = _VERB.fullmatch(path)
    # "a/refs" may be a verb on the model "a" or the model "a/refs": the whole as a name goes first.
    if match is None or source.refs(path) is not None:
        return JSONResponse(_info(_find(source, path, "main"), request))
    model_id, verb, rest = match["id"], match["verb"], match["rest"] or ""
    if verb == "refs":
        return JSONResponse(_refs(source, model_id))
    if verb == "revision":
        return JSONResponse(_info(_find(source, model_id, rest), request))
    revision, _, folder = rest.partition("/")
    return JSONResponse([*_tree(_find(source, model_id, revision or "main"), folder, _is_set(request, "recursive"))])


def _resolve(source: HubSource, path: str) -> Response:
    match = _RESOLVE.fullmatch(path)
    if match is None:
        raise _NotServed("NotFound", "No such page.")
    snapshot = _find(source, match["id"], match["revision"])
    file = snapshot.file(match["path"])
    if file is None:
        raise _NotServed("EntryNotFound", "Entry not found.", snapshot.commit)
    if not source.is_sound(file):
        message = f"{file.path} is damaged or missing here. Import the model again on this server to repair it."
        raise _NotServed("DamagedFile", message, status=503)  # a client would remember a 404
    return _File(file.local, headers=_headers(snapshot, file), media_type="application/octet-stream")


def _headers(snapshot: Snapshot, file: ServedFile) -> dict[str, str]:
    etag = f'"{file.etag}"'
    headers = {"X-Repo-Commit": snapshot.commit, "ETag": etag, "X-Content-Type-Options": "nosniff"}
    if file.is_lfs:
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(file.size_bytes)}
    return headers | {"Content-Disposition": "attachment"}


def _find(source: HubSource, model_id: str, revision: str) -> Snapshot:
    if source.refs(model_id) is None:
        raise _NotServed("RepoNotFound", "Repository not found.")
    snapshot = source.snapshot(model_id, revision)
    if snapshot is None:
        raise _NotServed("RevisionNotFound", "Revision not found.")
    return snapshot


def _refs(source: HubSource, model_id: str) -> dict[str, Any]:
    refs = source.refs(model_id)
    if refs is None:
        raise _NotServed("RepoNotFound", "Repository not found.")
    branches = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit} for name, commit in refs.items()]
    return {"branches": branches, "converts": [], "tags": []}


def _info(snapshot: Snapshot, request: Request) -> Mapping[str, Any]:
    with_blobs = _is_set(request, "blobs")
    siblings = [{"rfilename": file.path, **(_blob(file) if with_blobs else {})} for file in snapshot.files]
    return {
        "id": snapshot.model_id,
        "modelId": snapshot.model_id,
        "author": snapshot.model_id.partition("/")[0] if "/" in snapshot.model_id else None,
        "sha": snapshot.commit,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "library_name": "transformers",
        **snapshot.info,
        "siblings": siblings,
    }


def _tree(snapshot: Snapshot, folder: str, recursive: bool) -> Iterator[dict[str, Any]]:
    prefix, folders = f"{folder.strip('/')}/" if folder.strip("/") else "", set[str]()
    inside = [file for file in snapshot.files if file.path.startswith(prefix)]
    if prefix and not inside:
        raise _NotServed("EntryNotFound", "Entry not found.", snapshot.commit)
    for file in inside:
        parts = file.path.removeprefix(prefix).split("/")
        folders.update(prefix + "/".join(parts[:depth]) for depth in range(1, len(parts)))
        if recursive or len(parts) == 1:
            lfs = {"lfs": {"oid": file.sha256, "size": file.size_bytes, "pointerSize": len(file.pointer)}}
            entry = {"type": "file", "oid": file.git_sha1, "size": file.size_bytes, "path": file.path}
            yield entry | (lfs if file.is_lfs else {})
    for path in sorted(folders):
        if recursive or "/" not in path.removeprefix(prefix):
            yield {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}


def _blob(file: ServedFile) -> dict[str, Any]:
    lfs = {"lfs": {"sha256": file.sha256, "size": file.size_bytes, "pointerSize": len(file.pointer)}}
    return {"size": file.size_bytes, "blobId": file.git_sha1} | (lfs if file.is_lfs else {})


def _is_set(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in ("1", "true")
