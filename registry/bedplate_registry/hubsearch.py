"""Models of the Hub that are not here yet, found by the Hub's own search.

One request, GET /api/models, within bounds (hubreading.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

from .cards import card_facts
from .catalog import CatalogEntry, Wanted, shipped_catalog
from .errors import BedplateError, Forbidden, Refused, Unavailable
from .hub import Hub
from .hubreading import IS_IT_A_HUB, ask, read_answer
from .names import Name
from .tasks import TASKS, finetunable_tasks

if TYPE_CHECKING:
    import httpx

__all__ = ["MOST_FOUND", "search_hub"]

MOST_FOUND = 100  # of one page
MOST_BYTES = 8 << 20  # of one answer; a page of 100 has some 200 KB
SECONDS = 10.0  # for all of it
AT_ONCE = 4
EXPAND = ("cardData", "config", "downloads", "gated", "pipeline_tag", "safetensors", "tags")
MOST_TEXT = 100  # characters of a license or a language that a card may claim

SHIPPED_LIST = "The shipped list needs no Hub: bedplate catalog"

Parameters: TypeAlias = list[tuple[str, str | int | float | bool | None]]
_turns = BoundedSemaphore(AT_ONCE)


def search_hub(
    hub: Hub, wanted: Wanted, *, limit: int = MOST_FOUND, after: str | None = None
) -> tuple[list[CatalogEntry], str | None]:
    """One page of what the Hub has, most downloaded first, and the `after` of the next page.

    A page may hold fewer than `limit`: what the Hub cannot filter by is left out here. Raises Unavailable where the Hub
    does not answer in time or as a Hub does, and Forbidden where it refuses the token.
    """
    hub.check_online()
    parameters = _parameters(wanted, limit, after)

    async def exchange(client: httpx.AsyncClient) -> tuple[list[Any], str | None]:
        return await _page(hub, client, parameters)

    items, following = ask(hub, exchange, turns=_turns, seconds=SECONDS, hint=SHIPPED_LIST)
    found = [entry for item in items[:limit] if (entry := _entry(item)) is not None]
    return [entry for entry in found if wanted.fits(entry, with_words=False)], following


def _parameters(wanted: Wanted, limit: int, after: str | None) -> Parameters:
    asked = {"search": " ".join(wanted.query.split()), "pipeline_tag": wanted.task, "cursor": after}
    if wanted.min_parameters is not None or wanted.max_parameters is not None:
        ends = {"min": wanted.min_parameters, "max": wanted.max_parameters}
        asked["num_parameters"] = ",".join(f"{name}:{value}" for name, value in ends.items() if value is not None)
    tags = [wanted.language and wanted.language.lower(), wanted.license and f"license:{wanted.license.lower()}"]
    return [
        *((name, value) for name, value in asked.items() if value),
        *(("filter", tag) for tag in tags if tag),
        *(("expand", name) for name in EXPAND),
        ("sort", "downloads"),
        ("limit", str(limit)),
    ]


async def _page(hub: Hub, client: httpx.AsyncClient, parameters: Parameters) -> tuple[list[Any], str | None]:
    """The answer's items, and the cursor of the next page."""
    async with client.stream("GET", f"{hub.url}/api/models", params=parameters) as response:
        if response.status_code != 200:
            raise _refused(hub, response.status_code)
        items = await read_answer(hub, response, MOST_BYTES)
        if not isinstance(items, list):
            raise ValueError("no list")
        return items, _cursor(response.links.get("next", {}).get("url"))


def _refused(hub: Hub, status: int) -> BedplateError:
    if status in (401, 403):
        return Forbidden(f"{hub.url} refuses the token (status {status}).", hint="Check HF_TOKEN.", code="token")
    if status in (400, 422):
        return Refused(f"{hub.url} does not take this search (status {status}).", hint="Give other words or filters.")
    hint = IS_IT_A_HUB if 300 <= status < 500 and status != 429 else "Try again in a while."
    return Unavailable(f"{hub.url} answered {status} to a search.", hint=hint)


def _cursor(link: str | None) -> str | None:
    """Of the next page's address only this is used, so that a Hub cannot send us elsewhere."""
    found = parse_qs(urlsplit(link or "").query).get("cursor")
    return found[0] if found else None


def _entry(item: Any) -> CatalogEntry | None:
    """What the Hub tells of a model; None for what is none. Whoever uploads a model writes most of it."""
    try:
        model_id = str(Name.parse(item["id"]))
    except (Refused, KeyError, TypeError, AttributeError):
        return None
    card = card_facts(_mapping(item.get("cardData")))
    tags = [tag for tag in item.get("tags") or () if isinstance(tag, str)] if isinstance(item.get("tags"), list) else []
    by_tag = next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), None)
    model_type = _text(_mapping(item.get("config")).get("model_type"))
    parameters = _mapping(item.get("safetensors")).get("total")
    known = {entry.model_id: entry for entry in shipped_catalog()}.get(model_id)
    return CatalogEntry(
        model_id=model_id,
        task=_task(item.get("pipeline_tag")),
        model_type=model_type,
        license=_text(card.license or by_tag),
        parameters=_count(parameters),
        languages=tuple(language for language in card.languages[:MOST_TEXT] if _text(language)),
        finetunable_tasks=finetunable_tasks(model_type),
        about=known.about if known else "",
        gated=bool(item["gated"]) if "gated" in item else None,
        downloads=_count(item.get("downloads")),
    )


def _task(tag: Any) -> str | None:
    """The one task that a tag of the Hub means; None where it means none, or two."""
    tasks = [task.name for task in TASKS.values() if tag in task.pipeline_tags]
    return tasks[0] if len(tasks) == 1 else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MOST_TEXT and value.isprintable() else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 62 else None
