"""The Hub's search, GET /api/models and /api/datasets: what its parameters mean here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlencode

from starlette.datastructures import URL, QueryParams

from .errors import Refused, nearest
from .hubsources import Wanted
from .tasks import TASKS

__all__ = ["limit_of", "link_to", "wanted_of"]

DEFAULT_LIMIT, MOST = 100, 1000
# What the Hub sorts by; nothing is counted here, so that the most downloaded are simply the best match.
SORTS = {
    "createdAt": "created",
    "lastModified": "created",
    "num_parameters": "parameters",
    "downloads": None,
    "likes": None,
    "trendingScore": None,
}
# Whatever is served by others, run in their apps or kept behind a gate is not here.
ELSEWHERE = ("apps", "inference", "inference_provider")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_END = re.compile(r"(min|max):([0-9]{1,18}(?:\.[0-9]{1,6})?)([KMBT]?)", re.IGNORECASE)


def wanted_of(asked: QueryParams) -> Wanted | None:
    """What is looked for; None where nothing here can fit. Raises Refused for what is no search."""
    tags = {tag for text in asked.getlist("filter") for tag in text.split(",") if tag}
    task = asked.get("pipeline_tag") or next((tag for tag in sorted(tags) if tag in TASKS), None)
    if any(name in asked for name in ELSEWHERE) or asked.get("gated", "").lower() in ("1", "true"):
        return None
    if task is not None and task not in TASKS:
        return None
    licenses = sorted(tag.removeprefix("license:") for tag in tags if tag.startswith("license:"))
    ends = _ends(asked.get("num_parameters", ""))
    sort = _sort(asked.get("sort"))
    return Wanted(
        words=" ".join(asked.getlist("search")),
        author=asked.get("author") or None,
        task=task,
        license=licenses[0] if licenses else None,
        tags=frozenset(tags),
        min_parameters=ends.get("min"),
        max_parameters=ends.get("max"),
        sort=sort,
        descending=sort is not None and asked.get("direction", "-1") == "-1",
    )


def limit_of(asked: QueryParams) -> int:
    """Of one page, as the Hub has it: at most a thousand."""
    text = asked.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise Refused(f"limit={text[:80]!r} is no number of models.", hint="Give 1 to 1000.", code="bad-limit")
    return min(int(text), MOST)


def link_to(url: URL, pairs: Sequence[tuple[str, str]], after: str) -> str:
    """The Link header that leads to the next page."""
    query = urlencode([*((name, value) for name, value in pairs if name != "cursor"), ("cursor", after)])
    return f'<{url.replace(query=query)}>; rel="next"'


def _sort(sort: str | None) -> str | None:
    if sort is not None and sort not in SORTS:
        raise Refused(f"sort={sort[:80]!r} is not known.", hint=nearest(sort, SORTS), code="unknown-sort")
    return None if sort is None else SORTS[sort]


def _ends(text: str) -> dict[str, int]:
    """`min:6B,max:128B` in numbers."""
    ends = {}
    for part in filter(None, text.split(",")):
        match = _END.fullmatch(part)
        if match is None:
            hint = "Give it as min:100M,max:7B, or one of both."
            raise Refused(f"num_parameters={text[:80]!r} is no range.", hint=hint, code="bad-range")
        ends[match[1].lower()] = round(float(match[2]) * _UNITS[match[3].upper()])
    return ends
