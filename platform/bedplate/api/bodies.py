"""What all bodies share: requests refuse what they do not know, answers are JSON at once, lists come in pages."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

import orjson
from fastapi import Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from bedplate_registry.errors import Refused, nearest

__all__ = [
    "MOST_ITEMS",
    "After",
    "Answer",
    "DescribedBy",
    "Limit",
    "Page",
    "RequestBody",
    "json_answer",
    "json_bytes",
    "page_of",
]

MOST_ITEMS = 1000  # of one page, and of a list in a body that names the kind of its items
T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=MOST_ITEMS, description="At most so many items.")]
After = Annotated[str | None, Query(max_length=300, description="`next` of the page before.")]


class RequestBody(BaseModel):
    """A body that a caller sends: no name that is not known, and no value that only looks like the right one."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _check_extent(cls, body: Any) -> Any:
        """Raises Refused at the first name or list that cannot be right: pydantic would make an error of each.

        A list holds as many items as its field says, or else MOST_ITEMS.
        """
        for name, value in body.items() if isinstance(body, dict) else ():
            if name not in cls.model_fields:
                hint = nearest(name[:80], cls.model_fields)
                raise Refused(f"There is no setting {name[:80]!r} here.", hint=hint, code="unknown-setting")
            said = cls.model_fields[name].metadata
            most = next((each.max_length for each in said if hasattr(each, "max_length")), MOST_ITEMS)
            if isinstance(value, list | dict) and len(value) > most:
                raise Refused(f"{name} holds {len(value)} items.", hint=f"Give at most {most}.", code="bad-request")
        return body


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


class DescribedBy:
    """Beside a plain object in `Annotated`: the models that OpenAPI shows in its place, one of which it is."""

    def __init__(self, models: Callable[[], Mapping[str, type[BaseModel]]]) -> None:
        """`models` gives them by the `kind` that they have."""
        self._models = models

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schemas = [handler(model.__pydantic_core_schema__) for model in self._models().values()]
        return schemas[0] if len(schemas) == 1 else {"oneOf": schemas}


def json_answer(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer past FastAPI's own conversion, which takes longer than all the rest; NaN becomes null."""
    return Response(json_bytes(data), status, headers, media_type="application/json")


def json_bytes(data: Any) -> bytes:
    """JSON that every parser takes: NaN becomes null, and what JSON has no form for, such as a date, its text."""
    try:
        return orjson.dumps(data, default=str)
    except TypeError:  # a number of more than 64 bits, or half a surrogate pair: both may stand in a caller's table
        return json.dumps(_finite(data), default=str, allow_nan=False).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def page_of(
    items: Sequence[T], key: Callable[[T], str], limit: int, after: str | None, *, is_descending: bool = False
) -> tuple[Sequence[T], str | None]:
    """The items behind the key `after`, which need not be there any more, and the `next` of that page."""
    if after is not None:
        items = [item for item in items if (key(item) < after if is_descending else key(item) > after)]
    return items[:limit], key(items[limit - 1]) if len(items) > limit else None
