"""What callers send and want back: the Hub's dialect on the endpoint itself, Azure's two and its table on /score.

    Hub         {"inputs": X | [X, …], "parameters": {…}}
    Azure, new  {"input_data": [X, …] | X | {"columns", "index", "data"} | {"input_string": […]}, "params": {…}}
    Azure, old  {"inputs": {"input_string": […]}, "parameters": {…}}

What an X is, which parameters there are and how an answer looks is the predictor's business. Azure's newer answers are
given to both of its dialects, since a caller cannot know for which of them a model was published.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

import orjson

from bedplate_registry.errors import Refused, nearest
from bedplate_serving.batching import Queue, Scored
from bedplate_serving.predictors.base import BadItems, ItemError, Predictor
from bedplate_serving.problems import Problem

__all__ = [
    "MAX_ITEMS",
    "Call",
    "Dialect",
    "Reply",
    "ScoringRequest",
    "StreamingReply",
    "answer",
    "is_route",
    "parse_azure",
    "parse_hub",
]

Dialect = Literal["hub", "azure"]
HUB_KEYS = ("inputs", "parameters", "options")  # `options` steers the Hub's own cache and queue: taken, without effect
AZURE_KEYS = ("input_data", "inputs", "params", "parameters")
MAX_ITEMS = 4096  # in one request: a longer one would keep the queue of everybody else for minutes
TABLE_KEYS = ("columns", "index", "data", "parameters", "params")
OFF_LOOP_BYTES = 64 * 1024  # a body beyond this is parsed, and its answer written, in a thread
TRUNCATED_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, and what is asked: the replica makes it of HTTP, a dialect reads it."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str]  # lower-case names; of several of a name the first
    deadline: float  # on time.monotonic()'s clock
    model: str  # name:version
    endpoint: str
    sample: Mapping[str, Any]  # {"request": a body of the Hub's dialect, "answer": …} of this very model

    @property
    def content_type(self) -> str | None:
        return self.headers.get("content-type")

    @property
    def accept(self) -> str | None:
        return self.headers.get("accept")


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    body: bytes
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()
    status: int = 200


@dataclass(frozen=True, slots=True)
class StreamingReply:
    """An answer that comes piece by piece. What goes wrong before the first chunk is raised by it, as a Reply's would
    be; what goes wrong later is for the dialect to say in a chunk of its own.
    """

    chunks: AsyncIterator[bytes]
    content_type: str = "text/event-stream"
    headers: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class ScoringRequest:
    """A request the predictor agreed to: items and parameters are parsed, the shape of the answer is settled."""

    dialect: Dialect
    items: Sequence[Any]
    single: bool
    parameters: Any

    def body(self, predictor: Predictor, raws: Sequence[Any]) -> bytes:
        answers = [predictor.answer(raw, self.parameters) for raw in raws]
        if self.dialect == "hub":
            return orjson.dumps(predictor.hub_answer(answers, self.single))
        return orjson.dumps(predictor.azure_answer(answers, self.parameters))


class _BadItem:
    """Stands in the list for an item whose fault was seen before the predictor looked at it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def parse_hub(body: bytes, predictor: Predictor) -> ScoringRequest:
    root = _object(body, HUB_KEYS)
    if "inputs" not in root:
        raise Refused('The body has no "inputs".', hint='Send {"inputs": "text"} or a list.', code="missing-inputs")
    inputs = root["inputs"]
    parameters = predictor.parameters(_mapping(root.get("parameters"), "parameters"))
    items = inputs if isinstance(inputs, list) else [inputs]
    return ScoringRequest("hub", _parse_items(items, predictor, parameters), not isinstance(inputs, list), parameters)


def parse_azure(body: bytes, predictor: Predictor) -> ScoringRequest:
    root = _object(body, AZURE_KEYS)
    given = [key for key in ("input_data", "inputs") if key in root]
    if len(given) != 1:
        what = "no value for input_data" if not given else "both input_data and inputs"
        raise Refused(f"The body has {what}.", hint='Send {"input_data": ["text", …]}.', code="missing-inputs")
    data = root[given[0]]
    parameters = predictor.azure_parameters(_azure_parameters(root, data))
    return ScoringRequest("azure", _parse_items(_azure_items(data), predictor, parameters), False, parameters)


def _object(body: bytes, known: Sequence[str]) -> dict[str, Any]:
    try:
        root = orjson.loads(body)
    except ValueError as error:  # too deep, NaN, half a surrogate pair, not UTF-8: all of them end here
        raise Problem(400, "bad-json", f"The body is not JSON: {error}.") from error
    if not isinstance(root, dict):
        raise Refused(f"The body must be a JSON object, not {type(root).__name__}.", code="bad-body")
    for key in root:
        if key not in known:
            raise Refused(f"The body has the unknown key {key[:100]!r}.", hint=nearest(key, known), code="unknown-key")
    return root


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(f"{name} must be an object, not {type(value).__name__}.", code="bad-parameter")
    return value


def _parse_items(items: Sequence[Any], predictor: Predictor, parameters: Any) -> list[Any]:
    if len(items) > MAX_ITEMS:
        detail = f"The request has {len(items)} items; at most {MAX_ITEMS} are taken in one."
        raise Problem(413, "too-many-items", detail, "Split it, or score a file in batch.")
    parsed: list[Any] = []
    errors: list[tuple[int, str]] = []
    for index, item in enumerate(items):
        try:
            if isinstance(item, _BadItem):
                raise ItemError(item.reason)
            parsed.append(predictor.parse(item, parameters))
        except ItemError as error:
            errors.append((index, error.message))
    if errors:
        raise BadItems(errors)
    return parsed


def _azure_parameters(root: Mapping[str, Any], data: Any) -> Mapping[str, Any]:
    """`params`, `parameters`, or `parameters` inside the data: callers use all three, in one request only one."""
    inside = data if isinstance(data, dict) else {}
    places = [(name, root.get(name)) for name in ("params", "parameters")]
    places += [(f"input_data.{name}", inside.get(name)) for name in ("parameters", "params")]
    given = [(name, value) for name, value in places if value]
    if len(given) > 1:
        names = " and ".join(name for name, _ in given)
        raise Refused(f"Parameters are given twice, as {names}.", hint="Give them once.", code="bad-parameter")
    return _mapping(given[0][1], given[0][0]) if given else {}


def _azure_items(data: Any) -> list[Any]:
    if isinstance(data, list):
        return data
    if not isinstance(data, dict):
        return [data]
    if "columns" in data or "data" in data:
        return _table_items(data)
    return _column_items({key: value for key, value in data.items() if key not in ("parameters", "params")})


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
        return _BadItem(f"has {len(cells)} cells where the table has {len(columns)} columns")
    return _unwrap(dict(zip_longest(columns, cells)))


def _unwrap(row: dict[str, Any]) -> Any:
    """One column is the input itself, whatever its name: Azure's tables call it input_string, text or image."""
    return next(iter(row.values())) if len(row) == 1 else row


PARSERS: dict[Dialect, Callable[[bytes, Predictor], ScoringRequest]] = {"hub": parse_hub, "azure": parse_azure}
ROUTES: dict[tuple[str, str], Dialect] = {("POST", "/"): "hub", ("POST", "/score"): "azure"}


def is_route(method: str, path: str) -> bool:
    """Whether a dialect answers there."""
    return (method, path) in ROUTES


async def answer(call: Call, predictor: Predictor, queue: Queue) -> Reply | StreamingReply:
    """The answer in the dialect of its path. Raises Problem, Refused, QueueFull, DeadlineExceeded."""
    parse = PARSERS[ROUTES[call.method, call.path]]
    run = asyncio.to_thread if len(call.body) > OFF_LOOP_BYTES else _at_once
    request: ScoringRequest = await run(parse, call.body, predictor)
    scored = await queue.submit(request.items, deadline=call.deadline)
    body: bytes = await run(request.body, predictor, [one.raw for one in scored])
    return Reply(body, headers=_truncated(scored))


async def _at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _truncated(scored: Sequence[Scored]) -> list[tuple[str, str]]:
    """The items that were cut at the model's context length, by index."""
    places = [index for index, one in enumerate(scored) if one.truncated]
    if not places:
        return []
    more = f",+{len(places) - TRUNCATED_SHOWN}" if len(places) > TRUNCATED_SHOWN else ""
    return [("x-bedplate-truncated", ",".join(map(str, places[:TRUNCATED_SHOWN])) + more)]
