"""What all bodies share: requests refuse what they do not know, answers are JSON at once, lists come in pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

import orjson
from fastapi import Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

__all__ = ["MOST_ITEMS", "After", "Answer", "Limit", "Page", "RequestBody", "json_answer", "page_of"]

MOST_ITEMS = 1000  # of one page
T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=MOST_ITEMS, description="At most so many items.")]
After = Annotated[str | None, Query(max_length=300, description="`next` of the page before.")]


class RequestBody(BaseModel):
    """A body that a caller sends: no name that is not known, and no value that only looks like the right one."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    """A body that we send. Handlers answer with plain dictionaries, for speed; tests hold them against these."""

    model_config = ConfigDict(extra="forbid")


class Page(Answer, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: Annotated[str | None, Field(description="Give it as `after` for the page that follows; null on the last.")]

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        item = handler.resolve_ref_schema(handler.resolve_ref_schema(schema)["properties"]["items"]["items"])
        handler.resolve_ref_schema(schema)["examples"] = [{"items": item.get("examples", [])[:1], "next": None}]
        return schema


def json_answer(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer past FastAPI's own conversion, which takes longer than all the rest; NaN becomes null."""
    return Response(orjson.dumps(data), status, headers, media_type="application/json")


def page_of(
    items: Sequence[T], key: Callable[[T], str], limit: int, after: str | None, *, is_descending: bool = False
) -> tuple[Sequence[T], str | None]:
    """The items behind the key `after`, which need not be there any more, and the `next` of that page."""
    if after is not None:
        items = [item for item in items if (key(item) < after if is_descending else key(item) > after)]
    return items[:limit], key(items[limit - 1]) if len(items) > limit else None
