"""The fields of a JSON body, as the rows of a table for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

__all__ = ["Field", "fields"]

Json = Mapping[str, Any]
BOUNDS = (
    ("minimum", "≥ {:g}"),
    ("exclusiveMinimum", "> {:g}"),
    ("maximum", "≤ {:g}"),
    ("exclusiveMaximum", "< {:g}"),
    ("minLength", "≥ {} characters"),
    ("maxLength", "≤ {} characters"),
    ("minItems", "≥ {} items"),
    ("maxItems", "≤ {} items"),
    ("pattern", "matches {}"),
)


class Field(NamedTuple):
    """One row. `name` says where a field of an inner object lies, as in `items[].name`; `need`, if it must be given."""

    name: str
    type: str
    need: str
    range: str
    description: str


def fields(schema: Json, schemas: Json, prefix: str = "") -> Iterator[Field]:
    """Every field of an object, and of the objects in it."""
    schema = _resolved(schema, schemas)
    for name, part in schema.get("properties", {}).items():
        place, options = prefix + name, [_resolved(option, schemas) for option in _options(part)]
        need = "required" if name in schema.get("required", ()) else _default(part)
        kind = " or ".join(dict.fromkeys(_type(option, schemas) for option in options))
        yield Field(place, kind, need, ", ".join(_bounds(options)), part.get("description", ""))
        for option in options:
            is_list = option.get("type") == "array"
            inner = option.get("items", {}) if is_list else option
            yield from fields(inner, schemas, f"{place}[]." if is_list else f"{place}.")


def _options(schema: Json) -> list[Json]:
    return [inner for option in schema["anyOf"] for inner in _options(option)] if "anyOf" in schema else [schema]


def _default(schema: Json) -> str:
    return f"default {json.dumps(schema['default'])}" if schema.get("default") is not None else ""


def _type(schema: Json, schemas: Json) -> str:
    schema = _resolved(schema, schemas)
    values = [schema["const"]] if "const" in schema else schema.get("enum", ())
    if values:
        return ", ".join(json.dumps(value) for value in values)
    if schema.get("type") == "array":
        return f"list of {_types(schema.get('items', {}), schemas)}"
    inner = schema.get("additionalProperties")
    if isinstance(inner, Mapping) and "properties" not in schema:
        return f"object of {_types(inner, schemas)}" if inner else "object"
    return str(schema.get("type", "any"))


def _types(schema: Json, schemas: Json) -> str:
    return " or ".join(dict.fromkeys(_type(option, schemas) for option in _options(schema)))


def _bounds(options: list[Json]) -> Iterator[str]:
    for option in options:
        parts = [
            option,
            *(option[key] for key in ("items", "additionalProperties") if isinstance(option.get(key), dict)),
        ]
        yield from (text.format(part[key]) for part in parts for key, text in BOUNDS if key in part)


def _resolved(schema: Json, schemas: Json) -> Json:
    found: Json = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found
