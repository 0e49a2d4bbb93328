"""Search over the models that are here: by words of names, cards and facts, by filters, in a stable order."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Refused, nearest
from .licenses import license_id
from .models import Models
from .searchindex import SearchIndex, words_of
from .store import ACTIVE, ARCHIVED
from .tasks import get_task

__all__ = ["SORTS", "SOURCES", "STATES", "Found", "ModelSearch", "Query"]

SORTS = ("name", "created", "size", "parameters", "relevance")
SOURCES = ("hub", "folder", "job")
STATES = (ACTIVE, ARCHIVED)
MOST_WORDS = 20
MOST_INTEGER = (1 << 63) - 1  # of SQLite
RANK = "bm25(words, 10, 5, 3, 1)"  # the smaller, the better; weights of name, ends, facts, card
# The limit, which is none, keeps SQLite from working this into the statement around it, where bm25 has no meaning.
HITS = f"SELECT rowid AS id, {RANK} AS rank FROM words WHERE words MATCH ? LIMIT -1"  # noqa: S608
RANK_OF = (
    f"SELECT {RANK} FROM words WHERE words MATCH ? "  # noqa: S608
    "AND rowid = (SELECT id FROM models WHERE name = ? AND version = ?)"
)


@dataclass(frozen=True)
class Query:
    """What is looked for; what is None or empty says nothing.

    Of a name the newest version is looked at; with an `alias` the one that this means; with the state `archived` all
    that are. Each word of `text` must stand in the name, or begin a word of the facts or the card.
    """

    text: str = ""
    task: str | None = None
    finetunable_for: str | None = None
    license: str | None = None  # in any case; `unknown` for those that name none
    language: str | None = None
    source: str | None = None  # hub | folder | job
    author: str | None = None  # in any case
    dataset: str | None = None  # one that the card names, in any case
    alias: str | None = None
    state: str = "active"
    min_bytes: int | None = None
    max_bytes: int | None = None
    min_parameters: int | None = None
    max_parameters: int | None = None
    sort: str | None = None  # by relevance where there is a text, else by name
    descending: bool = False

    def __post_init__(self) -> None:
        for task in (self.task, self.finetunable_for):
            if task is not None:
                get_task(task)
        _check("sort", self.sort, SORTS)
        _check("state", self.state, STATES)
        _check("source", self.source, SOURCES)

    @property
    def order(self) -> str:
        by_text = "relevance" if self.text.strip() else "name"
        return by_text if self.sort in (None, "relevance") else str(self.sort)


@dataclass(frozen=True)
class Found:
    """One page: the versions as REST shows them, and the `after` of the next page."""

    items: list[dict[str, Any]]
    next: str | None


class ModelSearch:
    """Search over one registry's models. Threads may share it."""

    def __init__(self, models: Models, folder: Path, path: Path) -> None:
        """`folder` is where the models lie, `path` where the index is to."""
        self._index = SearchIndex(models, folder, path)

    def find(self, query: Query, *, limit: int = 100, after: str | None = None) -> Found:
        """A page of the versions that fit. Raises Refused for an `after` that no page gave."""
        match = _match(query.text)
        if match is None and query.text.strip():
            return Found([], None)  # signs only, which stand in no index
        cursor = _cursor(after, query.order)
        rows = self._index.read(lambda db: _page(db, query, match, cursor, limit + 1))
        page = rows[:limit]
        items = [json.loads(body) for body, *_ in page]
        if len(rows) <= limit:
            return Found(items, None)
        _, key, name, version = page[-1]
        if query.order == "relevance":
            key = len(page) + (int(cursor[0]) if cursor else 0)
        return Found(items, json.dumps([key, name, version], ensure_ascii=False))

    def imported(self, model_ids: Iterable[str]) -> dict[str, str]:
        """Of these ids of a Hub those that were imported, and the newest version of each that is not archived."""
        statement = (
            "SELECT source_id, name, version FROM models WHERE source = 'hub' AND state = 'active' "
            "AND source_id IN (SELECT value FROM json_each(?)) ORDER BY created, version"
        )
        rows = self._index.read(lambda db: _rows(db, statement, [json.dumps([*model_ids])]))
        return {source_id: f"{name}:{version}" for source_id, name, version in rows}

    def rebuild(self) -> None:
        """Make the index anew from the files. It does so by itself where it is missing or damaged."""
        self._index.rebuild()


def _rows(db: sqlite3.Connection, statement: str, values: list[Any]) -> list[tuple[Any, ...]]:
    return db.execute(statement, values).fetchall()


def _page(
    db: sqlite3.Connection, query: Query, match: str | None, cursor: list[Any] | None, limit: int
) -> list[tuple[Any, ...]]:
    """The rows that follow a cursor.

    Whatever is published changes the rank of all, so that of the last hit is looked up anew; where that is one no more,
    as many are passed over as came before it.
    """
    offset = 0
    if cursor is not None and query.order == "relevance":
        db.execute("BEGIN")  # both looks see one state of the index
        position, *last = cursor
        ranks = _rows(db, RANK_OF, [match, *last])
        offset, cursor = (0, [*ranks[0], *last]) if ranks else (position - 1, None)
    statement, values = _select(query, match, cursor)
    return _rows(db, statement, [*values, limit, offset])


def _match(text: str) -> str | None:
    """What a person typed as a query of FTS5: its words, all of them, each in quotes; None where it holds none."""
    words = words_of(text)[:MOST_WORDS]
    return " ".join(f'"{word}"*' if len(word) > 1 else f'"{word}"' for word in words) or None


def _select(query: Query, match: str | None, cursor: list[Any] | None) -> tuple[str, list[Any]]:
    """The statement and its values but for limit and offset. Only names of our own are written into it."""
    key = "hits.rank" if query.order == "relevance" else f"m.{query.order}"
    way, comparison = ("DESC", "<") if query.descending else ("ASC", ">")
    conditions, values = _conditions(query)
    table = "models AS m"
    if match is not None and query.order == "relevance":
        table = f"({HITS}) AS hits JOIN models AS m USING (id)"
        values.insert(0, match)
    elif match is not None:
        conditions.append("m.id IN (SELECT rowid FROM words WHERE words MATCH ?)")
        values.append(match)
    if cursor is not None:
        conditions.append(f"({key}, m.name, m.version) {comparison} (?, ?, ?)")
        values += cursor
    order = ", ".join(f"{part} {way}" for part in (key, "m.name", "m.version"))
    where = " AND ".join(conditions)
    page = f"SELECT m.id, {key} AS key, m.name, m.version FROM {table} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608
    order = ", ".join(f"{part} {way}" for part in ("key", "name", "version"))
    return f"SELECT body, key, name, version FROM ({page}) JOIN bodies USING (id) ORDER BY {order}", values  # noqa: S608


def _conditions(query: Query) -> tuple[list[str], list[Any]]:
    """What a version must be, and the values that this names."""
    is_newest = query.state == ACTIVE and query.alias is None
    first = "m.listed = 1" if is_newest else f"m.state = '{query.state}'"  # the indexes have it so, too
    license = None if query.license is None else license_id(query.license)
    facet = "m.id IN (SELECT model FROM facets WHERE kind = '{}' AND value = ?)"
    wanted: list[tuple[str, str | int | None]] = [
        ("m.task = ?", query.task),
        ("instr(', ' || m.license || ', ', ', ' || ? || ', ') > 0", license),
        ("m.source = ?", query.source),
        (facet.format("alias"), query.alias),
        (facet.format("language"), query.language and query.language.lower()),
        (facet.format("author"), query.author and query.author.lower()),
        (facet.format("dataset"), query.dataset and query.dataset.lower()),
        (facet.format("finetunable"), query.finetunable_for),
        ("m.size >= ?", query.min_bytes),
        ("m.size <= ?", query.max_bytes),
        ("m.parameters >= ?", query.min_parameters),
        ("m.parameters <= ?", query.max_parameters),
    ]
    given = [(condition, value) for condition, value in wanted if value is not None]
    return [first, *(condition for condition, _ in given)], [_bindable(value) for _, value in given]


def _cursor(after: str | None, order: str) -> list[Any] | None:
    """What `next` of a page said: the value it was sorted by (of relevance: how many came so far), name and version."""
    if after is None:
        return None
    try:
        key, name, version = json.loads(after)
    except (ValueError, TypeError, RecursionError):
        key = name = version = None
    keys = int if order == "relevance" else str | int | float
    if not isinstance(key, keys) or not isinstance(name, str) or not isinstance(version, int):
        raise Refused(
            f"{after[:80]!r} is no place in a list.", hint="Give `next` of the page before.", code="bad-cursor"
        )
    return [_bindable(key), _bindable(name), _bindable(version)]


def _bindable(value: str | float) -> str | float:
    """As SQLite takes it: half a surrogate pair stands in no text, and no number has more than 64 bits."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return max(-MOST_INTEGER, min(value, MOST_INTEGER)) if isinstance(value, int) else value


def _check(what: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise Refused(f"{what}={value[:80]!r} is not known.", hint=nearest(value, known), code=f"unknown-{what}")
