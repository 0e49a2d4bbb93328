"""`bedplate models list`"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedplate.cli.output import Format, FormatOption, HomeOption, UrlOption, WrongUse, connect, say, show
from bedplate.cli.quantities import bytes_of, parameters_of
from bedplate_registry.errors import nearest
from bedplate_registry.licenses import license_id

if TYPE_CHECKING:
    from bedplate.client import RemoteWorkspace

__all__ = ["list_models"]

COLUMNS = ("ref", "task", "parameters", "license", "created")
MOST_LOOKED_AT = 1000  # models, for the values that a filter might have meant
MOST_SHOWN = 20
# Of each filter whose value may be any word, the words that a model has.
WORDS: dict[str, Callable[[Mapping[str, Any]], Iterable[str]]] = {
    "license": lambda model: license_id(model["license"]).split(", "),
    "language": lambda model: (each.lower() for each in model["languages"]),
    "author": lambda model: [model["author"].lower()] if model["author"] else [],
    "alias": lambda model: model["aliases"],
}


def list_models(
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    license: Annotated[str | None, typer.Option(help="Only this license.")] = None,
    finetunable_for: Annotated[str | None, typer.Option(help="Only what can be fine-tuned for this task.")] = None,
    query: Annotated[str | None, typer.Option(help="Words of its name, its facts or its card.")] = None,
    language: Annotated[str | None, typer.Option(help="Only this language: en, de.")] = None,
    source: Annotated[str | None, typer.Option(help="Only what came so: hub, folder, job.")] = None,
    author: Annotated[str | None, typer.Option(help="Only this author's, as the card or the Hub says.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only what names this dataset in its card.")] = None,
    alias: Annotated[str | None, typer.Option(help="The versions that this alias means.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="The archived versions instead.")] = False,
    min_size: Annotated[str | None, typer.Option(help="Files of at least so much, as in 500MB.")] = None,
    max_size: Annotated[str | None, typer.Option(help="Files of at most so much, as in 2GiB.")] = None,
    min_parameters: Annotated[str | None, typer.Option(help="At least so many, as in 100M.")] = None,
    max_parameters: Annotated[str | None, typer.Option(help="At most so many, as in 1.5B.")] = None,
    sort: Annotated[str | None, typer.Option(help="name, created, size, parameters or relevance.")] = None,
    descending: Annotated[bool, typer.Option("--descending", help="The other way round.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Models of a page.")] = 100,
    page: Annotated[int, typer.Option(min=1, help="Which page, from 1.")] = 1,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """The newest version of each model; or all versions that are archived, or that an alias means."""
    filters: dict[str, Any] = {"task": task, "license": license, "finetunable_for": finetunable_for, "query": query}
    filters |= {"language": language, "source": source, "author": author, "dataset": dataset, "alias": alias}
    filters |= {"min_bytes": bytes_of(min_size), "max_bytes": bytes_of(max_size)}
    filters |= {"min_parameters": parameters_of(min_parameters), "max_parameters": parameters_of(max_parameters)}
    for what in ("bytes", "parameters"):
        least, most = filters[f"min_{what}"], filters[f"max_{what}"]
        if least is not None and most is not None and least > most:
            raise WrongUse(f"At least {least:,} {what} and at most {most:,} fits nothing.", hint="Swap the two.")
    filters |= {"archived": archived, "sort": sort, "descending": descending}
    ws, first = connect(home, url), (page - 1) * limit
    found = [model.data for model in ws.models.list(**filters, limit=first + limit + 1)][first:]
    rows = [{**row, "task": row["task"] or "(base)"} for row in found] if format is Format.table else found
    show(rows[:limit], format, columns=COLUMNS)
    if len(found) > limit:
        say(f"There are more: give --page {page + 1}, another --limit or a filter.")
    elif not found and page > 1:
        say(f"There is no page {page} of {limit} models each.")
    elif not found:
        _say_what_is_unknown(ws, filters)


def _say_what_is_unknown(ws: RemoteWorkspace, filters: Mapping[str, Any]) -> None:
    """Of each filter whose value no model here has, the values that there are."""
    asked = {what: str(filters[what]) for what in WORDS if filters[what] is not None}
    if not asked:
        return
    models = [model.data for model in ws.models.list(archived=filters["archived"], limit=MOST_LOOKED_AT)]
    for what, value in asked.items():
        known = sorted({word for model in models for word in WORDS[what](model)})
        if value in known or value.lower() in known:
            continue
        close = nearest(value, known) if known else "None has one."
        if not close.startswith("Did") and len(known) > MOST_SHOWN:
            close = f"Known: {', '.join(known[:MOST_SHOWN])} and {len(known) - MOST_SHOWN} more."
        say(f"No model has the {what} {value!r}. {close}")
