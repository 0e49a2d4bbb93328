"""The Hub's JSON: what a repository is, its files, its revisions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from .hubsources import ServedFile, Snapshot

__all__ = ["commit_list", "info", "paths_info", "refs", "tree"]


def info(
    snapshot: Snapshot, *, with_files: bool = True, with_blobs: bool = False, expand: Collection[str] = ()
) -> dict[str, Any]:
    """What a repository is; with `expand` nothing but its id and these."""
    known = {
        "id": snapshot.repo_id,
        "modelId": snapshot.repo_id,
        "author": snapshot.author,
        "sha": snapshot.commit,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "downloadsAllTime": 0,
        "likes": 0,
        **{key: value for key, value in snapshot.info.items() if key != "title"},
    }
    if expand:
        known = {key: value for key, value in known.items() if key in (*expand, "id")}
    if "siblings" in expand or (with_files and not expand):
        known["siblings"] = [{"rfilename": file.path, **(_blob(file) if with_blobs else {})} for file in snapshot.files]
    return known


def refs(named: Mapping[str, str]) -> dict[str, Any]:
    branches = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit} for name, commit in named.items()]
    return {"branches": branches, "converts": [], "tags": []}


def commit_list(snapshots: Iterable[Snapshot]) -> list[dict[str, Any]]:
    return [
        {
            "id": each.commit,
            "title": each.info.get("title", ""),
            "message": "",
            "authors": [],
            "date": each.info.get("createdAt"),
        }
        for each in snapshots
    ]


def tree(snapshot: Snapshot, folder: str, *, recursive: bool) -> list[dict[str, Any]] | None:
    """What lies in a folder, files before folders; None where there is no such folder."""
    prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
    inside = [file for file in snapshot.files if file.path.startswith(prefix)]
    if prefix and not inside:
        return None
    files = [_file(file) for file in inside if recursive or "/" not in file.path.removeprefix(prefix)]
    below = sorted({path for file in inside for path in _folders(file.path) if path.startswith(prefix)})
    return files + [_folder(path) for path in below if recursive or "/" not in path.removeprefix(prefix)]


def paths_info(snapshot: Snapshot, paths: Iterable[str]) -> list[dict[str, Any]]:
    """The files and folders among these paths, in their order; what is neither is left out."""
    folders = {path for file in snapshot.files for path in _folders(file.path)}
    found = []
    for path in (path.strip("/") for path in paths):
        if (file := snapshot.file(path)) is not None:
            found.append(_file(file))
        elif path in folders:
            found.append(_folder(path))
    return found


def _folders(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts)))


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}


def _file(file: ServedFile) -> dict[str, Any]:
    entry = {"type": "file", "oid": file.git_sha1, "size": file.size_bytes, "path": file.path}
    return entry | ({"lfs": {"oid": file.sha256, **_lfs(file)}} if file.is_lfs else {})


def _blob(file: ServedFile) -> dict[str, Any]:
    entry = {"size": file.size_bytes, "blobId": file.git_sha1}
    return entry | ({"lfs": {"sha256": file.sha256, **_lfs(file)}} if file.is_lfs else {})


def _lfs(file: ServedFile) -> dict[str, int]:
    return {"size": file.size_bytes, "pointerSize": len(file.pointer)}
