"""`bedplate catalog`"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, UrlOption, connect, say, show
from bedplate.cli.quantities import parameters_of

__all__ = ["catalog"]

SHIPPED = ("model_id", "task", "license", "parameters", "here", "about")
OF_HUB = ("model_id", "task", "license", "parameters", "downloads", "gated", "here")


def catalog(
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    license: Annotated[str | None, typer.Option(help="Only this license, as SPDX names it.")] = None,
    query: Annotated[str | None, typer.Option(help="Words of its id or its purpose.")] = None,
    language: Annotated[str | None, typer.Option(help="Only this language: en, de, multilingual.")] = None,
    finetunable_for: Annotated[str | None, typer.Option(help="Only what can be fine-tuned for this task.")] = None,
    min_parameters: Annotated[str | None, typer.Option(help="At least so many, as in 100M.")] = None,
    max_parameters: Annotated[str | None, typer.Option(help="At most so many, as in 1.5B.")] = None,
    hub: Annotated[bool, typer.Option("--hub", help="Search the Hub instead of the list that comes along.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Models to show.")] = 100,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Models that can be imported: a list of well-known ones, or the Hub's own search."""
    filters: dict[str, Any] = {"task": task, "license": license, "language": language}
    filters |= {"finetunable_for": finetunable_for}
    filters |= {"min_parameters": parameters_of(min_parameters), "max_parameters": parameters_of(max_parameters)}
    found = connect(home, url).catalog.search(query or "", hub=hub, limit=limit, **filters)
    rows = [model.data for model in found]
    if format is Format.table:
        rows = [{**row, "task": row["task"] or (None if hub else "(base)")} for row in rows]
    show(rows, format, columns=OF_HUB if hub else SHIPPED)
    if rows and format is Format.table:
        say(f"Import one with: bedplate import {rows[0]['model_id']}")
    elif not rows:
        say("Nothing fits." if hub else "Nothing in the list fits; the Hub has more: bedplate catalog --hub")
