"""A choice of data: one of the registered datasets, or a file that becomes one, with its first rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui import html, ui

from bedplate.studio.parts.notices import hint, problem
from bedplate.studio.parts.preview import text_of
from bedplate.studio.parts.tables import Column, table
from bedplate.studio.parts.uploads import upload_dataset
from bedplate.studio.visit import Visit
from bedplate.wire import url_path
from bedplate_registry.errors import BedplateError

__all__ = ["columns_in", "data_choice", "first_row"]

MOST_DATASETS = 500  # in the list; the name of any other is typed
PREVIEW_ROWS = 5
MOST_COLUMNS = 12
MOST_CHARACTERS = 120


async def data_choice(
    visit: Visit,
    draft: dict[str, Any],
    key: str,
    label: str,
    *,
    also: Mapping[str, str] | None = None,
    about: str = "",
    optional: bool = False,
    lines: bool = False,
    on_change: Callable[[], Awaitable[None] | None] | None = None,
) -> None:
    """A field whose value is `draft[key]`: a dataset's reference, or one of `also` ({"auto": "split off …"}).

    One that is `optional` can be emptied; its value is None then. With `lines` a .txt of predictions is taken as well.
    """
    others = dict(also or {})

    async def look() -> None:
        """A name that was typed may be of nothing."""
        preview.clear()
        if draft.get(key) and draft[key] not in others:
            with preview:
                try:
                    await _preview(visit, draft[key])
                except BedplateError as exc:
                    problem(exc)

    async def show() -> None:
        await look()
        if on_change is not None:
            answer = on_change()
            if answer is not None:
                await answer

    async def take(ref: str) -> None:
        field.set_options(await _options(visit, others, ref), value=ref)

    async def changed(event: Any) -> None:
        draft[key] = event.value or None
        await show()

    with html.div().classes("bp-panel"):
        html.h3(label)
        if about:
            hint(about)
        field = ui.select(
            await _options(visit, others, draft.get(key)),
            label="Dataset",
            value=draft.get(key),
            with_input=True,
            clearable=optional,
            new_value_mode="add-unique",
            on_change=changed,
        )
        field.props(f'outlined dense aria-label="{label}: dataset"').classes("bp-field")
        if visit.may("train") or visit.may("batch"):
            with ui.expansion("Upload a file instead", icon="upload").props("dense"):
                upload_dataset(visit, take, lines=lines)
        preview = html.div()
        await look()


async def columns_in(visit: Visit, ref: str) -> list[str]:
    """The columns of a dataset."""
    return list((await visit.ws.datasets.get(ref)).columns)


async def first_row(visit: Visit, ref: str) -> dict[str, str]:
    """What each column of a dataset holds in its first row, as a short text. Columns without a value have ""."""
    rows = list(await visit.ws.datasets.preview(ref, limit=1))
    found = rows[0] if rows else {}
    return {name: _brief(found.get(name)) for name in await columns_in(visit, ref)}


async def _options(visit: Visit, others: dict[str, str], chosen: str | None) -> dict[str, str]:
    found = await visit.ws.connection.items(url_path("datasets"), limit=MOST_DATASETS)
    named = {str(one["ref"]): f"{one['ref']} ({one['rows']:,} rows)" for one in found}
    if chosen and chosen not in named and chosen not in others:
        named[chosen] = chosen
    return {**others, **named}


async def _preview(visit: Visit, ref: str) -> None:
    dataset = await visit.ws.datasets.get(ref)
    rows = await visit.ws.datasets.preview(ref, limit=PREVIEW_ROWS)
    names, count = list(dataset.columns)[:MOST_COLUMNS], len(dataset.columns)
    which = f"; the first {MOST_COLUMNS} are shown" if count > MOST_COLUMNS else ""
    hint(f"{dataset.rows:,} rows, {count} column{'' if count == 1 else 's'}{which}.")
    shown = [{"id": number, **{name: _brief(row.get(name)) for name in names}} for number, row in enumerate(rows)]
    table([Column(name, name, sortable=False) for name in names], shown, name=f"First rows of {ref}")


def _brief(value: Any) -> str:
    text = text_of(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
