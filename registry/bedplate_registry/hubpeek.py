"""What a model on a Hub is, without fetching it: its list of files, its small files, and the headers of its weights.

Asked within bounds (hubreading.py). A header is asked for with `Range`; of a Hub that sends more, no more is received.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import BoundedSemaphore, Semaphore
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .cards import card_facts
from .errors import Refused, Unavailable
from .hubaddress import MAX_FILES, HubAddress, HubFile, HubModel, is_commit, listed_file
from .hubreading import ask, read_answer, read_body
from .names import Name
from .safe_json import count_values
from .safetensors_header import MAX_HEADER_BYTES
from .texts import one_line

if TYPE_CHECKING:
    import httpx

__all__ = ["find_model", "read_starts"]

AT_ONCE = 4  # questions
MOST_LIST_BYTES = 16 << 20
MOST_VALUES = 300_000  # of all JSON that is read of one model: not a second, nor 100 MB
MOST_STARTS_BYTES = 32 << 20  # of all that is read of one model
FIRST_BYTES = 128 << 10  # holds most headers
REQUESTS = 8  # of one question, at a time
WITHOUT_HUB = "A folder on this disk needs no Hub: bedplate import --from DIR --name NAME"

_turns = BoundedSemaphore(AT_ONCE)


def find_model(
    hub: HubAddress, model_id: str, revision: str | None = None, *, turns: Semaphore | None = _turns
) -> tuple[HubModel, dict[str, Any]]:
    """The model at the commit that `revision` (a branch, a tag, a commit; the main branch if none) means now, and all
    that the Hub says of it.

    Raises Refused, NotFound, Forbidden or Unavailable; within `hub.timeout_seconds`, whatever the Hub does.
    """
    name = str(Name.parse(model_id))
    hub.check_revision(revision)
    hub.check_online()
    url = f"{hub.url}/api/models/{name}/revision/{quote(revision or 'main', safe='')}"

    async def exchange(client: httpx.AsyncClient) -> tuple[HubModel, dict[str, Any]]:
        async with client.stream("GET", url, params={"blobs": "true"}, follow_redirects=True) as response:
            if response.status_code != 200:
                raise hub.refusal(name, response.status_code, response.headers.get("X-Error-Code"), revision)
            said = await read_answer(hub, response, MOST_LIST_BYTES)
        if not isinstance(said, dict):
            raise ValueError("no object")
        return _model(said), said

    return ask(hub, exchange, turns=turns, seconds=hub.timeout_seconds, hint=WITHOUT_HUB)


def read_starts(hub: HubAddress, model: HubModel, files: Sequence[HubFile]) -> dict[str, bytes]:
    """The bytes of each of these, by path; of safetensors the header alone, with its length before it, and
    nothing of those of the very largest models.

    Raises Forbidden where the model is gated and the token has no access, Refused where the bytes have another digest
    than listed or are too many to be looked at, and Unavailable.
    """

    async def exchange(client: httpx.AsyncClient) -> dict[str, bytes]:
        turn = asyncio.Semaphore(REQUESTS)
        left = MOST_STARTS_BYTES

        async def one(file: HubFile) -> bytes:
            nonlocal left
            async with turn:
                data = await _start(hub, client, model, file)
            left -= len(data)
            if left < 0:
                raise _too_much(model)
            return data

        found = await asyncio.gather(*(one(file) for file in files))
        return {file.path: data for file, data in zip(files, found, strict=True)}

    return _of_bounded_cost(ask(hub, exchange, turns=_turns, seconds=hub.timeout_seconds, hint=WITHOUT_HUB))


def _of_bounded_cost(starts: dict[str, bytes]) -> dict[str, bytes]:
    """Without the headers and their index where all would take long to read, as of the largest models."""
    costs = {path: 0 if path == "README.md" else count_values(data) for path, data in starts.items()}
    if sum(costs.values()) <= MOST_VALUES:
        return starts
    small = {path: data for path, data in starts.items() if ".safetensors" not in path}
    if sum(costs[path] for path in small) > MOST_VALUES:
        raise Refused(
            f"The JSON files of the model have more than {MOST_VALUES:,} values.",
            hint="No model needs so many, and it is not looked at before its import.",
            code="bad-json",
        )
    return small


async def _start(hub: HubAddress, client: httpx.AsyncClient, model: HubModel, file: HubFile) -> bytes:
    if not file.path.endswith(".safetensors"):
        data = await _first(hub, client, model, file, file.size_bytes)
        _check_digest(hub, file, data)
        return data
    data = await _first(hub, client, model, file, min(FIRST_BYTES, file.size_bytes))
    wanted = 8 + int.from_bytes(data[:8], "little")
    if len(data) < wanted <= min(8 + MAX_HEADER_BYTES, file.size_bytes):
        data = await _first(hub, client, model, file, wanted)
    return data[:wanted]


async def _first(hub: HubAddress, client: httpx.AsyncClient, model: HubModel, file: HubFile, count: int) -> bytes:
    """The first `count` bytes."""
    if count == 0:
        return b""
    headers = {"Range": f"bytes=0-{count - 1}"}
    # httpx takes Authorization off when a redirect leads to another host: storage gets no Hub token.
    async with client.stream("GET", hub.file_url(model, file), headers=headers, follow_redirects=True) as response:
        if response.status_code in (401, 403):
            raise hub.refusal(model.model_id, 403, "GatedRepo")
        if response.status_code not in (200, 206):
            raise Unavailable(
                f"{hub.url} answered {response.status_code} when asked for {file.path}.",
                hint="Try again in a while.",
                code="hub-inconsistent",
            )
        return await read_body(hub, response, count, cut=True)


def _check_digest(hub: HubAddress, file: HubFile, data: bytes) -> None:
    """Of a whole file, as `fetch` checks it."""
    if file.sha256 is not None:
        is_right = hashlib.sha256(data).hexdigest() == file.sha256
    else:
        start = b"blob %d\0" % len(data)
        is_right = hashlib.sha1(start + data, usedforsecurity=False).hexdigest() == file.git_sha1
    if not is_right:
        raise Refused(
            f"The bytes of {file.path} that {hub.url} sent have not the digest it lists for them.",
            hint="Try again; if it happens twice, tell the Hub's owner.",
            code="digest-mismatch",
        )


def _too_much(model: HubModel) -> Refused:
    return Refused(
        f"The small files and headers of {model.model_id} have more than {MOST_STARTS_BYTES >> 20} MiB.",
        hint="Such a model cannot be looked at before its import.",
        code="too-large",
    )


def _model(said: Mapping[str, Any]) -> HubModel:
    """Raises ValueError where it is not what a Hub says, and Refused for a file that may not be kept."""
    siblings = said.get("siblings")
    if not is_commit(said.get("sha")) or not isinstance(siblings, list) or len(siblings) > MAX_FILES:
        raise ValueError("no commit or no files")
    model_id, card_data = said.get("id"), said.get("cardData") or {}
    if not isinstance(model_id, str) or not isinstance(card_data, dict):
        raise ValueError("no id, or no card")
    name, card = Name.parse(model_id), card_facts(card_data)
    tag = one_line(said["pipeline_tag"]) if isinstance(said.get("pipeline_tag"), str) else ""
    author = one_line(said["author"]) if isinstance(said.get("author"), str) else ""
    return HubModel(
        model_id=str(name),
        commit=str(said["sha"]),
        files=tuple(_file(entry) for entry in siblings),
        gated=bool(said.get("gated")),
        card=replace(card, pipeline_tag=tag or card.pipeline_tag, author=card.author or author or name.org),
    )


def _file(entry: Any) -> HubFile:
    if not isinstance(entry, dict) or not isinstance(entry.get("rfilename"), str):
        raise ValueError("a file without a name")
    lfs = entry.get("lfs")
    sha256 = (lfs.get("sha256") or lfs.get("oid")) if isinstance(lfs, dict) else None
    return listed_file(entry["rfilename"], entry.get("size"), entry.get("blobId"), sha256)
