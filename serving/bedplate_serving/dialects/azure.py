"""Azure ML's dialects, on /score: the newer, the older and its tables.

    {"input_data": [X, …] | X | {"columns", "index", "data"} | {"input_string": […]}, "params": {…}}     newer
    {"inputs": {"input_string": […]}, "parameters": {…}}                                                older

Its newer answers are given to both, since a caller cannot know for which of them a model was published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import orjson

from bedplate_registry.errors import Refused, nearest
from bedplate_serving.dialects.body import BadItem, as_mapping, parse_items, read_object
from bedplate_serving.dialects.call import Call, Reply, ScoringRequest
from bedplate_serving.predictors.base import Predictor

__all__ = ["parse"]

KEYS = ("input_data", "inputs", "params", "parameters")
TABLE_KEYS = ("columns", "index", "data", "parameters", "params")


def parse(call: Call, predictor: Predictor) -> ScoringRequest:
    root = read_object(call.body, KEYS)
    given = [key for key in ("input_data", "inputs") if key in root]
    if len(given) != 1:
        what = "no value for input_data" if not given else "both input_data and inputs"
        raise Refused(f"The body has {what}.", hint='Send {"input_data": ["text", …]}.', code="missing-inputs")
    data = root[given[0]]
    parameters = predictor.azure_parameters(_parameters(root, data))
    return ScoringRequest(parse_items(_items(data), predictor, parameters), partial(_write, predictor, parameters))


def _write(predictor: Predictor, parameters: Any, raws: Sequence[Any]) -> Reply:
    answers = [predictor.answer(raw, parameters) for raw in raws]
    return Reply(orjson.dumps(predictor.azure_answer(answers, parameters)))


def _parameters(root: Mapping[str, Any], data: Any) -> Mapping[str, Any]:
    """`params`, `parameters`, or `parameters` inside the data: callers use all three, in one request only one."""
    inside = data if isinstance(data, dict) else {}
    places = [(name, root.get(name)) for name in ("params", "parameters")]
    places += [(f"input_data.{name}", inside.get(name)) for name in ("parameters", "params")]
    given = [(name, value) for name, value in places if value]
    if len(given) > 1:
        names = " and ".join(name for name, _ in given)
        raise Refused(f"Parameters are given twice, as {names}.", hint="Give them once.", code="bad-parameter")
    return as_mapping(given[0][1], given[0][0]) if given else {}


def _items(data: Any) -> list[Any]:
    if isinstance(data, list):
        return _flat(data)
    if not isinstance(data, dict):
        return [data]
    if "columns" in data or "data" in data:
        return _table_items(data)
    return _column_items({key: value for key, value in data.items() if key not in ("parameters", "params")})


def _flat(data: list[Any]) -> list[Any]:
    """A sample that many copy nests its list of texts twice."""
    if len(data) == 1 and isinstance(data[0], list):
        return data[0]
    return data


def _column_items(columns: dict[str, Any]) -> list[Any]:
    """`{"input_string": [a, b]}` is two items, `{"text": [a, b], "text_pair": [c, d]}` two pairs."""
    if not any(isinstance(value, list) for value in columns.values()):
        return [_unwrap(columns)]
    lists = {key: value if isinstance(value, list) else [value] for key, value in columns.items()}
    if len({len(value) for value in lists.values()}) > 1:
        sizes = ", ".join(f"{key} {len(value)}" for key, value in lists.items())
        raise Refused(f"The columns differ in length: {sizes}.", code="bad-table")
    return [_unwrap(dict(zip(lists, row, strict=True))) for row in zip(*lists.values(), strict=True)]


def _table_items(table: dict[str, Any]) -> list[Any]:
    for key in table:
        if key not in TABLE_KEYS:
            raise Refused(f"The table has the unknown key {key!r}.", hint=nearest(key, TABLE_KEYS), code="bad-table")
    columns, data, index = table.get("columns"), table.get("data"), table.get("index")
    if not isinstance(columns, list) or not columns or not all(isinstance(name, str) for name in columns):
        raise Refused("The table's columns must be a list of names.", code="bad-table")
    if not isinstance(data, list):
        raise Refused("The table's data must be a list of rows.", code="bad-table")
    if isinstance(index, list) and len(index) != len(data):
        raise Refused(f"The table has {len(data)} rows and {len(index)} index values.", code="bad-table")
    return [_table_row(columns, row) for row in data]


def _table_row(columns: list[str], row: Any) -> Any:
    """A row may be a list of cells, an object, or, under a single column, the bare cell."""
    if isinstance(row, dict):
        return _unwrap(row)
    cells = row if isinstance(row, list) else [row]
    if len(cells) != len(columns):
        return BadItem(f"has {len(cells)} cells where the table has {len(columns)} columns")
    return _unwrap(dict(zip_longest(columns, cells)))


def _unwrap(row: dict[str, Any]) -> Any:
    """One column is the input itself, whatever its name: Azure's tables call it input_string, text or image."""
    return next(iter(row.values())) if len(row) == 1 else row
