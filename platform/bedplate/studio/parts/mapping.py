"""Which column of the data holds what a task needs: guessed by the names, and to be changed."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from itertools import count, takewhile
from typing import Any

from nicegui import html, ui

from bedplate.report_html import separated
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.task_words import column_title
from bedplate_registry.columns import BETWEEN
from bedplate_registry.errors import Refused
from bedplate_registry.tasks import Key, get_task

__all__ = ["check_columns", "columns_of", "guess", "mapping"]

# What people call such columns, the likelier first. A column that has the key's own name comes before all of these.
NAMES = {
    "sentence1": ("text", "sentence", "sentence_a", "premise", "question1", "review", "message", "tweet", "content"),
    "sentence2": ("text_pair", "sentence_b", "hypothesis", "question2"),
    "label": ("labels", "category", "intent", "class", "target", "sentiment", "judgment", "entailment_judgment"),
    "tokens": ("words",),
    "tags": ("ner_tags", "labels", "pos_tags", "tag"),
    "question": ("query",),
    "context": ("passage", "paragraph"),
    "answers": ("answer",),
    "document": ("text", "article", "dialogue", "source", "body"),
    "summary": ("highlights", "target", "abstract"),
    "source": ("text", "input", "src"),
    "target": ("translation", "output", "tgt"),
    "text": ("sentence", "content"),
    "prompt": ("text", "instruction", "question"),
    "completion": ("response", "answer", "output"),
    "image": ("file", "path", "image_file"),
}


def guess(task: str, columns: Sequence[str]) -> dict[str, str]:
    """The likely column of each key of the task; keys for which there is none are left out."""
    found: dict[str, str] = {}
    by_name = {column.lower(): column for column in columns}
    for key in get_task(task).keys:
        if key.kind == "texts" and key.name not in by_name and (several := _numbered(key.name, by_name)):
            found[key.name] = several
            continue
        for name in (key.name, *NAMES.get(key.name, ())):
            if name in by_name and by_name[name] not in found.values():
                found[key.name] = by_name[name]
                break
    return found


def _numbered(name: str, by_name: Mapping[str, str]) -> str:
    """`summary1,summary2,…` as far as there are such columns."""
    return BETWEEN.join(map(by_name.__getitem__, takewhile(by_name.__contains__, (f"{name}{n}" for n in count(1)))))


def mapping(
    task: str,
    columns: Sequence[str],
    chosen: dict[str, Any],
    *,
    need_label: bool = True,
    samples: Mapping[str, str] | None = None,
) -> None:
    """A choice for each key. `chosen` holds {key: column}, and is changed; what it lacks is guessed first.

    With `samples`, {column: its value in the first row}, what a column holds stands below its choice.
    """
    for name, column in guess(task, columns).items():
        if not _is_known(chosen.get(name), columns):
            chosen[name] = column
    with html.div().classes("bp-mapping"):
        for key in get_task(task).keys:
            if key.is_label and not need_label:
                continue
            _choice(key, columns, chosen, samples)


def _choice(key: Key, columns: Sequence[str], chosen: dict[str, Any], samples: Mapping[str, str] | None) -> None:
    def take(event: Any) -> None:
        chosen[key.name] = event.value or None
        if sample is not None:
            sample.set_text(_sample(samples or {}, event.value))

    optional = "" if key.required else ", may be left empty"
    field = ui.select(
        sorted({*columns, *([chosen[key.name]] if chosen.get(key.name) else [])}, key=lambda name: name.lower()),
        label=f"{column_title(key.name)}{optional}",
        value=chosen.get(key.name) or None,
        clearable=True,
        with_input=True,
        new_value_mode="add-unique",
        on_change=take,
    )
    field.props("outlined dense").classes("bp-field")
    sample = None if samples is None else hint(_sample(samples, chosen.get(key.name))).classes("bp-sample")
    if key.kind == "texts":
        hint(f"Several right ones: a list in the column, or columns with commas between: {key.name}1,{key.name}2")
    if key.kind in ("list", "object"):
        hint(f"{key.name} holds {'a list' if key.kind == 'list' else 'an object'}; in CSV as JSON. A part: name.part")


def _sample(samples: Mapping[str, str], column: str | None) -> str:
    """What the first row has there; of a part, such as answers.text, the whole that it is in."""
    if not column:
        return "No column is chosen."
    found = [samples.get(one, samples.get(one.partition(".")[0])) for one in _each(column, samples)]
    texts = [text for text in found if text]
    return "The data has no such column." if None in found else f"First row: {separated(texts) or '(empty)'}"


def check_columns(task: str, chosen: dict[str, Any], *, need_label: bool = True) -> None:
    """Raises Refused for a key without a column, and for a column that two keys have."""
    keys = [key for key in get_task(task).keys if need_label or not key.is_label]
    missing = [key.name for key in keys if key.required and not chosen.get(key.name)]
    if missing:
        titles = ", ".join(map(column_title, missing))
        raise Refused(f"No column is chosen for {titles}.", hint="Choose one for each.")
    used = [chosen[key.name] for key in keys if chosen.get(key.name)]
    twice = next((name for name in used if used.count(name) > 1), None)
    if twice is not None:
        raise Refused(f"The column {twice!r} is chosen twice.", hint="Choose another one for one of them.")


def columns_of(task: str, chosen: dict[str, Any], *, need_label: bool = True) -> dict[str, str]:
    """What a request says: the keys whose column has another name."""
    keys = [key.name for key in get_task(task).keys if need_label or not key.is_label]
    return {key: chosen[key] for key in keys if chosen.get(key) and chosen[key] != key}


def _is_known(value: Any, columns: Sequence[str]) -> bool:
    """Whether it is one of the columns, reaches into one, such as answers.text, or names several."""
    if not isinstance(value, str):
        return False
    return all(one in columns or one.partition(".")[0] in columns for one in _each(value, columns))


def _each(value: str, columns: Container[str]) -> list[str]:
    """The columns that it names, with commas between."""
    return [value] if value in columns else value.split(BETWEEN)
