"""The Hub's read-only routes, so that the released clients (huggingface_hub, transformers, datasets) read from here.

    GET  /api/models                            search, in pages
    GET  /api/models/{id}[/revision/{rev}]      what the model is, its commit and files
    GET  /api/models/{id}/tree/{rev}[/{folder}] files with sizes and digests
    POST /api/models/{id}/paths-info/{rev}      the same of some paths
    GET  /api/models/{id}/refs, commits/{rev}   revisions
    GET  /api/models/{id}/auth-check            whether it may be read
    GET, HEAD  /{id}/resolve/{rev}/{file}       bytes, whole or a range
    …/api/datasets…, /datasets/{id}/resolve/…   the same for datasets
    GET  /api/whoami-v2                         whose key this is

What is served comes from sources: the registry (`hubregistry`) or folders under a fixed id and commit (`FolderSource`:
the demo without a network, and tests). Who may read is the business of whoever mounts this.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from . import hubshapes as shapes
from .errors import BedplateError, Unavailable
from .huberrors import LastHandler, NotServed, error_answer, refused
from .hublists import limit_of, link_to, wanted_of
from .hubsources import FolderSource, HubSource, Page, ServedFile, Snapshot

__all__ = ["FolderSource", "HubSource", "create_hub_app"]

_VERB = re.compile(
    r"(?P<id>[^/]+(?:/[^/]+)?)/(?P<verb>revision|tree|refs|commits|paths-info|auth-check)(?:/(?P<rest>.*))?"
)
_RESOLVE = re.compile(r"(?P<id>[^/]+(?:/[^/]+)?)/(?:resolve|raw)/(?P<revision>[^/]+)/(?P<path>.+)")
ONLY_READ = "This Hub is only read: nothing can be changed through it."
BYTES = "application/octet-stream"
MOST_BYTES = 1 << 20  # of a question about paths
MOST_FIELDS = 100_000
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
log = logging.getLogger(__name__)


def create_hub_app(
    models: HubSource, datasets: HubSource | None = None, *, who: Callable[[Request], str] | None = None
) -> Starlette:
    """The routes over these sources, to be served or mounted. `who` names the caller of a request."""

    # Plain functions: Starlette runs them in threads, so reading manifests never holds the event loop.
    def files(request: Request) -> Response:
        path: str = request.path_params["path"]
        match = _RESOLVE.fullmatch(path.removeprefix("datasets/"))
        if datasets is not None and path.startswith("datasets/") and match and datasets.refs(match["id"]) is not None:
            return _resolve(datasets, match, request)
        match = _RESOLVE.fullmatch(path)
        if match is None:  # of what is not kept here, such as spaces, there is none
            raise NotServed("RepoNotFound" if path.startswith("api/") else "NotFound", "No such page.")
        return _resolve(models, match, request)

    def whoami(request: Request) -> Response:
        name = "" if who is None else who(request)
        token = {"displayName": name, "role": "read"}
        auth = {"type": "access_token", "accessToken": token}
        return JSONResponse({"type": "user", "name": name, "fullname": name, "orgs": [], "auth": auth})

    kinds = {"models": models, "datasets": datasets}
    routes = [route for kind, source in kinds.items() if source is not None for route in _api_routes(kind, source)]
    return Starlette(
        routes=[
            *routes,
            Route("/api/whoami-v2", whoami, methods=["GET"]),
            Route("/{path:path}", files, methods=["GET", "HEAD"]),
        ],
        exception_handlers={
            NotServed: lambda request, exc: exc.response,
            BedplateError: lambda request, exc: refused(exc),
            HTTPException: lambda request, exc: error_answer(exc.status_code, "", ONLY_READ, dict(exc.headers or {})),
        },
        middleware=[Middleware(LastHandler)],
    )


def _api_routes(kind: str, source: HubSource) -> list[Route]:
    def search(request: Request) -> Response:
        return _search(source, request)

    def repository(request: Request) -> Response:
        return _json(request, _repository(source, request.path_params["path"], request))

    async def some_paths(request: Request) -> Response:
        body = await _body(request)
        return await run_in_threadpool(_paths_info, source, request.path_params["path"], body)

    return [
        Route(f"/api/{kind}", search, methods=["GET"]),
        Route(f"/api/{kind}/{{path:path}}", repository, methods=["GET"]),
        Route(f"/api/{kind}/{{path:path}}", some_paths, methods=["POST"]),
    ]


class _File(FileResponse):
    # Sixteen times Starlette's: each piece costs a trip to a thread.
    chunk_size = 1 << 20


# --- what there is


def _search(source: HubSource, request: Request) -> Response:
    asked = request.query_params
    limit, wanted, expand = limit_of(asked), wanted_of(asked), asked.getlist("expand")
    page = Page([]) if wanted is None else source.find(wanted, limit=limit, after=asked.get("cursor"))
    with_files = _is_set(request, "full")
    items = [_listed(each, with_files=with_files, expand=expand) for each in page.found]
    headers = {} if page.next is None else {"Link": link_to(request.url, asked.multi_items(), page.next)}
    return _json(request, items, headers)


def _listed(snapshot: Snapshot, *, with_files: bool, expand: list[str]) -> dict[str, Any]:
    """One of a list. Where its files cannot be known now they are left out, and the others are listed."""
    try:
        return shapes.info(snapshot, with_files=with_files, expand=expand)
    except Unavailable as exc:
        log.error("%s", exc)
        return shapes.info(replace(snapshot, make_files=dict), with_files=with_files, expand=expand)


def _repository(source: HubSource, path: str, request: Request) -> Any:
    match = _VERB.fullmatch(path)
    # "a/refs" may be a verb on the model "a" or the model "a/refs": the whole as a name goes first.
    if match is None or source.refs(path) is not None:
        return _info(_find(source, path, "main"), request)
    repo_id, verb, rest = match["id"], match["verb"], match["rest"] or ""
    if verb == "refs":
        return shapes.refs(_refs(source, repo_id))
    if verb == "auth-check":
        return _auth_check(source, repo_id, rest)
    if verb == "revision":
        return _info(_find(source, repo_id, rest), request)
    revision, _, folder = rest.partition("/")
    snapshot = _find(source, repo_id, revision or "main")
    if verb == "commits":
        commits = [each.commit for each in source.commits(repo_id)]
        return shapes.commit_list(source.commits(repo_id)[commits.index(snapshot.commit) :])
    if verb == "paths-info":
        raise NotServed("", "Paths are asked for by POST.", status=405)
    found = shapes.tree(snapshot, folder, recursive=_is_set(request, "recursive"))
    if found is None:
        raise NotServed("EntryNotFound", "Entry not found.", snapshot.commit)
    return found


def _paths_info(source: HubSource, path: str, body: Mapping[str, list[str]]) -> Response:
    match = _VERB.fullmatch(path)
    if match is None or match["verb"] != "paths-info":
        raise NotServed("", ONLY_READ, status=405)
    snapshot = _find(source, match["id"], match["rest"] or "main")
    return JSONResponse(shapes.paths_info(snapshot, body.get("paths", [])))


async def _body(request: Request) -> dict[str, list[str]]:
    """The fields of a form, or of an object of JSON. Raises NotServed."""
    kind, data = request.headers.get("content-type", FORM).partition(";")[0].strip().lower(), b""
    if kind not in (FORM, JSON):
        raise NotServed("", f"Paths are sent as {JSON} or {FORM}, not as {kind[:80]}.", status=415)
    async for piece in request.stream():
        data += piece
        if len(data) > MOST_BYTES:
            raise NotServed("", f"A list of paths has at most {MOST_BYTES >> 20} MiB here.", status=413)
    return _json_fields(data) if kind == JSON else _form_fields(data)


def _form_fields(data: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(data.decode("utf-8", "replace"), max_num_fields=MOST_FIELDS)
    except ValueError:
        raise NotServed("", f"A list of paths has at most {MOST_FIELDS:,} fields here.", status=413) from None


def _json_fields(data: bytes) -> dict[str, list[str]]:
    try:
        paths = orjson.loads(data)["paths"]
    except (ValueError, KeyError, TypeError):
        paths = None
    given = [paths] if isinstance(paths, str) else paths
    if not isinstance(given, list) or not all(isinstance(path, str) for path in given):
        raise NotServed("", 'Paths are sent as {"paths": ["config.json"]}.', status=400)
    return {"paths": given}


def _auth_check(source: HubSource, repo_id: str, rest: str) -> dict[str, Any]:
    _refs(source, repo_id)
    if rest:
        raise NotServed("", ONLY_READ, status=403)
    return {}


def _info(snapshot: Snapshot, request: Request) -> dict[str, Any]:
    expand = request.query_params.getlist("expand")
    return shapes.info(snapshot, with_blobs=_is_set(request, "blobs"), expand=expand)


def _find(source: HubSource, repo_id: str, revision: str) -> Snapshot:
    snapshot = source.snapshot(repo_id, revision)
    if snapshot is None:
        _refs(source, repo_id)
        raise NotServed("RevisionNotFound", "Revision not found.")
    return snapshot


def _refs(source: HubSource, repo_id: str) -> dict[str, str]:
    refs = source.refs(repo_id)
    if refs is None:
        raise NotServed("RepoNotFound", "Repository not found.")
    return refs


def _json(request: Request, value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """With a tag, so that whoever has this answer already gets none again."""
    data = orjson.dumps(value)
    tagged = {**(headers or {}), "ETag": f'W/"{hashlib.sha256(data).hexdigest()[:32]}"'}
    return _unchanged(request, tagged) or Response(data, headers=tagged, media_type="application/json")


# --- bytes


def _resolve(source: HubSource, match: re.Match[str], request: Request) -> Response:
    snapshot = _find(source, match["id"], match["revision"])
    file = snapshot.file(match["path"])
    if file is None:
        raise NotServed("EntryNotFound", "Entry not found.", snapshot.commit)
    headers = _file_headers(snapshot, file)
    if (unchanged := _unchanged(request, headers)) is not None:
        return unchanged
    if file.content is not None:
        # Of a part of other bytes nobody could make a whole.
        is_same = request.headers.get("if-range", headers["ETag"]) == headers["ETag"]
        return _made(file.content, headers, request.headers.get("range", "") if is_same else "")
    if not source.is_sound(file):
        message = f"{file.path} is damaged or missing here. Import the model again on this server to repair it."
        raise NotServed("DamagedFile", message, status=503)  # a client would remember a 404
    return _File(file.local, headers=headers, media_type=BYTES)


def _made(content: bytes, headers: Mapping[str, str], wanted: str) -> Response:
    """A file that lies nowhere, whole or from one byte on to another."""
    match, size = re.fullmatch(r"bytes=(\d{1,18})-(\d{0,18})", wanted), len(content)
    if match is None:
        return Response(content, headers=headers, media_type=BYTES)
    start, end = int(match[1]), min(int(match[2] or size), size - 1)
    if start > end:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    part = {**headers, "Content-Range": f"bytes {start}-{end}/{size}"}
    return Response(content[start : end + 1], 206, part, BYTES)


def _file_headers(snapshot: Snapshot, file: ServedFile) -> dict[str, str]:
    etag = f'"{file.etag}"'
    headers = {"X-Repo-Commit": snapshot.commit, "ETag": etag, "X-Content-Type-Options": "nosniff"}
    if file.is_lfs:
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(file.size_bytes)}
    return headers | {"Content-Disposition": "attachment"}


def _unchanged(request: Request, headers: Mapping[str, str]) -> Response | None:
    """304 for whoever has these bytes already."""
    given = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    is_same = "*" in given or headers["ETag"].removeprefix("W/") in given
    return Response(status_code=304, headers=headers) if is_same else None


def _is_set(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in ("1", "true")
