"""The nested layout of SQuAD's files, read as flat rows:

    {"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text", "answer_start"}],
      "is_impossible"}]}]}]}
    -> {"id", "title", "question", "context", "answers": {"text": [...], "answer_start": [...]}}, ...

`id`, `title` and `is_impossible` need not be there. A question with is_impossible has empty lists of answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .errors import Refused

__all__ = ["is_nested", "question_rows"]

LAYOUT = 'SQuAD\'s layout is {"data": [{"paragraphs": [{"context", "qas": [{"question", "answers": […]}]}]}]}.'


def is_nested(table: Any) -> bool:
    """Whether a JSON document has this layout, as far as its first article shows."""
    if not isinstance(table, Mapping) or not isinstance(table.get("data"), list):
        return False
    articles = table["data"]
    return not articles or (isinstance(articles[0], Mapping) and "paragraphs" in articles[0])


def question_rows(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each question, in the file's order. Raises Refused: bad-row, which says where the layout is another."""
    for at_article, article in enumerate(table["data"], 1):
        for at_paragraph, paragraph in enumerate(_list(article, "paragraphs", f"Article {at_article}"), 1):
            place = f"Article {at_article}, paragraph {at_paragraph}"
            context = _value(paragraph, "context", place)
            for at_question, asked in enumerate(_list(paragraph, "qas", place), 1):
                where = f"{place}, question {at_question}"
                known = {"id": asked.get("id"), "title": article.get("title")} if isinstance(asked, Mapping) else {}
                yield {
                    **{name: value for name, value in known.items() if value is not None},
                    "question": _value(asked, "question", where),
                    "context": context,
                    "answers": _answers(asked, where),
                }


def _answers(asked: Mapping[str, Any], where: str) -> dict[str, list[Any]]:
    is_impossible = asked.get("is_impossible") is True
    given = asked.get("answers") or [] if is_impossible else _list(asked, "answers", where)
    if is_impossible and given:
        raise Refused(
            f"{where} is_impossible, and has answers.",
            hint="Take out the answers, or is_impossible.",
            code="bad-row",
        )
    return {part: [_value(one, part, f"{where}: an answer") for one in given] for part in ("text", "answer_start")}


def _list(holder: Any, name: str, where: str) -> list[Any]:
    found = _value(holder, name, where)
    if not isinstance(found, list):
        raise Refused(f"{where} has {name} that are no list.", hint=LAYOUT, code="bad-row")
    return found


def _value(holder: Any, name: str, where: str) -> Any:
    if not isinstance(holder, Mapping) or name not in holder:
        raise Refused(f"{where} has no {name}.", hint=LAYOUT, code="bad-row")
    return holder[name]
