"""What a model on a Hub is, without fetching it: its list of files, its small files, and the headers of its weights.

Asked within bounds (hubreading.py). A header is asked for with `Range`; of a Hub that sends more, no more is received.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .cards import card_facts
from .errors import Unavailable
from .hub import MAX_FILES, Hub, HubFile, HubModel, is_commit, listed_file
from .hubreading import ask, read_body
from .names import Name
from .safetensors_header import MAX_HEADER_BYTES

if TYPE_CHECKING:
    import httpx

__all__ = ["find_model", "read_starts"]

SECONDS = 20.0  # for all that one question takes
AT_ONCE = 4  # questions
MOST_LIST_BYTES = 16 << 20
FIRST_BYTES = 128 << 10  # holds most headers
REQUESTS = 8  # of one question, at a time
WITHOUT_HUB = "A folder on this disk needs no Hub: bedplate import --from DIR --name NAME"

_turns = BoundedSemaphore(AT_ONCE)


def find_model(hub: Hub, model_id: str, revision: str | None = None) -> tuple[HubModel, dict[str, Any]]:
    """The model at the commit that `revision` means now, as `Hub.resolve` has it, and all that the Hub says of it.

    Raises Refused, NotFound, Forbidden or Unavailable, as `Hub.resolve` does.
    """
    name = str(Name.parse(model_id))
    hub.check_revision(revision)
    hub.check_online()
    url = f"{hub.url}/api/models/{name}/revision/{quote(revision or 'main', safe='')}"

    async def exchange(client: httpx.AsyncClient) -> tuple[HubModel, dict[str, Any]]:
        async with client.stream("GET", url, params={"blobs": "true"}, follow_redirects=True) as response:
            if response.status_code != 200:
                raise hub.refusal(name, response.status_code, response.headers.get("X-Error-Code"), revision)
            said = json.loads(await read_body(hub, response, MOST_LIST_BYTES))
        if not isinstance(said, dict):
            raise ValueError("no object")
        return _model(said), said

    return ask(hub, exchange, turns=_turns, seconds=SECONDS, hint=WITHOUT_HUB)


def read_starts(hub: Hub, model: HubModel, files: Sequence[HubFile]) -> dict[str, bytes]:
    """The bytes of each of these, by path; of safetensors the header alone, with its length before it.

    Raises Forbidden where the model is gated and the token has no access, and Unavailable.
    """

    async def exchange(client: httpx.AsyncClient) -> dict[str, bytes]:
        turn = asyncio.Semaphore(REQUESTS)

        async def one(file: HubFile) -> bytes:
            async with turn:
                return await _start(hub, client, model, file)

        found = await asyncio.gather(*(one(file) for file in files))
        return {file.path: data for file, data in zip(files, found, strict=True)}

    return ask(hub, exchange, turns=_turns, seconds=SECONDS, hint=WITHOUT_HUB)


async def _start(hub: Hub, client: httpx.AsyncClient, model: HubModel, file: HubFile) -> bytes:
    if not file.path.endswith(".safetensors"):
        return await _first(hub, client, model, file, file.size_bytes)
    data = await _first(hub, client, model, file, min(FIRST_BYTES, file.size_bytes))
    wanted = 8 + int.from_bytes(data[:8], "little")
    if len(data) < wanted <= min(8 + MAX_HEADER_BYTES, file.size_bytes):
        data = await _first(hub, client, model, file, wanted)
    return data[:wanted]


async def _first(hub: Hub, client: httpx.AsyncClient, model: HubModel, file: HubFile, count: int) -> bytes:
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


def _model(said: Mapping[str, Any]) -> HubModel:
    """Raises ValueError where it is not what a Hub says, and Refused for a file that may not be kept."""
    siblings = said.get("siblings")
    if not is_commit(said.get("sha")) or not isinstance(siblings, list) or len(siblings) > MAX_FILES:
        raise ValueError("no commit or no files")
    name = Name.parse(str(said.get("id")))
    card_data, tag, author = said.get("cardData"), said.get("pipeline_tag"), said.get("author")
    card = card_facts(card_data if isinstance(card_data, dict) else {})
    author = card.author or (author if isinstance(author, str) else name.org)
    return HubModel(
        model_id=str(name),
        commit=str(said["sha"]),
        files=tuple(_file(entry) for entry in siblings),
        gated=bool(said.get("gated")),
        card=replace(card, pipeline_tag=tag if isinstance(tag, str) else card.pipeline_tag, author=author),
    )


def _file(entry: Any) -> HubFile:
    if not isinstance(entry, dict) or not isinstance(entry.get("rfilename"), str):
        raise ValueError("a file without a name")
    lfs = entry.get("lfs")
    sha256 = (lfs.get("sha256") or lfs.get("oid")) if isinstance(lfs, dict) else None
    return listed_file(entry["rfilename"], entry.get("size"), entry.get("blobId"), sha256)
