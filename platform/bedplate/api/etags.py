"""Entity tags: who has the newest answer already is not sent it again, and who changes an old one is told so.

The tag of a resource is a digest of its body. One that counts its changes has the count before it, "3-0a1b2c…": its
If-Match compares the count alone, since such a body also shows what changes by itself, such as replicas.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any

from fastapi import Header
from fastapi.responses import Response

from bedplate.api.bodies import json_bytes
from bedplate_registry.errors import Changed

__all__ = ["IfMatch", "IfNoneMatch", "check_unchanged", "revision_wanted", "tag_of", "tagged"]

IfMatch = Annotated[
    str | None, Header(max_length=1000, description="The ETag that is to be changed; another one is answered with 412.")
]
IfNoneMatch = Annotated[
    str | None, Header(max_length=1000, description="ETags that the caller has; one of them is answered with 304.")
]
_TAG = re.compile(r'(?:W/)?"([^"]*)"')


def tag_of(data: Any, revision: int | None = None) -> str:
    """The tag of what is answered, in its quotes."""
    return _tag(json_bytes(data), revision)


def tagged(data: Any, if_none_match: str | None, *, revision: int | None = None) -> Response:
    """JSON with its ETag, or 304 without a body where the caller has just that."""
    body = json_bytes(data)
    tag = _tag(body, revision)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if if_none_match is not None and (if_none_match.strip() == "*" or tag[1:-1] in _TAG.findall(if_none_match)):
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, media_type="application/json")


def check_unchanged(if_match: str | None, current: Any) -> None:
    """Raises Changed where the caller goes by another state than `current`, what GET answers now."""
    if if_match is None or if_match.strip() == "*":
        return
    if tag_of(current)[1:-1] not in _TAG.findall(if_match):
        raise Changed()


def revision_wanted(if_match: str | None) -> int | None:
    """The count of changes that the caller goes by; None for any. Raises Changed for what is no tag of such a thing."""
    if if_match is None or if_match.strip() == "*":
        return None
    for tag in _TAG.findall(if_match):
        count = tag.partition("-")[0]
        if count.isascii() and count.isdecimal() and len(count) < 10:
            return int(count)
    raise Changed()


def _tag(body: bytes, revision: int | None) -> str:
    digest = hashlib.sha256(body).hexdigest()[:32]
    return f'"{digest}"' if revision is None else f'"{revision}-{digest}"'
